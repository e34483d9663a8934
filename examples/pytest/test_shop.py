"""A test suite whose connections are expected to be good:

    conniver run --url-var SHOP_URL --expect connections=1 --expect lost=0 -- pytest

All tests pass. But test_prices makes a connection for each request, which is what the expectation finds.
"""

import pytest
from shop import Shop


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    shop.close()


def test_names(shop):
    for number in range(3):
        assert shop.item(number)


def test_prices():
    for number in range(3):
        shop = Shop()
        assert shop.item(number)
        shop.close()

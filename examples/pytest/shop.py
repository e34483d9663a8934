"""A client of a shop, whose URL is in SHOP_URL."""

import http.client
import os
from urllib.parse import urlsplit


class Shop:
    """Keeps its connection to the shop."""

    def __init__(self):
        url = urlsplit(os.environ["SHOP_URL"])
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)

    def item(self, number):
        self.connection.request("GET", f"/items/{number}")
        response = self.connection.getresponse()
        assert response.status == 200
        return response.read().decode()

    def close(self):
        self.connection.close()

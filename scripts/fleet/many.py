"""Many pairs as JSON through ClickHouse's landing table: the sums of the report, and what they cost."""

import json
import random
import re
import time

from engines import FIGURES, ClickHouse, report, statements
from load import brief_records

# Lines of a file: it is inserted, and removed before the next one is written.
AT_A_TIME = 500_000
HOSTS = 50
# Time between two pairs of all hosts, ns: a day has 12 million of them.
PACE = 7_000_000
INSTANTS = ["at", "maxAt"]
# Numbers that are neither times nor sizes.
KEPT = ["schema", "line", "pid", "uid", "number"]


def template(record):
    """A function that makes of a real record another one, as a line. `f` scales its times and sizes, `t` is its
    instant (Unix ns), `s` the same as text, to the second, and `n` its number."""
    values = []

    def slot(value, form="%d"):
        values.append((value, form))
        return f"@{len(values) - 1}@"

    def walk(key, value):
        if isinstance(value, dict):
            return {name: walk(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [walk(key, inner) for inner in value]
        if key in INSTANTS and isinstance(value, int):
            return slot("t")
        if key == "clientPort":
            return slot("1024 + n % 60000")
        if type(value) is int and value > 100 and key not in KEPT and not key.endswith("Port"):
            return slot(f"int({value} * f)")
        return value

    record = walk(None, record)
    record["time"] = "#" + slot("s", "%s") + ".#" + slot("t // 1000 % 1000000", "%06d") + "Z"
    record["seq"] = slot("n")
    record["id"] = record["runId"] + "-#" + slot("n")
    record["host"] = "web-#" + slot(f"n % {HOSTS}")
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False).replace("%", "%%")
    # A value of its own, or within a text.
    places = re.compile(r'"@(\d+)@"|#@(\d+)@')
    order = [values[int(own or within)] for own, within in places.findall(text)]
    text = places.sub(lambda place: values[int(place[1] or place[2])][1], text)
    return eval(f"lambda f, t, s, n: {text!r} % ({', '.join(value for value, _ in order)},)")


def measure(engine, pairs):
    """What the tables take, and the time of the queries."""
    for table in ["pairs", "hourly"]:
        parts = f"FROM system.parts WHERE active AND database = 'conniver' AND table = '{table}'"
        rows, disk = engine.run(f"SELECT sum(rows), sum(bytes_on_disk) {parts}", "CSV").strip().split(",")
        print(f"ClickHouse: {table}: {rows} rows, {int(disk) / pairs:.1f} bytes a pair on disk")
    for name in ["report", "hourly"]:
        began = time.monotonic()
        engine.run(statements(f"clickhouse/{name}.sql")[0])
        print(f"ClickHouse: {name}.sql of {pairs} pairs in {time.monotonic() - began:.2f} s", flush=True)


def many(binary, directory, pairs):
    brief = brief_records(binary, directory / "brief.ndjson")
    records = [record for record in map(json.loads, brief.read_text().splitlines()) if record["event"] == "close"]
    began, last, text = time.time_ns() - pairs * PACE, None, None
    templates = [template(record) for record in records]
    engine = ClickHouse(directory / "many")
    engine.create()
    file = directory / "many.ndjson"
    sums, size, took, chance = {}, 0, 0.0, random.Random(1)
    for first in range(0, pairs, AT_A_TIME):
        with file.open("w") as lines:
            for number in range(first, min(first + AT_A_TIME, pairs)):
                make = chance.choice(templates)
                when = began + number * PACE + chance.randrange(PACE)
                second = when // 1_000_000_000
                if second != last:
                    last, text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
                lines.write(make(0.5 + chance.random(), when, text, number) + "\n")
        size += file.stat().st_size
        for target, group in report(binary, file).items():
            sum_of_target = sums.setdefault(target, dict.fromkeys(FIGURES, 0))
            for figure in FIGURES:
                sum_of_target[figure] += group[figure] or 0
        start = time.monotonic()
        engine.insert(file)
        took += time.monotonic() - start
        file.unlink()
        print(f"ClickHouse: {min(first + AT_A_TIME, pairs)} pairs in {took:.0f} s", flush=True)
    print(f"ClickHouse: {size / pairs:.0f} bytes of JSON a pair, {pairs / took:.0f} pairs/s inserted")
    measure(engine, pairs)
    by_target = {row["target"]: row for row in engine.rows(statements("clickhouse/report.sql")[0])}
    for target, expected in sums.items():
        found = {figure: int(by_target[target][figure] or 0) for figure in expected}
        assert found == expected, (target, found, expected)
    print(f"ClickHouse: {pairs} pairs to {len(sums)} targets, the same sums as in the report")
    engine.close()

"""What DuckDB and ClickHouse say of a file of records, beside `conniver report --json`."""

import json
import os
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
FIGURES = ["connections", "failed", "sent", "received", "turns", "lost"]


def report(binary, file):
    """By target, what `conniver report` says."""
    command = [binary, "report", "--json", file]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {group["name"]: group for group in json.loads(output)["groups"]}


def split(text):
    """The statements of SQL."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [statement for statement in lines.split(";") if statement.strip()]


def statements(name):
    """The statements of a file of SQL."""
    return split((SCRIPTS / name).read_text())


def compare(engine, rows, expected, millis, first):
    """`rows` by target; `millis` is what a duration of theirs is multiplied by to be nanoseconds; `first` is when the
    first connection was accepted, Unix µs."""
    assert first == min(group["firstAt"] for group in expected.values()) // 1000, (engine, first)
    assert rows.keys() == expected.keys(), (engine, rows.keys(), expected.keys())
    for target, row in rows.items():
        for figure in FIGURES:
            of_report, of_engine = expected[target][figure] or 0, int(row[figure] or 0)
            assert of_report == of_engine, (engine, target, figure, of_report, of_engine)
        connect = expected[target]["connect"]
        for quantile in ["p50", "p99"] if connect else []:
            of_engine = float(row[f"connect_{quantile}"]) * millis
            # A sketch of quantiles in conniver: 1 %.
            assert abs(connect[quantile] / of_engine - 1) < 0.02, (engine, target, quantile, connect, of_engine)
        wait = expected[target]["wait"]
        if wait and row["wait_max"] is not None:
            assert abs(wait["max"] / (float(row["wait_max"]) * millis) - 1) < 0.02, (engine, target, wait, row)
    connections = sum(row["connections"] for row in expected.values())
    print(f"{engine}: {connections} connections to {len(rows)} targets, the same sums as in the report", flush=True)


def duckdb(directory, file, expected):
    """Reads `file` plain, compressed, and as Parquet; writes into `directory`."""
    import duckdb as engine

    # The queries write beside the current directory.
    os.chdir(directory)
    plain, gzip, zstd = (directory / f"of.ndjson{ending}" for ending in ["", ".gz", ".zst"])
    plain.symlink_to(file)
    with gzip.open("wb") as compressed:
        subprocess.run(["gzip", "-1", "-c", file], check=True, stdout=compressed)
    subprocess.run(["zstd", "-q", "-1", file, "-o", zstd], check=True)
    for name in [plain, gzip, zstd]:
        database = engine.connect()
        database.execute(f"SET VARIABLE records = '{name}'")
        for statement in statements("duckdb/views.sql"):
            database.execute(statement)
        relation = database.sql(statements("duckdb/report.sql")[0])
        names = [column.removesuffix("_ms") for column in relation.columns]
        rows = {row[0]: dict(zip(names, row)) for row in relation.fetchall()}
        first = database.sql("SELECT epoch_us(min(opened_at)) FROM pairs").fetchall()[0][0]
        compare(f"DuckDB, {name.name}", rows, expected, 1e6, first)
    for statement in statements("duckdb/to-parquet.sql"):
        database.execute(statement)
    copied = database.sql("SELECT count(*) FROM 'pairs.parquet'").fetchall()[0][0]
    assert copied == sum(group["connections"] for group in expected.values())
    for name in [plain, gzip, zstd]:
        name.unlink()


class ClickHouse:
    """ClickHouse's engine, with its data in a directory; there can be one of them at a time."""

    def __init__(self, directory):
        from chdb import session

        self.session = session.Session(str(directory))

    def run(self, query, form="JSONEachRow"):
        return str(self.session.query(query, form))

    def rows(self, query):
        return [json.loads(line) for line in self.run(query).splitlines()]

    def create(self):
        """The tables, without a row."""
        self.run("DROP DATABASE IF EXISTS conniver")
        for statement in statements("clickhouse/schema.sql"):
            self.run(statement)

    def insert(self, file):
        """Records as they are: `clickhouse-client` reads the same statement without FROM INFILE."""
        self.run(
            f"INSERT INTO conniver.landing FROM INFILE '{file}' SETTINGS input_format_skip_unknown_fields = 1 "
            "FORMAT JSONEachRow"
        )

    def compare(self, what, expected):
        """What is in the tables."""
        # Sums of 64 bits are texts in JSON.
        by_target = self.rows(statements("clickhouse/report.sql")[0])
        first = self.run("SELECT toUnixTimestamp64Micro(toDateTime64(min(opened_at), 9)) FROM conniver.pairs", "CSV")
        compare(f"ClickHouse, {what}", {row["target"]: row for row in by_target}, expected, 1, int(first))
        by_hour = self.rows(statements("clickhouse/hourly.sql")[0])
        for figure in ["connections", "failed", "lost"]:
            of_report = sum(group[figure] or 0 for group in expected.values())
            assert sum(int(row[figure]) for row in by_hour) == of_report, (what, figure)

    def close(self):
        self.session.close()



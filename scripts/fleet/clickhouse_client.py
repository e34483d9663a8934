"""Stands in for clickhouse-client, over ClickHouse's engine in this process.

    clickhouse_client.py DIRECTORY [--multiquery] [--query QUERY] < STATEMENTS OR DATA

With CLICKHOUSE_ONLY_PARSES in the environment, statements are parsed and not run.
"""

import argparse
import os
import re
import sys

from engines import ClickHouse, split


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--multiquery", action="store_true")
    parser.add_argument("--query")
    args = parser.parse_args()
    engine = ClickHouse(args.directory)
    if args.query:
        # The client sends its standard input after the statement.
        queries = [re.sub(r"^\s*INSERT INTO (\S+)", r"INSERT INTO \1 FROM INFILE '/dev/stdin'", args.query)]
    else:
        queries = split(sys.stdin.read())
    for query in queries:
        if "CLICKHOUSE_ONLY_PARSES" in os.environ:
            query = f"EXPLAIN AST {query}"
        print(engine.run(query, "TabSeparated"), end="")
    engine.close()


main()

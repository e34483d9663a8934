"""Runs every command of docs/fleet.md in order, in an empty directory, and compares what each step ends in.

Between the commands connections are made through the page's proxy. What the page starts listens at the page's ports:
this needs a network and a space of processes of its own.
"""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from engines import SCRIPTS, ClickHouse, duckdb, report
from load import connections, origin, wait_until

PROXY, METRICS, PROMETHEUS = "127.0.0.1:1080", "http://127.0.0.1:9100/metrics", "http://127.0.0.1:9090"
ROUNDS = 25


def blocks():
    """The blocks of code of the page, as (language, text, whether they take a cluster)."""
    page = (SCRIPTS.parent / "docs/fleet.md").read_text()
    found = re.findall(r"^(<!-- a cluster -->\n)?```(.+)\n((?:.*\n)*?)```$", page, re.MULTILINE)
    assert len(found) * 2 == page.count("```"), "a block that is not understood"
    return [(language, text, bool(cluster)) for cluster, language, text in found]


def fetch(url):
    """What is there, or nothing."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return ""


def prometheus(query):
    """By target, or by nothing, the values of a query."""
    answer = fetch(f"{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    result = json.loads(answer)["data"]["result"] if answer.startswith("{") else []
    return {series["metric"].get("target"): float(series["value"][1]) for series in result}


class Page:
    """The page's commands, in a directory below `directory`."""

    def __init__(self, directory, binary):
        self.binary = binary
        self.here = directory / "page"
        self.database = directory / "clickhouse"
        self.records = self.here / "records.ndjson"
        self.port = origin()
        self.here.mkdir()
        (self.here / "scripts").symlink_to(SCRIPTS)
        programs = directory / "bin"
        programs.mkdir()
        (programs / "conniver").symlink_to(binary)
        (programs / "duckdb").symlink_to(f"{sys.prefix}/bin/duckdb")
        client = programs / "clickhouse-client"
        stand_in = f"'{sys.executable}' '{SCRIPTS}/fleet/clickhouse_client.py' '{self.database}'"
        client.write_text(f'#!/bin/sh\nexec {stand_in} "$@"\n')
        client.chmod(0o755)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        } | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, language, text, cluster):
        print(f"\n```{language}\n{text}```", flush=True)
        shell, environment = {"sh": ["bash", "-euo", "pipefail"], "sql": ["duckdb", "-bail"]}[language], self.environment
        if cluster:
            environment = environment | {"CLICKHOUSE_ONLY_PARSES": "yes"}
        if language == "sh":
            # Not its standard input: programs that it runs in the background must not read the rest of it.
            shell, text = [*shell, "-c", text], None
        # A file: what goes on in the background keeps it open.
        with (self.here / "output.txt").open("w+") as output:
            status = subprocess.run(
                shell, input=text, cwd=self.here, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
            ).returncode
            output.seek(0)
            print(output.read(3000), flush=True)
        assert status == 0, f"exit status {status}"

    def run(self):
        """All commands; what is done after those that start something is done once each."""
        after = {"conniver proxy": self.proxy, "prometheus --config": self.prometheus, "/usr/sbin/rsyslogd -f": self.rsyslog}
        for language, text, cluster in blocks():
            self.command(language, text, cluster)
            for what in [what for what in after if what in text]:
                after.pop(what)()
        assert not after, f"not in the page: {after}"

    def connections(self):
        """More records; returns when all are in the file."""
        connections(PROXY, self.port, ROUNDS)

        def counted(metric):
            return re.search(rf"^{metric}(?:{{.*}})? (\d+)$", fetch(METRICS), re.MULTILINE)

        wait_until("no connection is open", lambda: counted("conniver_pairs_open")[1] == "0")
        wait_until("all lines are written", lambda: counted("conniver_lines_queued")[1] == "0")

    def proxy(self):
        wait_until("the proxy has started", lambda: fetch(METRICS))
        self.connections()

    def prometheus(self):
        wait_until("Prometheus has scraped", lambda: prometheus("up == 1"))
        self.connections()

    def collected(self):
        return b"".join(file.read_bytes() for file in sorted(self.here.glob("collected/*/*.ndjson")))

    def rsyslog(self):
        self.connections()
        written = self.records.read_bytes()
        wait_until("rsyslog has brought all lines", lambda: len(self.collected()) >= len(written))
        assert self.collected() == written, "what rsyslog brought is not what was written"
        lines = written.count(b"\n")
        print(f"rsyslog: {lines} lines, {len(written)} bytes, as they were written", flush=True)

    def compare(self):
        """What every step has, with what `conniver report` says of the same records."""
        expected = report(self.binary, self.records)
        ended = sum(group["connections"] for group in expected.values())
        query = "sum(conniver_pairs_ended_total)"
        wait_until("Prometheus has scraped the last connections", lambda: prometheus(query).get(None) == ended)
        self.compare_prometheus(expected)
        duckdb(self.here, self.records, expected)
        clickhouse = ClickHouse(self.database)
        clickhouse.compare("what rsyslog brought", expected)
        clickhouse.close()

    def compare_prometheus(self, expected):
        counters = {
            "connections": "conniver_pairs_ended_total",
            "failed": 'conniver_pairs_ended_total{outcome!="ok"}',
            "sent": 'conniver_payload_bytes_total{direction="to_upstream"}',
            "received": 'conniver_payload_bytes_total{direction="to_client"}',
            "turns": "conniver_turn_wait_seconds_count",
        }
        labels = prometheus(f"sum by (target) ({counters['connections']})").keys()
        for figure, counter in counters.items():
            sums = dict.fromkeys(labels, 0)
            for target, group in expected.items():
                # Names that do not exist have no label of their own.
                sums[target if target in labels else "other"] += group[figure]
            counted = prometheus(f"sum by (target) ({counter})")
            counted = {target: counted.get(target, 0) for target in labels}
            assert counted == sums, (figure, counted, sums)
        print(f"Prometheus: {len(labels)} targets, the same sums as in the report", flush=True)

"""Connections through a proxy: answered, refused and unresolvable targets, one and several requests a connection."""

import http.server
import os
import re
import subprocess
import threading
import time


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers of different sizes after different times."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = int(self.path.rsplit("/", 1)[1])
        time.sleep(number % 7 / 100)
        self.send_response(200)
        self.send_header("Content-Length", str(number * 97))
        self.end_headers()
        self.wfile.write(bytes(number * 97))

    def log_message(self, *_):
        pass


def origin():
    """The port of a server that runs until this program ends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def connections(proxy, port, rounds):
    """Uses the HTTP proxy at the address `proxy`, with the server at `port`."""

    def curl(*urls):
        command = ["curl", "-s", "-p", "--proxy", f"http://{proxy}", "--noproxy", ""]
        for url in urls:
            command += ["-o", os.devnull, url]
        subprocess.run(command, check=False)

    for number in range(1, rounds + 1):
        curl(f"http://localhost:{port}/{number}")
        curl(*[f"http://127.0.0.1:{port}/{number + more}" for more in range(number % 5 + 1)])
        curl("http://localhost:9/1")
    curl("http://name.invalid/1")


def brief_records(binary, file):
    """Makes a file of brief records."""
    command = [binary, "proxy", "-D", "0", "-o", file, "--detail", "brief", "--events", "turn,close"]
    proxy = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    address = re.search(r"listening on (\S+),", proxy.stderr.readline())[1]
    threading.Thread(target=proxy.stderr.read, daemon=True).start()
    connections(address, origin(), 60)
    proxy.terminate()
    proxy.wait()
    return file


def wait_until(what, is_so, seconds=90):
    """Returns what `is_so` returns when it is true for the first time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := is_so():
            return answer
        time.sleep(0.05)
    raise SystemExit(f"check-fleet: not within {seconds} s: {what}")

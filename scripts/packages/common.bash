# What the tests of the packages share: waiting, checking, and an origin. Sourced by scripts/test-packages.

# need COMMAND PACKAGE: installs the package if the command is missing.
need() {
    command -v "$1" >/dev/null && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

# wait_for WHAT COMMAND...: until the command succeeds, at most 30 s.
wait_for() {
    local what=$1 end=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "waited 30 s: $what"
        sleep 0.05
    done
}

# says FILE PATTERN: fails unless the file has a matching line.
says() { grep -q -- "$2" "$1" || fail "no line matches '$2': $(cat "$1")"; }

# holds FILE FILTER: fails unless the filter is true of the JSON values in the file.
holds() { jq -e --slurp "$2" "$1" >/dev/null || fail "not true: $2, of $(cat "$1")"; }

# An origin for the programs under test: HTTP on every address, port 8000, and a name server on
# 127.0.0.1 that knows origin.dns.test, and many.dns.test by 60 addresses, too many for a datagram.
origin() {
    mkdir -p "$work/served"
    head -c 100000 /dev/zero >"$work/served/page"
    (cd "$work/served" && exec python3 -u -m http.server 8000 >"$work/origin" 2>&1) &
    python3 -u scripts/packages/name_server.py >"$work/dns" 2>&1 &
    wait_for "the origin serves" curl -s http://127.0.0.1:8000/page
    wait_for "the name server serves" grep -q ready "$work/dns"
}

# start_proxy COMMAND...: in the background; sets address to what it listens on, and proxy to its process.
start_proxy() {
    "$@" >"$work/records" 2>"$work/said" &
    proxy=$!
    wait_for "the proxy listens" grep -q '^listening on ' "$work/said" || fail "$(cat "$work/said")"
    address=$(sed -n 's/^listening on \([0-9.:]*\).*/\1/p' "$work/said" | head -n 1)
}

# An empty root, and the programs' configuration of names. Sets root.
empty_root() {
    root=$work/root
    mkdir -p "$root/etc"
    tar -xzf "$dist/conniver-$version-$1-linux.tar.gz" -C "$work"
    cp "$work/conniver-$version-$1-linux/conniver" "$root"
    printf '127.0.0.1 localhost\n127.0.0.9 origin.hosts.test\n' >"$root/etc/hosts"
    echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
}

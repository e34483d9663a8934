# The Debian package in Debian's base.

# debian ROOT COMMAND...: in a root of Debian's, with what its programs expect.
debian() {
    local root=$1
    shift
    root=$root unshare --mount --propagation private --pid --fork sh -c '
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" || exit
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=xterm \
            DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"' sh "$@" </dev/null
}

# all ROOT: every file, and the users.
all() {
    (cd "$1" && find . -xdev ! -path './proc/*' ! -path './dev/*' ! -path './var/cache/*' \
        ! -path './var/log/*' ! -path './var/lib/apt/*' ! -path './var/lib/dpkg/*' ! -path './tmp/*' ! -path './run/*' \
        ! -path './etc/*-' -printf '%p %M %u %l\n' | sort)
    find "$1/var/log" -name '*conniver*'
    grep -rl conniver "$1/var/lib/dpkg" "$1/var/lib/systemd" 2>/dev/null || true
    sort "$1/etc/passwd" "$1/etc/group"
}

# unchanged BEFORE: whether a root is what it was.
unchanged() {
    all "$root" | diff "$1" - >"$work/left" || fail "purging leaves: $(cat "$work/left")"
}

# Debian's base, and with what the package is used with. These need its archive.
debian_roots() {
    local mirror
    mkdir -p "$roots"
    if [ ! -d "$roots/base" ]; then
        # This machine's, if it is a Debian of that name; otherwise debootstrap's own.
        mirror=$(apt-cache policy | sed -n 's#^ *[0-9]* \(http[^ ]*\) bookworm/main amd64 .*#\1#p' | head -n 1)
        debootstrap --variant=minbase bookworm "$roots/base.new" ${mirror:+"$mirror"} >"$roots/log" 2>&1 ||
            fail "debootstrap: $(tail "$roots/log")"
        mv "$roots/base.new" "$roots/base"
    fi
    if [ ! -d "$roots/full" ]; then
        # What the package is used with. Its lists of packages come from this machine's archive.
        rm -rf "$roots/full.new"
        cp -a "$roots/base" "$roots/full.new"
        cp /etc/resolv.conf "$roots/full.new/etc/"
        debian "$roots/full.new" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends \
            man-db bash-completion systemd logrotate jq curl' >"$roots/log" 2>&1 || fail "$(tail "$roots/log")"
        mv "$roots/full.new" "$roots/full"
    fi
}

deb() {
    local package=conniver_$version-1_amd64.deb
    dpkg-deb --field "$dist/conniver_$version-1_arm64.deb" Architecture | grep -qx arm64
    # In Debian's base, where there is no systemd and no manual.
    root=$work/base
    cp -a "$roots/base" "$root"
    all "$root" >"$work/before"
    cp "$dist/$package" "$root/tmp"
    debian "$root" apt-get install -y -qq "/tmp/$package" >"$work/apt" 2>&1 || fail "apt-get: $(cat "$work/apt")"
    debian "$root" conniver demo >"$work/demo" 2>"$work/said" || fail "demo: $(cat "$work/said")"
    holds "$work/demo" '.[0] | .outcome == "ok" and .client.closedInfo.rtt > 0'
    debian "$root" apt-get purge -y -qq conniver >"$work/apt" 2>&1 || fail "apt-get: $(cat "$work/apt")"
    unchanged "$work/before"

    origin
    root=$work/full
    cp -a "$roots/full" "$root"
    all "$root" >"$work/before"
    cp "$dist/$package" "$root/tmp"
    debian "$root" apt-get install -y -qq "/tmp/$package" >"$work/apt" 2>&1 || fail "apt-get: $(cat "$work/apt")"
    debian "$root" dpkg --verify conniver
    debian "$root" man conniver-run >"$work/man"
    says "$work/man" "^conniver-run(1)"
    completion
    debian "$root" env SYSTEMD_LOG_TARGET=console systemd-analyze verify conniver.service conniver.socket >"$work/verify" 2>&1 ||
        fail "systemd-analyze: $(cat "$work/verify")"
    ! grep conniver "$work/verify" || fail "systemd-analyze finds fault"
    [ -z "$(find "$root/etc/systemd" -name '*conniver*')" ] || fail "the package enables its units"
    debian "$root" logrotate --debug /etc/logrotate.d/conniver >"$work/rotate" 2>&1 || fail "$(cat "$work/rotate")"
    debian "$root" sh -c 'conniver demo 2>/dev/null | jq -rnf /usr/share/conniver/top-talkers.jq' >"$work/talkers"
    says "$work/talkers" "bytes"
    service
    debian "$root" install -D -o conniver -g conniver /dev/null /var/log/conniver/records.ndjson
    debian "$root" apt-get purge -y -qq conniver >"$work/apt" 2>&1 || fail "apt-get: $(cat "$work/apt")"
    unchanged "$work/before"
    echo "the Debian package works, and purging leaves nothing: $(stat -c %s "$dist/$package") bytes"
}

# What a person types into bash, in a terminal of its own.
completion() {
    python3 scripts/packages/completion.py "$root" >"$work/typed" 2>&1 || fail "completion: $(cat "$work/typed")"
}

# The service, with the unit's socket, user and environment: booted where that is possible.
service() {
    local name=conniver-packages-$$ root=$work/booted
    # Booting leaves files of its own.
    cp -a "$work/full" "$root"
    debian "$root" systemctl enable conniver.socket conniver.service >/dev/null 2>&1
    # Nothing but what is tested; the network is ours.
    systemd-nspawn --quiet --boot --directory "$root" --machine "$name" --register=no --keep-unit \
        --console=pipe </dev/null >"$work/boot" 2>&1 &
    booted=$!
    wait_for "the service serves" curl -sf -o "$work/got" -x http://127.0.0.1:1080 http://127.0.0.1:8000/page
    cmp "$work/got" "$work/served/page"
    kill -TERM $booted
    wait $booted || true
    tail -n 1 "$root/var/log/conniver/records.ndjson" >"$work/stopped"
    holds "$work/stopped" '.[0].event == "stop"'
    [ "$(debian "$root" stat -c '%U:%G %a' /var/log/conniver/records.ndjson)" = "conniver:conniver 640" ] ||
        fail "the records are not those of conniver's group"
}

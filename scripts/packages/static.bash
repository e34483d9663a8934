# The static programs where nothing else is.

# The program's commands, by the command that runs it: what a kernel tells is checked with TCP_INFO=yes.
four_commands() {
    "$@" --version | grep -qx "conniver $version" || fail "$* --version"

    "$@" demo >"$work/demo" 2>"$work/said" || fail "demo: $(cat "$work/said")"
    holds "$work/demo" 'length == 1 and .[0].outcome == "ok"'
    [ "$TCP_INFO" = no ] || holds "$work/demo" '.[0] | [.client, .upstream] | all(.closedInfo.rtt > 0)'

    for name in origin.hosts.test origin.dns.test many.dns.test; do
        "$@" stat --json "http://$name:8000/page" >"$work/stat" || fail "stat $name"
        holds "$work/stat" '.[0] | .outcome == "ok" and .resolveSource == "lookup"'
    done
    ! "$@" stat --json http://none.dns.test:8000/ >"$work/stat" 2>"$work/said" || fail "stat of no host works"
    holds "$work/stat" '.[0] | .outcome == "dns" and .ending.errorCode == "EAI_NONAME"'

    start_proxy "$@" proxy -L 0:origin.dns.test:8000 -D 0 -o -
    curl -s -o "$work/got" "http://$address/page"
    cmp "$work/got" "$work/served/page"
    curl -s -o "$work/got" -p -x "http://$(sed -n 's/^listening on \([0-9.:]*\),.*HTTP.*/\1/p' "$work/said")" \
        http://origin.hosts.test:8000/page
    cmp "$work/got" "$work/served/page"
    kill -TERM $proxy
    wait $proxy || fail "the proxy ended with $?"
    holds "$work/records" 'length == 2 and all(.outcome == "ok" and .resolveSource == "lookup")'
    [ "$TCP_INFO" = no ] || holds "$work/records" 'all(.upstream.closedInfo.rtt > 0)'
}

# Inside a network of its own.
static() {
    TCP_INFO=yes
    origin
    empty_root x86_64
    ! readelf -l "$root/conniver" | grep -q INTERP || fail "the program is not static"
    for user in 0:0 65534:65534; do
        inside=(chroot --userspec "$user" "$root" /conniver)
        four_commands "${inside[@]}"
        "${inside[@]}" run -- /conniver stat http://origin.hosts.test:8000/page >"$work/out" 2>"$work/said"
        says "$work/out" "^HTTP/1.0 200"
        says "$work/said" "^conniver: 1 connection"
        says "$work/said" "^origin.hosts.test:8000 .* ok"
    done
    "$root/conniver" run -- curl -s -o "$work/got" http://127.0.0.1:8000/page 2>"$work/said"
    cmp "$work/got" "$work/served/page"
    says "$work/said" "^127.0.0.1:8000 .* ok"
    echo "the static program works in an empty root: $(stat -c %s "$root/conniver") bytes"
}

aarch64() {
    # qemu tells little of TCP, and nothing where the kernel's structure has grown.
    TCP_INFO=no
    origin
    empty_root aarch64
    cp "$(command -v qemu-aarch64-static)" "$root/qemu"
    for user in 0:0 65534:65534; do
        four_commands chroot --userspec "$user" "$root" /qemu /conniver
    done
    echo "aarch64's static program works under $(qemu-aarch64-static --version | head -n 1)"
}

# The image in a container.

# contain NAME ARGUMENT...: the image as a container in the background, with its root read-only, no
# capability, and this network. Its standard output is in records, its standard error in said.
contain() {
    local name=$1
    shift
    jq '.process.args |= .[:1] + $ARGS.positional | .process.terminal = false | .root.readonly = true
        | .process.capabilities |= map_values([])
        | .linux.namespaces |= map(select(.type != "network"))
        | .mounts += [["hosts", "resolv.conf"][] | {
            destination: "/etc/\(.)", source: "\($root)/etc/\(.)", type: "bind", options: ["rbind", "ro"]}]
        | .mounts += [{destination: "/busybox", source: $busybox, type: "bind", options: ["rbind", "ro"]}]' \
        --arg root "$root" --arg busybox "$(command -v busybox)" --args -- "$@" \
        <"$work/config.json" >"$work/bundle/config.json"
    runc --root "$work/runc" run --bundle "$work/bundle" "$name" >"$work/records" 2>"$work/said" &
    container=$!
}

# compose_file: the one in docs/operations.md.
compose_file() { sed -n '/^```yaml$/,/^```$/{/^```/d;p}' docs/operations.md; }

# compose KEY: of conniver in that file, as JSON.
compose() {
    compose_file | python3 -c 'import json, sys, yaml
print(json.dumps(yaml.safe_load(sys.stdin)["services"]["conniver"][sys.argv[1]]))' "$1"
}

image() {
    origin
    empty_root x86_64
    mkdir "$work/layout"
    gunzip <"$dist/conniver-$version-image-amd64.tar.gz" >"$work/image.tar"
    skopeo copy --quiet "docker-archive:$work/image.tar" "oci:$work/layout:amd64"
    skopeo inspect --config "oci:$work/layout:amd64" >"$work/inspected"
    holds "$work/inspected" '.[0] | .architecture == "amd64" and .config.User == "65534:65534"
        and .config.StopSignal == "SIGTERM" and (.rootfs.diff_ids | length) == 1'
    umoci --log=error unpack --image "$work/layout:amd64" "$work/bundle"
    [ "$(ls "$work/bundle/rootfs")" = conniver ] || fail "the image is not the program alone"
    # Where runc mounts; a runtime makes these in a layer of its own.
    mkdir -p "$work/bundle/rootfs/etc"
    touch "$work/bundle/rootfs/etc/hosts" "$work/bundle/rootfs/etc/resolv.conf" "$work/bundle/rootfs/busybox"
    mv "$work/bundle/config.json" "$work/config.json"

    # Without arguments it explains itself.
    contain help --help
    wait $container || fail "--help: $(cat "$work/said")"
    says "$work/records" "^Usage: conniver"
    contain demo demo
    wait $container || fail "demo: $(cat "$work/said")"
    holds "$work/records" '.[0].outcome == "ok"'
    contain stat stat --json http://origin.dns.test:8000/page
    wait $container || fail "stat: $(cat "$work/said")"
    holds "$work/records" '.[0].outcome == "ok"'

    # The sidecar of docs/operations.md, with another upstream: its health check, and a request in
    # progress that is finished after SIGTERM.
    mapfile -t arguments < <(compose command | jq -r 'split(" ")[]' | sed 's/db:5432/origin.dns.test:8000/')
    mapfile -t health < <(compose healthcheck | jq -r '.test[1:][]')
    contain proxy "${arguments[@]}"
    wait_for "/healthz answers" curl -s -f http://127.0.0.1:9100/healthz
    runc --root "$work/runc" exec --user 65534:65534 proxy "${health[@]}" >"$work/healthy" ||
        fail "the health check fails: $(cat "$work/healthy")"
    [ "$(runc --root "$work/runc" ps -f json proxy | jq length)" = 1 ]
    [ "$(stat -c %u:%g "/proc/$(runc --root "$work/runc" ps -f json proxy | jq '.[0]')")" = 65534:65534 ] ||
        fail "the container does not run as nobody"
    contained=$container
    exec 8<>/dev/tcp/127.0.0.1/5432
    printf 'GET /page HTTP/1.0\r\n' >&8
    wait_for "the connection is open" \
        sh -c 'curl -s http://127.0.0.1:9100/metrics | grep -q "^conniver_pairs_open.* 1$"'
    runc --root "$work/runc" kill proxy TERM
    wait_for "no more connections are accepted" sh -c '! curl -s http://127.0.0.1:5432/page'
    printf '\r\n' >&8
    cat <&8 | tail -c 100000 | cmp - "$work/served/page"
    exec 8<&-
    wait $contained || fail "the proxy ended with $?: $(cat "$work/said")"
    holds "$work/records" '[.[] | select(.event == "close")] | length == 1 and .[0].outcome == "ok"
        and .[0].upstream.rxBytes > 100000'
    holds "$work/records" 'last.event == "stop"'

    # As process 1 it has orphans for children; those that have ended must not remain.
    contain reap run -- /busybox sh -c '(/busybox sleep 0.1 &)
        until ! /busybox pidof sleep; do /busybox usleep 20000; done
        for state in /proc/[0-9]*/stat; do read -r line <$state && echo $line; done 2>/dev/null'
    wait $container || fail "run: $(cat "$work/said")"
    says "$work/records" "^1 (conniver)"
    ! grep -E '^[0-9]+ \(.*\) Z ' "$work/records" || fail "a zombie remains"

    # Of aarch64's the platform, and of the layout for registries what each platform is given.
    for architecture in amd64 arm64; do
        skopeo inspect --config --override-arch $architecture "oci:target/package/image:$version" |
            jq -e --arg architecture $architecture '.architecture == $architecture' >/dev/null
    done
    echo "the image works as nobody with a read-only root: $(stat -c %s "$dist/conniver-$version-image-amd64.tar.gz") bytes"
}

#!/usr/bin/env bash
# Does it run on the other systems, as far as Linux can play them? Runs the unit tests and the
# demonstration as a Windows program under wine and as an aarch64 program under qemu. Neither tells all
# that a kernel would of a connection: what is not told must be null in the record, and not 0. What reads
# the kernel's structures is tested as an s390x program as well, whose byte order is the other one.
#
#   scripts/test-platforms.sh [windows] [aarch64] [s390x]     without arguments: all
#
# Needs jq and Debian's wine, gcc-mingw-w64-x86-64-posix and qemu-user, which it installs when root runs
# it, and what scripts/foreign-cargo needs.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "test-platforms: $*" >&2; exit 1; }

systems=("$@")
[ $# -gt 0 ] || systems=(windows aarch64 s390x)
# Emulated properties take their time. Nobody debugs these builds, which take gigabytes otherwise.
export CARGO_TERM_COLOR=never PROPTEST_CASES=${PROPTEST_CASES:-16} RUST_BACKTRACE=0
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0

# need COMMAND PACKAGE...: installs the packages if the command is missing.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    [ "$(id -u)" = 0 ] || fail "$command is missing: apt-get install $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    command -v "$command" >/dev/null || fail "$* did not bring $command"
}

# demo TARGET JQ: what the demonstration's record says of both legs, whatever the system tells.
demo() {
    local record
    record=$(scripts/foreign-cargo "$1" run --quiet -- demo --size 1)
    jq -e --argjson bytes $((1024 * 1024)) '
        .outcome == "ok" and .ending.firstHow == "fin" and .ending.secondHow == "fin"
        and .delivery.toClient == {written: $bytes, acked: null, undelivered: null}
        and all(.client, .upstream; .rxBytes == $bytes and .txBytes == $bytes and ('"$2"'))
    ' <<<"$record" >/dev/null || fail "not what was expected of the record: $record"
}

windows() {
    local target=x86_64-pc-windows-gnu directory
    need jq jq
    need x86_64-w64-mingw32-gcc-posix gcc-mingw-w64-x86-64-posix
    need wine wine wine64
    mkdir -p "${CARGO_TARGET_DIR:-target}"
    directory=$(realpath "${CARGO_TARGET_DIR:-target}")/wine
    export WINEPREFIX=$directory WINEDEBUG=-all
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
    # Ends what wine leaves running, of this directory alone.
    trap 'wineserver -k || true' EXIT
    wineboot -i >/dev/null 2>&1 || fail "wine does not start"

    # Debian's wine lacks the library that programs of today's Rust take random numbers from.
    if [ ! -e "$directory/drive_c/windows/system32/bcryptprimitives.dll" ]; then
        x86_64-w64-mingw32-gcc-posix -shared -x c - -ladvapi32 \
            -o "$directory/drive_c/windows/system32/bcryptprimitives.dll" <<'END'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count)
{
    return SystemFunction036(bytes, (ULONG)count);
}
END
    fi

    # To who polls, wine shows a reset as an end of stream.
    scripts/foreign-cargo $target test --quiet --lib --bins -- --skip with_a_reset
    # wine does not know SIO_TCP_INFO.
    demo $target '.infoErrCode == "ENOTSUP"
        and ([.openedInfo, .eofInfo, .closedInfo] | all(. == null))'
    echo "test-platforms: the Windows program passes its tests under $(wine --version)"
}

aarch64() {
    local target=aarch64-unknown-linux-gnu runner="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    need jq jq
    need qemu-aarch64 qemu-user
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$runner

    # qemu has no NETLINK_SOCK_DIAG.
    scripts/foreign-cargo $target test --quiet --lib --bins -- --skip sock_diag
    # Of the structure qemu passes on the first bytes alone.
    demo $target '[.openedInfo, .closedInfo] | all(. == null or (.sysInfoLength < 72 and .rtt == null
        and .retransmits == null and (.sysInfo | has("rtt") or has("totalRetrans") | not)))'
    echo "test-platforms: the aarch64 program passes its tests under $(qemu-aarch64 --version | head -n 1)"
}

s390x() {
    local target=s390x-unknown-linux-gnu runner="qemu-s390x -L /usr/s390x-linux-gnu"
    need qemu-s390x qemu-user
    export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER=$runner
    # qemu passes on no TCP information that could be compared with a kernel's.
    scripts/foreign-cargo $target test --quiet --lib -- tcp_info --skip live
    echo "test-platforms: the kernel's structures are read in s390x's byte order under $(qemu-s390x --version | head -n 1)"
}

for system in "${systems[@]}"; do
    case $system in
    windows | aarch64 | s390x) (set -e; $system) ;;
    *) fail "'$system': windows, aarch64 or s390x, please" ;;
    esac
done

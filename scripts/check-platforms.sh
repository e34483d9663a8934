#!/usr/bin/env bash
# Does it compile for the other systems? Type-checks the library with each set of features, the program,
# the unit tests and the examples, warnings being errors, from Linux.
#
#   scripts/check-platforms.sh [TARGET...]      without TARGET: all of those below
#
# How it comes by their standard libraries and compilers, and what it needs for that: scripts/foreign-cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=("$@")
[ $# -gt 0 ] || targets=(
    x86_64-pc-windows-msvc
    aarch64-apple-darwin
    x86_64-unknown-freebsd
    aarch64-unknown-linux-gnu
)
export CARGO_TERM_COLOR=never RUSTFLAGS="${RUSTFLAGS:-} -D warnings"

for target in "${targets[@]}"; do
    began=$SECONDS
    check() { scripts/foreign-cargo "$target" check --quiet "$@"; }
    check --lib --bins --tests --examples
    for features in "" tokio hyper-util record schema proxy metrics watch; do
        check --lib --no-default-features --features "$features"
    done
    echo "check-platforms: $target compiles ($((SECONDS - began)) s)"
done

//! Open files, which decide how many connections can be open at once.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Enough for [`MOST_PAIRS`] through every proxy.
const FILES: u64 = 40_000;

const MOST_PAIRS: u64 = 10_000;

/// Raises this process's limit on open files, which its children inherit: to what the works want
/// if it may, else as far as it may.
pub(crate) fn raise() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.max(FILES);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    }
    let most = most_pairs();
    if most < MOST_PAIRS as usize {
        eprintln!(
            "relay: the limit on open files (ulimit -Hn) allows {most} connections at once instead of \
             {MOST_PAIRS}"
        );
    }
}

/// How many pairs a proxy can have open at once: two sockets each, and a tenth of its files for
/// everything else.
pub(crate) fn most_pairs() -> usize {
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    (files / 20 * 9).min(MOST_PAIRS) as usize
}

//! How the descriptors of this process are divided.
//!
//! | for | descriptors |
//! | --- | --- |
//! | pipes of relays that stream | a sixteenth |
//! | attempts to connect beside a connection's first | a sixteenth, at most 256 |
//! | name look-ups | two each, at most a sixteenth |
//! | connections for the metrics | a sixty-fourth, 4 to 64 |
//! | files, listeners, the runtime | 16 |
//! | connections | two each: the client's socket, and the upstream's or the first attempt's |

use std::num::NonZeroUsize;

/// For files, listeners and the runtime.
const OWN: u64 = 16;

/// Attempts to connect beside the first one of each connection, however many descriptors there are.
const MOST_EXTRA_ATTEMPTS: u64 = 256;

/// A look-up holds a socket, and for a moment a file or a second socket.
const PER_LOOK_UP: u64 = 2;

/// Look-ups at a time, however many descriptors there are; each has a thread.
const MOST_LOOK_UPS: u64 = 64;

/// Look-ups at a time, however few descriptors there are.
const FEWEST_LOOK_UPS: u64 = 4;

/// How many connections there is room for; at least one.
pub(crate) fn connections(descriptors: u64) -> NonZeroUsize {
    let connections = usize::try_from(descriptors.saturating_sub(reserved(descriptors)) / 2);
    NonZeroUsize::new(connections.unwrap_or(usize::MAX)).unwrap_or(NonZeroUsize::MIN)
}

/// Descriptors that are not for connections.
fn reserved(descriptors: u64) -> u64 {
    let look_ups = PER_LOOK_UP * look_ups(descriptors);
    descriptors / 16 + extra_attempts(descriptors) + look_ups + metrics(descriptors) + OWN
}

/// How many attempts to connect may be under way beside the first one of each connection.
pub(crate) fn extra_attempts(descriptors: u64) -> u64 {
    (descriptors / 16).min(MOST_EXTRA_ATTEMPTS)
}

/// How many names may be looked up at a time.
pub(crate) fn look_ups(descriptors: u64) -> u64 {
    (descriptors / 16 / PER_LOOK_UP).clamp(FEWEST_LOOK_UPS, MOST_LOOK_UPS)
}

/// How many connections to the metrics server may be open at a time.
pub(crate) fn metrics(descriptors: u64) -> u64 {
    (descriptors / 64).clamp(4, 64)
}

/// The soft limit on descriptors of this process. If the system does not report it, a number that
/// every system allows.
pub(crate) fn limit() -> u64 {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit};

        #[allow(clippy::useless_conversion, reason = "FreeBSD's limits are signed")]
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE)
            && let Ok(soft) = soft.try_into()
        {
            return soft;
        }
    }
    8192
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_room_for_one_connection() {
        for (descriptors, most) in [(0, 1), (18, 1), (64, 14), (1024, 400), (20_000, 9143)] {
            assert_eq!(connections(descriptors).get(), most);
        }
    }

    #[test]
    fn shares_fit_into_the_descriptors() {
        for descriptors in (64..100_000).step_by(7).chain([1 << 20, 1 << 30]) {
            let used = 2 * connections(descriptors).get() as u64
                + descriptors / 16
                + extra_attempts(descriptors)
                + PER_LOOK_UP * look_ups(descriptors)
                + metrics(descriptors)
                + OWN;
            assert!(used <= descriptors, "{used} of {descriptors}");
        }
    }
}

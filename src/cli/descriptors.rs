//! How many connections there are descriptors for.

use std::num::NonZeroUsize;

use conniver::plural::counted;
use conniver::proxy::Limits;

/// How many connections may be open at a time: as many as are asked for, or as there are
/// descriptors for, whichever is less. `None` where the system does not count them. The process
/// takes all the descriptors that it may have.
pub(crate) fn connections(asked: Option<NonZeroUsize>) -> Option<NonZeroUsize> {
    let Some(descriptors) = raise() else { return asked };
    let most = Limits::connections_within(descriptors);
    match asked {
        Some(asked) if asked <= most => Some(asked),
        Some(asked) => {
            tracing::warn!(
                "--max-connections {asked} is reduced: {} (ulimit -Hn) are enough for {}",
                counted(descriptors, "descriptor"),
                counted(most.get() as u64, "connection")
            );
            Some(most)
        }
        None => {
            tracing::info!(
                "accepting up to {} at a time ({}, ulimit -Hn)",
                counted(most.get() as u64, "connection"),
                counted(descriptors, "descriptor")
            );
            Some(most)
        }
    }
}

/// Sets the limit on descriptors to the most that this process may set: how many.
#[cfg(unix)]
#[allow(clippy::useless_conversion, reason = "FreeBSD's limits are signed")]
fn raise() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard.try_into().ok(),
        Err(error) => {
            tracing::debug!(
                "cannot raise the limit on file descriptors from {soft} to {hard}: {error}"
            );
            soft.try_into().ok()
        }
    }
}

#[cfg(not(unix))]
fn raise() -> Option<u64> {
    None
}

//! When a proxy ends.

use std::future::{Future, Pending, pending};

/// When a proxy stops: gracefully, and optionally by force.
///
/// ```
/// use conniver::proxy::Shutdown;
/// # let (first_signal, second_signal) = (std::future::pending::<()>(), std::future::pending::<()>());
/// let shutdown = Shutdown::graceful(first_signal).or_forced(second_signal);
/// ```
#[derive(Debug)]
#[must_use = "it is for Proxy::run"]
pub struct Shutdown<G, F = Pending<()>> {
    pub(super) graceful: G,
    pub(super) forced: F,
}

impl<G: Future<Output = ()>> Shutdown<G> {
    /// When `when` is ready, no more connections are accepted, and open pairs have the time that
    /// [`Settings::drain`](super::Settings::drain) allows.
    pub fn graceful(when: G) -> Self {
        Self { graceful: when, forced: pending() }
    }
}

impl<G, F> Shutdown<G, F> {
    /// After that, when `when` is ready, pairs that are still open are reset at once.
    pub fn or_forced<N: Future<Output = ()>>(self, when: N) -> Shutdown<G, N> {
        Shutdown { graceful: self.graceful, forced: when }
    }
}

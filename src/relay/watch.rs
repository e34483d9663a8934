//! Looking at a pair while it is relayed.

use std::task::Context;

use super::leg::Side;
use super::turns::Turns;

/// Looks at a pair from time to time.
pub(crate) trait Watch: Send {
    /// Called whenever the pair's task runs, when it has moved what could be moved. Arranges for
    /// the task to be woken at the time of the next look.
    fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        turns: &mut Turns,
        cx: &mut Context<'_>,
    );
}

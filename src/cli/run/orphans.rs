//! Processes that their parents have left behind, and that are children of this one then: in a
//! container, where it is PID 1, or where a shell with children was replaced by it (`exec`). Each
//! would stay a zombie.

use std::convert::Infallible;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Duration, sleep};

/// Pause before the next look when a child is in the way that somebody else is about to wait for.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits for each of them as it ends, as long as this is polled. The processes `own` are waited for
/// by those who started them.
pub(super) async fn reap(own: &[u32]) -> Infallible {
    let own: Vec<_> = own.iter().map(|pid| Pid::from_raw(pid.cast_signed())).collect();
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!("cannot listen for SIGCHLD: {error}; zombie processes may remain");
            return std::future::pending().await;
        }
    };
    loop {
        match next_ended() {
            Some(pid) if own.contains(&pid) => sleep(PAUSE).await,
            Some(pid) => {
                let status = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                tracing::debug!("orphaned process {pid} ended: {status:?}");
            }
            None => _ = ended.recv().await,
        }
    }
}

/// A child that has ended and that nobody has waited for yet. It stays so.
fn next_ended() -> Option<Pid> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look).as_ref().ok().and_then(WaitStatus::pid)
}

//! Signals as requests: to stop, to stop at once, to open the output anew.

use std::io;

use tokio::sync::watch;

/// Counts the requests to stop.
#[derive(Debug, Clone)]
pub(crate) struct StopRequests(watch::Receiver<u32>);

/// The other end: whatever wants the program to stop says so here.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(watch::Sender<u32>);

impl Stopper {
    pub(crate) fn new() -> (Self, StopRequests) {
        let (sender, receiver) = watch::channel(0);
        (Self(sender), StopRequests(receiver))
    }

    /// Asks once more: the second request is urgent.
    pub(crate) fn request(&self) {
        self.0.send_modify(|requests| *requests += 1);
    }

    /// Asks, unless somebody did already.
    pub(crate) fn request_once(&self) {
        self.0.send_modify(|requests| *requests = (*requests).max(1));
    }
}

impl StopRequests {
    /// Whether there were `count` requests.
    pub(crate) fn reached(&self, count: u32) -> bool {
        *self.0.borrow() >= count
    }

    /// Resolves after `count` requests.
    pub(crate) async fn reach(&self, count: u32) {
        let mut requests = self.0.clone();
        if requests.wait_for(|&requests| requests >= count).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

/// SIGINT (and the console's Ctrl-C) and SIGTERM ask to stop; SIGHUP runs `on_hangup`. What whoever
/// started the program wants ignored (`nohup`, a shell's `&`) stays ignored. Must be called within
/// a tokio runtime.
pub(crate) fn listen(stopper: &Stopper, on_hangup: impl Fn() + Send + 'static) -> io::Result<()> {
    if !is_ignored(SIGINT) {
        // ctrlc without its `termination` feature, which would take SIGHUP as well.
        let interrupted = stopper.clone();
        ctrlc::set_handler(move || interrupted.request()).map_err(io::Error::other)?;
    }

    #[cfg(unix)]
    {
        use nix::sys::signal::Signal;
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let terminated = stopper.clone();
        tokio::spawn(async move {
            while terminate.recv().await.is_some() {
                terminated.request();
            }
        });
        if !is_ignored(SIGHUP) {
            let mut hangup = signal(SignalKind::hangup())?;
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    on_hangup();
                }
            });
        }
        // A file that may not grow (ulimit -f) is an error of write(2) then, not the program's end.
        drop(signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))?);
    }
    #[cfg(not(unix))]
    let _ = on_hangup;
    Ok(())
}

// POSIX fixes these two numbers (kill(1)).
#[cfg(unix)]
const SIGHUP: u32 = 1;
const SIGINT: u32 = 2;

/// Whether the program was started with this signal ignored (Linux: the mask in /proc).
pub(super) fn is_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

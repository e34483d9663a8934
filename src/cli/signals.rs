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

    /// Asks because nobody reads standard output any more, and says so to who wants to know, unless somebody asked already.
    pub(crate) fn request_for_lack_of_a_reader(&self) {
        let asks = self.0.send_if_modified(|requests| {
            let is_first = *requests == 0;
            *requests = (*requests).max(1);
            is_first
        });
        if asks {
            tracing::info!("the reader of standard output has gone; ending");
        }
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

/// What is done about signals that do not ask to stop.
#[cfg_attr(not(unix), allow(dead_code, reason = "only Unix has them"))]
pub(crate) struct Handlers<H, R> {
    /// About SIGHUP.
    pub(crate) on_hangup: H,
    /// About SIGUSR1, which asks many servers to open their logs anew.
    pub(crate) on_reopen: R,
}

/// SIGINT (and the console's Ctrl-C), SIGTERM, SIGQUIT, SIGALRM and SIGXCPU ask to stop; SIGUSR2 is
/// for nothing, and does nothing. What whoever started the program wants ignored (`nohup`, a shell's
/// `&`) stays ignored. Must be called within a tokio runtime.
pub(crate) fn listen(
    stopper: &Stopper,
    handlers: Handlers<impl Fn() + Send + 'static, impl Fn() + Send + 'static>,
) -> io::Result<()> {
    if is_ignored(SIGINT) {
        tracing::info!(
            "SIGINT is ignored, as it was at the start (a shell's '&' does that); use SIGTERM to \
             stop"
        );
    } else {
        // ctrlc without its `termination` feature, which would take SIGHUP as well.
        let interrupted = stopper.clone();
        ctrlc::set_handler(move || interrupted.request()).map_err(io::Error::other)?;
    }

    #[cfg(unix)]
    {
        use nix::sys::signal::Signal;
        use tokio::signal::unix::{SignalKind, signal};
        let terminated = stopper.clone();
        on_signal(Signal::SIGTERM, move || terminated.request())?;
        // By default each of these would end the program without its records.
        for stop in [Signal::SIGQUIT, Signal::SIGALRM, Signal::SIGXCPU] {
            let stopper = stopper.clone();
            on_unignored(stop, move || stopper.request())?;
        }
        on_unignored(Signal::SIGHUP, handlers.on_hangup)?;
        on_unignored(Signal::SIGUSR1, handlers.on_reopen)?;
        on_unignored(Signal::SIGUSR2, || tracing::info!("SIGUSR2 ignored"))?;
        // A file that may not grow (ulimit -f) is an error of write(2) then, not the program's end.
        drop(signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))?);
    }
    #[cfg(not(unix))]
    let _ = handlers;
    Ok(())
}

#[cfg(unix)]
fn on_unignored(
    signal: nix::sys::signal::Signal,
    handler: impl Fn() + Send + 'static,
) -> io::Result<()> {
    match is_ignored((signal as i32).unsigned_abs()) {
        true => Ok(()),
        false => on_signal(signal, handler),
    }
}

/// From here on the signal does this, and nothing else.
#[cfg(unix)]
fn on_signal(
    signal: nix::sys::signal::Signal,
    handler: impl Fn() + Send + 'static,
) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal as listen_for};

    let mut arrivals = listen_for(SignalKind::from_raw(signal as i32))?;
    tokio::spawn(async move {
        while arrivals.recv().await.is_some() {
            tracing::debug!("{signal} arrived");
            handler();
        }
    });
    Ok(())
}

// POSIX fixes this number (kill(1)).
const SIGINT: u32 = 2;

/// Whether the program was started with this signal ignored (Linux: the mask in /proc).
pub(super) fn is_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

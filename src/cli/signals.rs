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

    pub(crate) fn request(&self) {
        self.0.send_modify(|requests| *requests += 1);
    }
}

impl StopRequests {
    /// Ready once there were as many requests.
    pub(crate) async fn reach(&self, count: u32) {
        let mut requests = self.0.clone();
        if requests.wait_for(|&requests| requests >= count).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

/// SIGINT (and the console's Ctrl-C) and SIGTERM ask to stop; SIGHUP runs `on_hangup`. Must be
/// called within a tokio runtime.
pub(crate) fn listen(stopper: &Stopper, on_hangup: impl Fn() + Send + 'static) -> io::Result<()> {
    // ctrlc without its `termination` feature, which would take SIGHUP as well.
    let interrupted = stopper.clone();
    ctrlc::set_handler(move || interrupted.request()).map_err(io::Error::other)?;

    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut hangup) =
            (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let terminated = stopper.clone();
        tokio::spawn(async move {
            while terminate.recv().await.is_some() {
                terminated.request();
            }
        });
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                on_hangup();
            }
        });
    }
    #[cfg(not(unix))]
    let _ = on_hangup;
    Ok(())
}

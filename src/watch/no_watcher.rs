//! The watch on systems without sock_diag.

use super::{Settings, Summary, WatchError};
use crate::output::Recorder;
use crate::record::Socket;

/// Watches sockets, which this system does not support.
#[derive(Debug)]
pub enum Watch {}

/// Stops a watch.
#[derive(Debug, Clone)]
pub enum Stopper {}

impl Stopper {
    /// Ends [`Watch::run`] soon.
    pub fn stop(&self) {
        match *self {}
    }
}

impl Watch {
    /// Always fails here.
    ///
    /// # Errors
    ///
    /// The system has no sock_diag.
    pub fn open(_settings: Settings, _recorder: Recorder) -> Result<Self, WatchError> {
        Err(WatchError::Unsupported)
    }

    /// Calls `callback` with every socket whose connection has ended.
    #[must_use]
    pub fn on_socket(self, _callback: impl Fn(&Socket) + Send + Sync + 'static) -> Self {
        match self {}
    }

    /// Number of open sockets that the last dump has shown, and that may fit the filter.
    pub fn open_sockets(&self) -> usize {
        match *self {}
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        match *self {}
    }

    /// Watches until it is stopped.
    ///
    /// # Errors
    ///
    /// The kernel does not answer any more.
    pub fn run(self) -> Result<Summary, WatchError> {
        match self {}
    }
}

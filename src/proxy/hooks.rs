//! Callbacks for the events of pairs, with the content of the lines.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::record::{EndedTurn, Process, Record, Refused, Sample};

/// A turn that has ended, and the client that made it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientTurn {
    /// The turn, as in its line.
    pub turn: EndedTurn,
    /// The client's address; with [`accept_proxy`](super::Settings::accept_proxy), the one that was announced. `None`
    /// if the system did not tell it.
    pub client: Option<SocketAddr>,
    /// The local program that is the client; `None` as in [`Record::process`](crate::record::Record::process).
    pub process: Option<Arc<Process>>,
}

type Callback<T> = Box<dyn Fn(&T) + Send + Sync>;

/// A callback that gets the content of a line.
pub(super) struct Hook<T>(Option<Callback<T>>);

/// A callback for each event of a pair.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) open: Hook<Record>,
    pub(super) sample: Hook<Sample>,
    pub(super) turn: Hook<ClientTurn>,
    pub(super) close: Hook<Record>,
    pub(super) refused: Hook<Refused>,
}

impl<T> Hook<T> {
    pub(super) fn set(&mut self, callback: impl Fn(&T) + Send + Sync + 'static) {
        self.0 = Some(Box::new(callback));
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Calls it if it is set. A panic in it does not affect the record.
    pub(super) fn call(&self, what: &T) {
        if let Some(callback) = &self.0 {
            let _ = catch_unwind(AssertUnwindSafe(|| callback(what)));
        }
    }
}

impl<T> Default for Hook<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> fmt::Debug for Hook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Hook(set)" } else { "Hook(unset)" })
    }
}

//! Callbacks for the events of pairs, with the content of the lines.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::hook::Hook;
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

/// A callback for each event of a pair.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) open: Hook<Record>,
    pub(super) sample: Hook<Sample>,
    pub(super) turn: Hook<ClientTurn>,
    pub(super) close: Hook<Record>,
    pub(super) refused: Hook<Refused>,
}

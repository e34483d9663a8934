//! HTTP/1 as a client speaks it to a proxy.

mod body;
mod exchange;
mod framing;
mod head;
mod request;
mod response;
mod status;

pub(crate) use exchange::{Exchange, RequestEditor, ResponseEditor};
pub(crate) use request::{Absolute, Form, HttpRequest, for_parent, mode_of, parse_request};
pub(crate) use response::parse_status;
pub(crate) use status::Status;
#[cfg(any(test, fuzzing))]
pub(crate) use {
    body::Framing,
    response::{Answering, parse_response},
};

use crate::fault::Fault;

/// A head that is not taken: what the client is told and the record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadHead {
    pub(crate) status: Status,
    pub(crate) reason: &'static str,
}

impl BadHead {
    fn new(status: Status, reason: &'static str) -> Self {
        Self { status, reason }
    }

    fn malformed(reason: &'static str) -> Self {
        Self::new(Status::BadRequest, reason)
    }

    fn over_limit(reason: &'static str) -> Self {
        Self::new(Status::HeadTooLarge, reason)
    }

    pub(crate) fn fault(&self) -> Fault {
        Fault { code: format!("HTTP_{}", self.status.code()).into(), text: self.reason.into() }
    }
}

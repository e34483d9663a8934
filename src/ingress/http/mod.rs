//! HTTP/1 between a client and a proxy.

mod body;
mod editors;
mod exchange;
mod framing;
mod head;
mod own_response;
mod proxy_status;
mod request;
mod response;
mod status;

pub(crate) use body::Framing;
pub(crate) use editors::{RequestEditor, ResponseEditor};
pub(crate) use exchange::HttpExchange;
pub(crate) use own_response::response_to_failure;
pub(crate) use request::{Absolute, Form, HttpRequest, mode_of, parse_request, to_absolute_form};
pub(crate) use response::parse_status;
#[cfg(any(test, fuzzing))]
pub(crate) use response::{ResponseContext, parse_response};
pub(crate) use status::Status;

use crate::fault::Fault;

/// An invalid head: the status for the client and the reason for the record.
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

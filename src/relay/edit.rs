//! Changing what passes a half: for protocols in which a proxy has a say.

use std::borrow::Cow;
use std::fmt::Debug;

use crate::fault::Fault;

/// Sees what a half has read before it is written, until it has nothing more to say.
pub(crate) trait Edit: Debug + Send {
    /// What becomes of the bytes that come next. Called without bytes when those that were to pass
    /// ([`Then::PassBytes`]) have passed.
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b>;

    /// What the bytes were that it saw last.
    fn speech(&self) -> Speech {
        Speech::Payload
    }

    /// What becomes of the bytes that were held back, because there is no more to come: the source has
    /// ended its stream, or its connection has broken.
    fn end(&mut self, _is_broken: bool) -> Edited<'static> {
        Edited::NOTHING
    }
}

/// What bytes are, as far as whoever sees them can tell.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// What the program on a side has to say, or what nobody can tell.
    #[default]
    Payload,
    /// Nothing but a part of a handshake of TLS.
    Handshake,
}

/// What becomes of bytes that were read.
#[derive(Debug)]
pub(crate) struct Edited<'b> {
    /// What is written, now.
    pub(crate) write: Cow<'b, [u8]>,
    /// Of the bytes read: so many were for the proxy.
    pub(crate) consumed: usize,
    /// Of the bytes written: so many are the proxy's own.
    pub(crate) authored: usize,
    pub(crate) then: Then,
}

impl Edited<'_> {
    /// Nothing is written, and what follows passes.
    pub(crate) const NOTHING: Self =
        Self { write: Cow::Borrowed(&[]), consumed: 0, authored: 0, then: Then::Pass };
}

/// What becomes of those that follow.
#[derive(Debug)]
pub(crate) enum Then {
    /// They are edited.
    Edit,
    /// They pass as they are.
    Pass,
    /// So many of them, at least one, pass as they are; those behind them are edited.
    PassBytes(u64),
    /// The receiver has all that it is to get: it gets an end of stream. What still comes is edited,
    /// and may not be written. With a fault: the source has broken the protocol, and is of no use any
    /// more.
    Finish(Option<Fault>),
    /// There must be none: the source has broken the protocol, and the receiver must not take what
    /// it got for the whole.
    Fail(Fault),
}

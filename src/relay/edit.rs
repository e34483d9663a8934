//! Editors, which change the bytes of one direction: for protocols in which the proxy takes part.

use std::borrow::Cow;
use std::fmt::Debug;

use crate::fault::Fault;

/// Edits what a half has read before it is written, until the rest may pass unchanged.
pub(crate) trait Edit: Debug + Send {
    /// Edits the next bytes. Called with an empty slice when the bytes of [`Next::PassBytes`] have
    /// passed.
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> EditOutput<'b>;

    /// The kind of the bytes that were edited last.
    fn content_kind(&self) -> ContentKind {
        ContentKind::Payload
    }

    /// Flushes the bytes that were held back, because no more will come: the source has ended its
    /// stream, or its connection has broken.
    fn end(&mut self, _is_broken: bool) -> EditOutput<'static> {
        EditOutput::NOTHING
    }
}

/// The kind of some bytes, as far as an observer can tell.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentKind {
    /// Application data, or unknown.
    #[default]
    Payload,
    /// Only a part of a TLS handshake.
    Handshake,
}

/// The result of editing some bytes.
#[derive(Debug)]
pub(crate) struct EditOutput<'b> {
    /// The bytes to write now.
    pub(crate) write: Cow<'b, [u8]>,
    /// How many of the bytes read were for the proxy itself.
    pub(crate) consumed: usize,
    /// How many of the bytes to write are the proxy's own.
    pub(crate) authored: usize,
    /// How many of the bytes read, the last ones, are held back: they belong to the next exchange.
    pub(crate) held: usize,
    pub(crate) next: Next,
}

impl EditOutput<'_> {
    /// Writes nothing and lets what follows pass.
    pub(crate) const NOTHING: Self =
        Self { write: Cow::Borrowed(&[]), consumed: 0, authored: 0, held: 0, next: Next::Pass };
}

/// What happens to the bytes that follow.
#[derive(Debug)]
pub(crate) enum Next {
    /// They are edited as well.
    Edit,
    /// They pass unchanged.
    Pass,
    /// This many of them, at least one, pass unchanged; the bytes after them are edited.
    PassBytes(u64),
    /// The receiver has everything and gets an end of stream. Bytes that still come are edited, but
    /// must not be written. With a fault: the source has violated the protocol, and its connection
    /// is treated as broken.
    Finish(Option<Fault>),
    /// The exchange is over for the receiver, whose connection stays open for the next one. Bytes
    /// that still come are edited, but must not be written.
    Rest,
    /// The same, and nothing more is read from the source: its connection can carry no other
    /// exchange.
    Detach,
    /// The source has violated the protocol: the connection is reset, so that the receiver does not
    /// take what it got for the whole.
    Fail(Fault),
}

//! Changing what passes a half: for protocols in which a proxy has a say.

use std::borrow::Cow;
use std::fmt::Debug;

use crate::fault::Fault;

/// Sees what a half has read before it is written, until it has nothing more to say.
pub(crate) trait Edit: Debug + Send {
    /// What becomes of the bytes that come next.
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b>;

    /// What it kept back so far, because there is no more to come.
    fn held(&mut self) -> Vec<u8>;
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

/// What becomes of those that follow.
#[derive(Debug)]
pub(crate) enum Then {
    /// They are edited.
    Edit,
    /// They pass as they are.
    Pass,
    /// There must be none: the source has broken the protocol.
    Fail(Fault),
}

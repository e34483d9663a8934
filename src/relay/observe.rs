//! Seeing what passes a half, as an editor that changes nothing.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::ControlFlow;

use super::edit::{Edit, Edited, Speech, Then};

/// Sees what a half has read, until it has seen enough.
pub(crate) trait Observe: Debug + Send {
    /// What comes next; breaks when it need not see what follows.
    fn see(&mut self, bytes: &[u8]) -> ControlFlow<()>;

    /// What the bytes were that it saw last.
    fn speech(&self) -> Speech {
        Speech::Payload
    }
}

/// Passes on at once, as it is, what its observer has seen.
#[derive(Debug)]
pub(crate) struct Observed<O> {
    observer: O,
    over: bool,
}

impl<O: Observe> Observed<O> {
    /// What this observer sees of a half, `first` of all these bytes, which were read before.
    pub(crate) fn by(observer: O, first: &[u8]) -> Box<Self> {
        let mut observed = Self { observer, over: false };
        if !first.is_empty() {
            observed.see(first);
        }
        Box::new(observed)
    }

    fn see(&mut self, bytes: &[u8]) {
        self.over = self.over || self.observer.see(bytes).is_break();
    }
}

impl<O: Observe> Edit for Observed<O> {
    fn speech(&self) -> Speech {
        self.observer.speech()
    }

    fn edit<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b> {
        self.see(bytes);
        let then = if self.over { Then::Pass } else { Then::Edit };
        Edited { write: Cow::Borrowed(bytes), consumed: 0, authored: 0, then }
    }
}

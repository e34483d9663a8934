//! An observer of one direction, as an editor that changes nothing.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::ControlFlow;

use super::edit::{ContentKind, Edit, EditOutput, Next};

/// Observes what a half has read, until it has seen enough.
pub(crate) trait Observe: Debug + Send {
    /// Observes the next bytes; breaks when the rest need not be observed.
    fn observe(&mut self, bytes: &[u8]) -> ControlFlow<()>;

    /// The kind of the bytes that were observed last.
    fn content_kind(&self) -> ContentKind {
        ContentKind::Payload
    }
}

/// An editor that shows the bytes to an observer and passes them on unchanged.
#[derive(Debug)]
pub(crate) struct ObservingEditor<O> {
    observer: O,
    is_over: bool,
}

impl<O: Observe> ObservingEditor<O> {
    /// Wraps an observer, which first sees the bytes in `first` that were read before.
    pub(crate) fn boxed(observer: O, first: &[u8]) -> Box<Self> {
        let mut observed = Self { observer, is_over: false };
        if !first.is_empty() {
            observed.observe(first);
        }
        Box::new(observed)
    }

    fn observe(&mut self, bytes: &[u8]) {
        self.is_over = self.is_over || self.observer.observe(bytes).is_break();
    }
}

impl<O: Observe> Edit for ObservingEditor<O> {
    fn content_kind(&self) -> ContentKind {
        self.observer.content_kind()
    }

    fn edit<'b>(&mut self, bytes: &'b [u8]) -> EditOutput<'b> {
        self.observe(bytes);
        let next = if self.is_over { Next::Pass } else { Next::Edit };
        EditOutput { write: Cow::Borrowed(bytes), next, ..EditOutput::NOTHING }
    }
}

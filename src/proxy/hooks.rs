//! Callbacks for the events of pairs, with the content of the lines.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::record::{EndedTurn, Record, Sample};

type Callback<T> = Box<dyn Fn(&T) + Send + Sync>;

/// A callback that gets the content of a line.
pub(super) struct Hook<T>(Option<Callback<T>>);

/// A callback for each event of a pair.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) open: Hook<Record>,
    pub(super) sample: Hook<Sample>,
    pub(super) turn: Hook<EndedTurn>,
    pub(super) close: Hook<Record>,
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

//! Callbacks that get the content of lines.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Callback<T> = Box<dyn Fn(&T) + Send + Sync>;

/// A callback that gets the content of a line.
pub(crate) struct Hook<T>(Option<Callback<T>>);

impl<T> Hook<T> {
    pub(crate) fn set(&mut self, callback: impl Fn(&T) + Send + Sync + 'static) {
        self.0 = Some(Box::new(callback));
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Calls it if it is set. A panic in it does not affect the record.
    pub(crate) fn call(&self, what: &T) {
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

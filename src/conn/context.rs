//! A user-defined value attached to a connection.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Nothing, or one value of any type.
#[derive(Clone, Default)]
pub(super) struct Context(Option<Arc<dyn Any + Send + Sync>>);

impl Context {
    pub(super) fn new(value: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(value)))
    }

    pub(super) fn get<C: Any>(&self) -> Option<&C> {
        self.0.as_deref()?.downcast_ref()
    }
}

/// Equal if both have the same value, or both have none.
impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for Context {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(..)" } else { "None" })
    }
}

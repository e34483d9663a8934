//! The value of a metric in one connection, which may not be known.

/// The value of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading<T> {
    Known(T),
    /// The connection never came to that.
    None,
    /// It has a value, which is not known, because …
    Unknown(&'static str),
}

impl<T> Reading<T> {
    /// A value that the connection has; where it is not there, it is not known, because …
    pub(super) fn known(value: Option<T>, why_unknown: &'static str) -> Self {
        value.map_or(Self::Unknown(why_unknown), Self::Known)
    }

    /// A value that a connection may not have.
    pub(super) fn some(value: Option<T>) -> Self {
        value.map_or(Self::None, Self::Known)
    }

    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Known(value) => Reading::Known(of(value)),
            Self::None => Reading::None,
            Self::Unknown(why) => Reading::Unknown(why),
        }
    }
}

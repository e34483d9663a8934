//! Durations in JSON: whole nanoseconds, never above 2^63−1.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `duration` in ns, cut at 2^63−1 (292 years).
pub(crate) fn of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}

#[cfg(feature = "record")]
pub(crate) fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    of(*duration).serialize(s)
}

#[cfg(feature = "record")]
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    u64::deserialize(d).map(Duration::from_nanos)
}

/// The same for an optional duration.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(v: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        v.map(of).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Duration::from_nanos))
    }
}

/// The same for a borrowed one.
pub(crate) mod option_ref {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(v: &Option<&Duration>, s: S) -> Result<S::Ok, S::Error> {
        v.copied().map(of).serialize(s)
    }
}

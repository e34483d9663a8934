//! Declares the structures of all platforms: key, kernel name, offset, unit.
//!
//! [`sys_info!`] turns a table of fields into the public struct, its decoder (by the length that
//! the kernel returned), its JSON in both directions and the list [`Field`] that tests and
//! `scripts/check-btf` compare with the running kernel.

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeStruct;
use serde_json::Value as Json;

use super::{State, TcpOption};

/// Where one JSON key of `sysInfo` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// The key in `sysInfo`.
    pub key: &'static str,
    /// The kernel's own name of the field.
    pub kernel: &'static str,
    /// Where it begins, in bytes from the structure's start.
    pub offset: usize,
    /// The structure's length from which on the field exists: its last byte plus one, or more for
    /// a bit-field that was squeezed into old padding.
    pub end: usize,
}

/// A type that a field of `sysInfo` can have.
pub(super) trait Value: Sized {
    /// The type's name in JSON Schema.
    #[cfg(feature = "schema")]
    const SCHEMA: &'static str;
    fn put<S: SerializeStruct>(
        value: Option<&Self>,
        key: &'static str,
        to: &mut S,
    ) -> Result<(), S::Error>;
    fn take(json: Json) -> Result<Option<Self>, serde_json::Error>;
}

macro_rules! plain_values {
    ($($T:ty: $schema:literal),+) => {$(
        impl Value for $T {
            #[cfg(feature = "schema")]
            const SCHEMA: &'static str = $schema;
            #[inline]
            fn put<S: SerializeStruct>(value: Option<&Self>, key: &'static str, to: &mut S) -> Result<(), S::Error> {
                to.serialize_field(key, &value)
            }
            fn take(json: Json) -> Result<Option<Self>, serde_json::Error> {
                serde_json::from_value(json)
            }
        }
    )+};
}

plain_values! {
    u8: "integer", u16: "integer", u32: "integer", u64: "integer", bool: "boolean",
    String: "string", State: "string", Vec<TcpOption>: "array"
}

/// In JSON: ns.
impl Value for Duration {
    #[cfg(feature = "schema")]
    const SCHEMA: &'static str = "integer";
    #[inline]
    fn put<S: SerializeStruct>(
        value: Option<&Self>,
        key: &'static str,
        to: &mut S,
    ) -> Result<(), S::Error> {
        #[derive(Serialize)]
        struct Nanos<'v>(#[serde(with = "crate::nanos::option_ref")] Option<&'v Duration>);
        to.serialize_field(key, &Nanos(value))
    }
    fn take(json: Json) -> Result<Option<Self>, serde_json::Error> {
        Ok(serde_json::from_value::<Option<u64>>(json)?.map(Duration::from_nanos))
    }
}

/// Declares a platform's structure. `kernel` fields are decoded from its bytes and present from
/// their end on (`from N` where the end is not the last byte); `beside` fields come from other
/// calls and are left out of JSON when unknown.
macro_rules! sys_info {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident;
        kernel { $(
            $(#[doc = $doc:literal])+
            $field:ident: $T:ty = $key:literal, $kernel:literal, $Read:ident at $offset:literal $(from $end:literal)?;
        )+ }
        beside { $(
            $(#[doc = $bdoc:literal])+
            $bfield:ident: $BT:ty = $bkey:literal;
        )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $field: Option<$T>, )+
            $( $(#[doc = $bdoc])+ pub $bfield: Option<$BT>, )*
            /// The structure's fields that are there, a bit each ([`Place`]).
            present: u128,
        }

        /// The number of a field's bit.
        #[expect(non_camel_case_types, reason = "they are the fields' names")]
        #[derive(Clone, Copy)]
        enum Place { $($field),+ }

        impl Place {
            const fn bit(self) -> u128 {
                1 << self as u32
            }
        }

        impl $Name {
            /// Every field of the structure, in the kernel's order.
            pub const FIELDS: &'static [crate::tcp_info::Field] = &[$(
                crate::tcp_info::Field {
                    key: $key,
                    kernel: $kernel,
                    offset: $offset,
                    end: sys_info!(@end $Read at $offset $(from $end)?),
                },
            )+];

            /// The fields whose last byte lies within `bytes`, exactly as the kernel gives them.
            fn read(bytes: &[u8]) -> Self {
                let mut info = Self::default();
                $( if bytes.len() >= const { sys_info!(@end $Read at $offset $(from $end)?) } {
                    info.$field = <$Read as Read>::read(bytes, $offset);
                    info.present |= const { Place::$field.bit() };
                } )+
                info
            }

            /// Takes out all but the fields with these keys, as if the kernel had not given them.
            #[cfg(feature = "proxy")]
            pub(super) fn retain_fields(&mut self, is_kept: impl Fn(&str) -> bool) {
                $( if !is_kept($key) {
                    self.$field = None;
                    self.present &= const { !Place::$field.bit() };
                } )+
                $( if !is_kept($bkey) {
                    self.$bfield = None;
                } )*
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use crate::tcp_info::table::Value;
                use serde::ser::SerializeStruct;
                let mut to = serializer.serialize_struct(stringify!($Name), Self::FIELDS.len())?;
                $( if self.present & const { Place::$field.bit() } != 0 {
                    Value::put(self.$field.as_ref(), $key, &mut to)?;
                } )+
                $( if self.$bfield.is_some() {
                    Value::put(self.$bfield.as_ref(), $bkey, &mut to)?;
                } )*
                to.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use crate::tcp_info::table::Value;
                use serde::de::Error;
                let mut map = serde_json::Map::deserialize(deserializer)?;
                let mut info = Self::default();
                $( if let Some(json) = map.remove($key) {
                    info.$field = Value::take(json).map_err(|e| Error::custom(format_args!("{}: {e}", $key)))?;
                    info.present |= const { Place::$field.bit() };
                } )+
                $( if let Some(json) = map.remove($bkey) {
                    info.$bfield = Value::take(json).map_err(|e| Error::custom(format_args!("{}: {e}", $bkey)))?;
                } )*
                Ok(info)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $Name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($Name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use crate::tcp_info::table::Value;
                let mut properties = serde_json::Map::new();
                $( properties.insert($key.into(), serde_json::json!({
                    "type": [<$T as Value>::SCHEMA, "null"],
                    "description": concat!($($doc),+).trim(),
                })); )+
                $( properties.insert($bkey.into(), serde_json::json!({
                    "type": [<$BT as Value>::SCHEMA, "null"],
                    "description": concat!($($bdoc),+).trim(),
                })); )*
                let mut schema = schemars::json_schema!({ "type": "object" });
                schema.insert("properties".into(), properties.into());
                schema
            }
        }
    };
    (@end $Read:ident at $offset:literal from $end:literal) => { $end };
    (@end $Read:ident at $offset:literal) => { $offset + <$Read as Read>::SIZE };
}

pub(super) use sys_info;

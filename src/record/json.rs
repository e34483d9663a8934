//! Serialises a value as one line of JSON that is safe to show in a terminal.
//!
//! serde_json takes twice the time, and after system calls a record of 550 keys is the largest cost
//! of a short connection. Here field names are written without checks, strings are scanned once for
//! characters to escape, and rare cases are left to serde_json.

use std::fmt::Display;
use std::io::Write;

use serde::ser::{self, Error as _};
use serde::{Serialize, Serializer};
use serde_json::{Error, Result};

use super::printable::pieces;

/// Appends `value` to `json`. Terminal control characters are escaped, including those that JSON
/// permits: the file is safe to display, and JSON readers get the same text.
///
/// # Errors
///
/// The value cannot be represented in JSON: a key is not a string. The appended output is
/// incomplete then.
pub(crate) fn write(json: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    value.serialize(&mut Json(json))
}

/// Returns `value` as JSON, like [`write()`].
///
/// # Errors
///
/// As for [`write()`].
pub(super) fn to_string(value: &impl Serialize) -> Result<String> {
    let mut json = Vec::with_capacity(16 << 10);
    write(&mut json, value)?;
    String::from_utf8(json).map_err(Error::custom)
}

struct Json<'b>(&'b mut Vec<u8>);

impl<'b> Json<'b> {
    /// Writes a key: the name of a field, which never needs escapes. Always inlined, so that copying
    /// a key takes a few stores, and not a call for each of a record's 550.
    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        debug_assert!(is_plain(key.as_bytes()), "{key:?}");
        self.0.reserve(key.len() + 3);
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// Turns the raw text written since `from` into a JSON string.
    fn quote(&mut self, from: usize) -> Result<()> {
        if self.0.get(from + 1..).is_some_and(is_plain) {
            self.0.push(b'"');
            return Ok(());
        }
        let text = String::from_utf8(self.0.split_off(from + 1)).map_err(Error::custom)?;
        self.0.truncate(from);
        pieces(
            &serde_json::to_string(&text)?,
            self.0,
            |json, plain| {
                json.extend_from_slice(plain.as_bytes());
                Ok(())
            },
            // None of these characters is beyond U+FFFF.
            |json, c| write!(json, "\\u{:04x}", u32::from(c)),
        )
        .map_err(Error::io)
    }

    fn begin<'j>(&'j mut self, opening: u8, closing: &'static [u8]) -> Elements<'j, 'b> {
        self.0.push(opening);
        Elements { json: self, closing }
    }

    /// Writes `{"variant":`, to be closed after the variant's value.
    fn begin_variant(&mut self, variant: &'static str) {
        self.0.push(b'{');
        self.key(variant);
    }
}

/// Whether text is printable ASCII without quotes and backslashes.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, &byte| {
        plain & (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
    })
}

macro_rules! integers {
    ($($serialize:ident: $Integer:ty),+) => {$(
        fn $serialize(self, integer: $Integer) -> Result<()> {
            self.0.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
            Ok(())
        }
    )+};
}

impl<'j, 'b> Serializer for &'j mut Json<'b> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Elements<'j, 'b>;
    type SerializeTuple = Elements<'j, 'b>;
    type SerializeTupleStruct = Elements<'j, 'b>;
    type SerializeTupleVariant = Elements<'j, 'b>;
    type SerializeMap = Elements<'j, 'b>;
    type SerializeStruct = Elements<'j, 'b>;
    type SerializeStructVariant = Elements<'j, 'b>;

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_i128: i128, serialize_u128: u128
    }

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        serde_json::to_writer(&mut *self.0, &value)
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        serde_json::to_writer(&mut *self.0, &value)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.collect_str(&value)
    }

    fn serialize_str(self, text: &str) -> Result<()> {
        let from = self.0.len();
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.quote(from)
    }

    fn collect_str<T: ?Sized + Display>(self, value: &T) -> Result<()> {
        let from = self.0.len();
        write!(self.0, "\"{value}").map_err(Error::custom)?;
        self.quote(from)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<()> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.begin_variant(variant);
        value.serialize(&mut *self)?;
        self.0.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'j, 'b>> {
        Ok(self.begin(b'[', b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'j, 'b>> {
        Ok(self.begin(b'[', b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'j, 'b>> {
        Ok(self.begin(b'[', b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements<'j, 'b>> {
        self.begin_variant(variant);
        Ok(self.begin(b'[', b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Elements<'j, 'b>> {
        Ok(self.begin(b'{', b"}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Elements<'j, 'b>> {
        Ok(self.begin(b'{', b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements<'j, 'b>> {
        self.begin_variant(variant);
        Ok(self.begin(b'{', b"}}"))
    }
}

/// The elements between brackets. Each is followed by a comma; the last comma is removed at the
/// end.
struct Elements<'j, 'b> {
    json: &'j mut Json<'b>,
    closing: &'static [u8],
}

impl Elements<'_, '_> {
    fn element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.json)?;
        self.json.0.push(b',');
        Ok(())
    }

    fn close(self) -> Result<()> {
        let json = &mut *self.json.0;
        json.pop_if(|last| *last == b',');
        json.extend_from_slice(self.closing);
        Ok(())
    }
}

macro_rules! elements {
    ($($Trait:ident: $serialize:ident),+) => {$(
        impl ser::$Trait for Elements<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $serialize<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
                self.element(value)
            }

            fn end(self) -> Result<()> {
                self.close()
            }
        }
    )+};
}

elements! {
    SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field
}

macro_rules! fields {
    ($($Trait:ident),+) => {$(
        impl ser::$Trait for Elements<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline(always)]
            fn serialize_field<T: ?Sized + Serialize>(&mut self, key: &'static str, value: &T) -> Result<()> {
                self.json.key(key);
                self.element(value)
            }

            fn end(self) -> Result<()> {
                self.close()
            }
        }
    )+};
}

fields! { SerializeStruct, SerializeStructVariant }

impl ser::SerializeMap for Elements<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<()> {
        let from = self.json.0.len();
        key.serialize(&mut *self.json)?;
        match self.json.0.get(from) {
            Some(b'"') => Ok(()),
            _ => Err(Error::custom("a key must be text")),
        }
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        self.json.0.push(b':');
        self.element(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::printable::is_active;
    use super::*;

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Wrapped(u8);

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Pair(i8, &'static str);

    #[derive(Serialize)]
    struct Empty {}

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    enum Kind {
        OneWord,
        One(u16),
        Two(f32, f64),
        Named { in_camels: Option<bool> },
    }

    #[derive(Serialize)]
    #[serde(tag = "event", rename_all = "lowercase")]
    enum Tagged {
        Close(Named),
    }

    #[derive(Serialize)]
    struct Named {
        nothing: Option<u8>,
        #[serde(flatten)]
        more: BTreeMap<&'static str, i64>,
    }

    fn same_as_serde_json(value: &impl Serialize) {
        assert_eq!(to_string(value).unwrap(), serde_json::to_string(value).unwrap());
    }

    #[test]
    fn every_shape_is_what_serde_json_makes_of_it() {
        same_as_serde_json(&(Unit, Wrapped(255), Pair(-128, "two"), Empty {}, ()));
        same_as_serde_json(&[Kind::OneWord, Kind::One(65535), Kind::Two(0.1, 1e300)]);
        same_as_serde_json(&[
            Kind::Named { in_camels: Some(true) },
            Kind::Named { in_camels: None },
        ]);
        same_as_serde_json(&Tagged::Close(Named {
            nothing: None,
            more: [("a", 1), ("b", -2)].into(),
        }));
        same_as_serde_json(&Tagged::Close(Named { nothing: Some(0), more: BTreeMap::new() }));
        same_as_serde_json(&(u64::MAX, i64::MIN, u128::MAX, f64::NAN, 'c', '"', Some([(); 0])));
        same_as_serde_json(&(Vec::<u8>::new(), BTreeMap::<&str, u8>::new(), b"bytes", ["", ","]));
    }

    #[test]
    fn a_key_that_is_not_text_is_refused() {
        assert!(to_string(&BTreeMap::from([(1, 2)])).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..8).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_what_serde_json_makes_of_it_but_nothing_in_it_is_active(value in any_value()) {
            let written = to_string(&value).unwrap();
            prop_assert!(!written.contains(is_active));
            prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value.clone());
            let plain = serde_json::to_string(&value).unwrap();
            if !plain.contains(is_active) {
                prop_assert_eq!(written, plain);
            }
        }
    }

    #[test]
    fn what_commands_a_terminal_is_escaped_in_keys_as_in_values() {
        let value = json!({"\u{9b}31m": "\u{7f}\u{1b}\u{202e}\"é"});
        assert_eq!(to_string(&value).unwrap(), r#"{"\u009b31m":"\u007f\u001b\u202e\"é"}"#);
    }
}

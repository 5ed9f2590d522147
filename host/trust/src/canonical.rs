//! Canonical JSON: one sequence of bytes for one meaning, so that a signature means the same to everyone.
//!
//! The form is the one that OLPC's canonical JSON (which TUF tools sign) and RFC 8785 have in common: keys sorted,
//! no white space, only `"` and `\` escaped. What the two write differently is refused: control characters, keys
//! that are not printable ASCII, and integers beyond ±(2^53 − 1). Floating-point numbers, which OLPC's form lacks,
//! are allowed only where the kind of document says so and are then written as RFC 8785 writes them.
//! `host/decisions/0003-numbers-in-signed-documents.md` says why.
//!
//! A value is *generic*: it is parsed from the bytes received and never from a typed round trip, so a field that a
//! type would drop or rewrite is still under the signature.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How deep arrays and objects may nest.
pub const DEEPEST: usize = 32;
/// The integer of greatest magnitude that every JSON implementation keeps exactly (RFC 8259 section 6).
pub const GREATEST_INTEGER: i64 = (1 << 53) - 1;

/// A JSON value without duplicate keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of at most [`GREATEST_INTEGER`] in magnitude.
    Integer(i64),
    /// A number with a fraction or an exponent, at most [`GREATEST_INTEGER`] in magnitude.
    Float(f64),
    /// Text without control characters.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object; its keys are printable ASCII.
    Object(BTreeMap<String, Value>),
}

/// Which numbers a kind of document may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Integers alone, as in TUF metadata.
    Integers,
    /// Integers and fractions.
    Fractions,
}

/// Bytes that are not JSON in the sense of this module. Holds where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl Value {
    /// Parses bytes whose size the caller has bounded.
    ///
    /// # Errors
    /// On anything but exactly one JSON value: duplicate keys, nesting beyond [`DEEPEST`], numbers that `numbers`
    /// does not allow, control characters in text, keys beyond printable ASCII, trailing bytes.
    pub fn parse(bytes: &[u8], numbers: Numbers) -> Result<Self, JsonError> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let seed = Seed { numbers, room: DEEPEST };
        let value = seed.deserialize(&mut deserializer).map_err(|error| JsonError(error.to_string()))?;
        deserializer.end().map_err(|error| JsonError(error.to_string()))?;
        Ok(value)
    }

    /// The canonical bytes. Parsing them gives an equal value, and its canonical bytes are the same.
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The member of an object.
    pub fn member(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }

    /// The text, where it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes the text into a value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Float(number) => out.extend_from_slice(float_text(*number).as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_text(key, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// RFC 8785 section 3.2.2.3: the shortest digits that read back, an exponent below 10^-6. (The other exponent form,
/// from 10^21 on, is beyond [`GREATEST_INTEGER`].)
fn float_text(number: f64) -> String {
    if number == 0.0 {
        "0".to_owned()
    } else if number.abs() < 1e-6 {
        format!("{number:e}")
    } else {
        format!("{number}")
    }
}

#[derive(Clone, Copy)]
struct Seed {
    numbers: Numbers,
    room: usize,
}

impl Seed {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        match self.room.checked_sub(1) {
            Some(room) => Ok(Self { room, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {DEEPEST}"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() <= GREATEST_INTEGER.unsigned_abs() {
            Ok(Value::Integer(value))
        } else {
            Err(E::custom("an integer beyond 2^53 - 1"))
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
        let greatest = GREATEST_INTEGER as f64;
        match self.numbers {
            Numbers::Integers => Err(E::custom("a number that is not an integer")),
            Numbers::Fractions if value.abs() > greatest => Err(E::custom("a number beyond 2^53 - 1")),
            Numbers::Fractions => Ok(Value::Float(value)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        if text.bytes().any(|byte| byte < 0x20) {
            return Err(E::custom("a control character in text"));
        }
        Ok(Value::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if !key.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
                return Err(de::Error::custom("a key that is not printable ASCII"));
            }
            let value = map.next_value_seed(inner)?;
            if members.insert(key, value).is_some() {
                return Err(de::Error::custom("the same key twice in one object"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;

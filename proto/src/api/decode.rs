//! Reads request bodies the way Consul's clients write them.
//!
//! Field names match without regard to case and underscores (`tls_skip_verify`, `TLSSkipVerify`), however the
//! struct that is read spells them; null stands for the zero value, and keys of free maps (Meta, Header) are
//! left as they are. An error names the path of the field.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

/// A value that is read and dropped at once, so that it can neither be kept nor logged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ignored;

/// A secret that is read and dropped at once.
pub type Secret = Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Ignored, D::Error> {
        de::IgnoredAny::deserialize(deserializer).map(|_| Ignored)
    }
}

/// What to do with a field that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// It is an error, as on Consul's strict endpoints.
    Refuse,
    /// It is passed over.
    Ignore,
}

/// Why a body cannot be read. The text begins as Consul's does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    path: Vec<String>,
    message: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request decode failed: {}", self.detail())
    }
}

impl std::error::Error for DecodeError {}

impl DecodeError {
    /// What is wrong and where, without the words that Consul begins with.
    #[must_use]
    pub fn detail(&self) -> String {
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        match path.is_empty() {
            true => self.message.clone(),
            false => format!("{}: {}", path.join("."), self.message),
        }
    }

    fn new(message: impl Into<String>) -> DecodeError {
        DecodeError { path: Vec::new(), message: message.into() }
    }

    fn below(mut self, part: &str) -> DecodeError {
        self.path.push(part.chars().take(64).collect());
        self
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> DecodeError {
        DecodeError::new(message.to_string())
    }
}

/// Reads a body.
///
/// # Errors
/// When it is not JSON, a value has the wrong type, or (with [`Unknown::Refuse`]) a field is unknown.
pub fn from_slice<T: DeserializeOwned>(body: &[u8], unknown: Unknown) -> Result<T, DecodeError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::new("the body is empty; expected a JSON object"));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| DecodeError::new(error.to_string()))?;
    from_value(value, unknown)
}

/// Reads a value that was parsed already.
///
/// # Errors
/// As [`from_slice`], but for bad JSON.
pub fn from_value<T: DeserializeOwned>(value: Value, unknown: Unknown) -> Result<T, DecodeError> {
    T::deserialize(Loose { value, unknown })
}

struct Loose {
    value: Value,
    unknown: Unknown,
}

impl Loose {
    fn mismatch(&self, expected: &dyn de::Expected) -> DecodeError {
        let found = match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("boolean {value}"),
            Value::Number(number) => format!("number {number}"),
            Value::String(text) => format!("string {:?}", text.chars().take(32).collect::<String>()),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        DecodeError::new(format!("{found} found, {expected} expected"))
    }
}

/// Whether two spellings name the same field.
pub(crate) fn is_same_field(one: &str, other: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    letters(one).eq(letters(other))
}

impl<'de> de::Deserializer<'de> for Loose {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let unknown = self.unknown;
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (.., Some(value)) => visitor.visit_f64(value),
                _ => Err(DecodeError::new(format!("number {number} does not fit"))),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter().enumerate(), unknown }),
            Value::Object(map) => visitor.visit_map(Entries::new(map, unknown)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() {
            self.value = Value::Array(Vec::new());
        }
        if !self.value.is_array() {
            return Err(self.mismatch(&visitor));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() {
            self.value = Value::Object(Map::new());
        }
        if !self.value.is_object() {
            return Err(self.mismatch(&visitor));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let unknown = self.unknown;
        let map = match self.value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            _ => return Err(self.mismatch(&visitor)),
        };
        let mut known = Vec::with_capacity(map.len());
        for (name, value) in map {
            let Some(field) = fields.iter().find(|field| is_same_field(field, &name)) else {
                match unknown {
                    Unknown::Ignore => continue,
                    Unknown::Refuse => {
                        let name: String = name.chars().take(64).collect();
                        return Err(DecodeError::new(format!("json: unknown field {name:?}")));
                    }
                }
            };
            // The later spelling of the same field wins, as with any repeated key.
            if let Some(place) = known.iter().position(|(seen, ..): &(String, String, Value)| seen == field) {
                known.remove(place);
            }
            if !value.is_null() {
                known.push(((*field).to_owned(), name, value));
            }
        }
        visitor.visit_map(Entries { entries: known.into_iter(), current: None, unknown })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::String(text) => visitor.visit_string(text),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

struct Items {
    items: std::iter::Enumerate<std::vec::IntoIter<Value>>,
    unknown: Unknown,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some((place, value)) = self.items.next() else { return Ok(None) };
        let element = Loose { value, unknown: self.unknown };
        seed.deserialize(element).map(Some).map_err(|error| error.below(&place.to_string()))
    }
}

/// Entries as (name to match, name as written, value).
struct Entries {
    entries: std::vec::IntoIter<(String, String, Value)>,
    current: Option<(String, Value)>,
    unknown: Unknown,
}

impl Entries {
    fn new(map: Map<String, Value>, unknown: Unknown) -> Entries {
        let entries: Vec<_> = map.into_iter().map(|(name, value)| (name.clone(), name, value)).collect();
        Entries { entries: entries.into_iter(), current: None, unknown }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((name, written, value)) = self.entries.next() else { return Ok(None) };
        self.current = Some((written, value));
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let (written, value) = self.current.take().ok_or_else(|| DecodeError::new("a value without its key"))?;
        seed.deserialize(Loose { value, unknown: self.unknown }).map_err(|error| error.below(&written))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        tlsskipverify: bool,
        interval: crate::duration::GoDuration,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        #[serde(alias = "checkid")]
        id: String,
        port: u16,
        meta: BTreeMap<String, String>,
        checks: Vec<Inner>,
        flags: Option<u64>,
    }

    fn read(body: &str) -> Result<Outer, String> {
        from_slice(body.as_bytes(), Unknown::Refuse).map_err(|error| error.to_string())
    }

    #[test]
    fn spellings_and_nulls() {
        let body = r#"{"CheckID":"a","PORT":null,"Meta":{"Some_Key":"V"},"checks":[{"tls_skip_verify":true,"Interval":"10s"}],"Flags":18446744073709551615}"#;
        let outer = read(body).unwrap();
        assert_eq!(outer.id, "a");
        assert_eq!(outer.port, 0);
        assert_eq!(outer.meta["Some_Key"], "V");
        assert!(outer.checks[0].tlsskipverify);
        assert_eq!(outer.flags, Some(u64::MAX));
        assert_eq!(read(r#"{"checks":null,"meta":null}"#), Ok(Outer::default()));
    }

    #[test]
    fn errors_name_the_field() {
        let check =
            |body: &str, text: &str| assert_eq!(read(body).unwrap_err(), format!("Request decode failed: {text}"));
        check(r#"{"Nope":1}"#, r#"json: unknown field "Nope""#);
        check(r#"{"checks":[{"Nope":1}]}"#, r#"checks.0: json: unknown field "Nope""#);
        check(
            r#"{"Checks":[{"Interval":"x"}]}"#,
            r#"Checks.0.Interval: invalid duration "x": expected numbers with units such as "10s", "1m30s" or "500ms""#,
        );
        check(r#"{"id":7}"#, "id: number 7 found, a string expected");
        assert!(read("").unwrap_err().contains("empty"));
        assert!(read("{").unwrap_err().starts_with("Request decode failed: EOF"));
        assert!(read("[]").unwrap_err().contains("array found"));
        assert!(read(r#"{"port":70000}"#).unwrap_err().starts_with("Request decode failed: port: "));
    }

    #[test]
    fn unknown_fields_can_be_passed_over() {
        let outer: Outer = from_slice(br#"{"WriteRequest":{"Token":"x"},"id":"a"}"#, Unknown::Ignore).unwrap();
        assert_eq!(outer.id, "a");
    }

    #[test]
    fn deep_bodies_do_not_exhaust_the_stack() {
        let body = "[".repeat(100_000);
        assert!(read(&body).is_err());
    }
}

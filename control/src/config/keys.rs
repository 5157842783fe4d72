//! The known keys of configuration files: each a name and the shape of its value.
//!
//! `keys!` writes a struct together with its table of keys, so that they cannot differ. [`check`] reads a tree of
//! JSON against such a table: names in small letters, blocks joined, values of the right kind, keys that are not
//! needed set aside with the reason. It does not decide what values mean; `resolve` does. `sources` calls it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use callboard_proto::duration::GoDuration;
use serde_json::{Map, Value};

use super::merge::merge;

/// What a value looks like.
#[derive(Debug)]
pub(super) enum Shape {
    Text,
    Flag,
    Whole,
    /// A whole number that is not negative.
    Count,
    /// One that fits 32 bits.
    Small,
    Decimal,
    Duration,
    /// Whatever its reader makes of it.
    Any,
    List(&'static Shape),
    /// Free names.
    Map(&'static Shape),
    /// Known names.
    Table(&'static [Key]),
    /// Taken and left aside, for the reason given.
    Unneeded(&'static str),
}

/// One known key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

/// A type that can be read from a file.
pub(super) trait Shaped {
    const SHAPE: Shape;
}

macro_rules! shapes {
    ($($shape:ident: $($type:ty),*;)*) => { $($(impl Shaped for $type { const SHAPE: Shape = Shape::$shape; })*)* };
}

shapes! {
    Text: String, PathBuf;
    Flag: bool;
    Whole: i64;
    Count: u64, usize;
    Small: u32;
    Decimal: f64;
    Duration: GoDuration;
    Any: Value;
}

impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = T::SHAPE;
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

impl<T: Shaped> Shaped for BTreeMap<String, T> {
    const SHAPE: Shape = Shape::Map(&T::SHAPE);
}

/// Writes a struct and the keys it is read from; behind it, the keys that are taken and left aside.
macro_rules! keys {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_vis:vis $field:ident: $type:ty,)*
        }
        $(unneeded { $($key:ident: $reason:expr,)* })?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        $vis struct $name {
            $($(#[$field_attribute])* $field_vis $field: $type,)*
        }

        impl $crate::config::keys::Shaped for $name {
            const SHAPE: $crate::config::keys::Shape = $crate::config::keys::Shape::Table(&[
                $($crate::config::keys::Key {
                    name: stringify!($field),
                    shape: <$type as $crate::config::keys::Shaped>::SHAPE,
                },)*
                $($($crate::config::keys::Key {
                    name: stringify!($key),
                    shape: $crate::config::keys::Shape::Unneeded($reason),
                },)*)?
            ]);
        }
    };
}
pub(super) use keys;

/// What is wrong with a tree, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    /// Nobody knows the key.
    #[error("invalid config key {path}{}", hint(.nearest))]
    Unknown { path: String, nearest: Option<String> },
    /// The value is of the wrong kind.
    #[error("{path}: {found} found, {expected} expected")]
    Kind { path: String, found: String, expected: &'static str },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

/// Keys that were given and are not needed, with the reason.
pub(super) type Unneeded = BTreeMap<String, &'static str>;

/// Reads a tree against the keys of `T`.
pub(super) fn check<T: Shaped>(tree: Value, unneeded: &mut Unneeded) -> Result<Value, KeyError> {
    let mut walk = Walk { root: &T::SHAPE, unneeded };
    Ok(walk.value(tree, &T::SHAPE, "")?.unwrap_or_else(|| Value::Object(Map::new())))
}

struct Walk<'a> {
    root: &'static Shape,
    unneeded: &'a mut Unneeded,
}

impl Walk<'_> {
    /// The value as its shape wants it; none when it says nothing.
    fn value(&mut self, value: Value, shape: &'static Shape, path: &str) -> Result<Option<Value>, KeyError> {
        if value.is_null() {
            return Ok(None);
        }
        if let Shape::Unneeded(reason) = shape {
            self.unneeded.insert(path.to_owned(), reason);
            return Ok(None);
        }
        let fits = match (shape, value) {
            (Shape::Any, value) => value,
            (Shape::Text, value @ Value::String(_)) | (Shape::Flag, value @ Value::Bool(_)) => value,
            (Shape::Whole, Value::Number(number)) if number.is_i64() || number.is_u64() => Value::Number(number),
            (Shape::Count, Value::Number(number)) if number.is_u64() => Value::Number(number),
            (Shape::Small, Value::Number(number)) if number.as_u64().is_some_and(|n| u32::try_from(n).is_ok()) => {
                Value::Number(number)
            }
            (Shape::Decimal, value @ Value::Number(_)) => value,
            (Shape::Duration, Value::String(text)) if GoDuration::parse(&text).is_ok() => Value::String(text),
            (Shape::List(each), Value::Array(items)) => Value::Array(self.items(items, each, path)?),
            // A block that is written once is a list of one.
            (Shape::List(each), item @ Value::Object(_)) => Value::Array(self.items(vec![item], each, path)?),
            (Shape::Map(_) | Shape::Table(_), Value::Array(blocks)) if blocks.iter().all(Value::is_object) => {
                // Blocks of one name are one.
                let mut joined = Value::Object(Map::new());
                for block in blocks {
                    if let Some(block) = self.value(block, shape, path)? {
                        merge(&mut joined, block);
                    }
                }
                joined
            }
            (Shape::Map(each), Value::Object(map)) => {
                let mut read = Map::new();
                for (name, value) in map {
                    if let Some(value) = self.value(value, each, &below(path, &name))? {
                        read.insert(name, value);
                    }
                }
                Value::Object(read)
            }
            (Shape::Table(keys), Value::Object(map)) => self.table(map, keys, path)?,
            (shape, value) => {
                return Err(KeyError::Kind {
                    path: if path.is_empty() { "the file".to_owned() } else { path.to_owned() },
                    found: describe(&value),
                    expected: shape.describe(),
                });
            }
        };
        Ok(Some(fits))
    }

    fn items(&mut self, items: Vec<Value>, each: &'static Shape, path: &str) -> Result<Vec<Value>, KeyError> {
        let mut read = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            read.extend(self.value(item, each, &below(path, &place.to_string()))?);
        }
        Ok(read)
    }

    fn table(&mut self, map: Map<String, Value>, keys: &'static [Key], path: &str) -> Result<Value, KeyError> {
        let mut read = Value::Object(Map::new());
        for (name, value) in map {
            let small = name.to_ascii_lowercase();
            let Some(key) = keys.iter().find(|key| key.name == small) else {
                let shown: String = name.chars().take(64).collect();
                let nearest = nearest(self.root, path, &small);
                return Err(KeyError::Unknown { path: below(path, &shown), nearest });
            };
            if let Some(value) = self.value(value, &key.shape, &below(path, key.name))? {
                // Two spellings of one key in one file join as two files would.
                merge(&mut read, Value::Object([(small, value)].into_iter().collect()));
            }
        }
        Ok(read)
    }
}

impl Shape {
    fn describe(&self) -> &'static str {
        match self {
            Shape::Text => "a text",
            Shape::Flag => "true or false",
            Shape::Whole => "a whole number",
            Shape::Count => "a whole number that is not negative",
            Shape::Small => "a whole number from 0 to 4294967295",
            Shape::Decimal => "a number",
            Shape::Duration => "a duration such as \"10s\"",
            Shape::List(_) => "a list",
            Shape::Map(_) | Shape::Table(_) => "an object",
            Shape::Any | Shape::Unneeded(_) => "anything",
        }
    }
}

/// Names the kind of a value, and no more: it may be a secret.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The path of the known key that was probably meant: the one with the nearest name, of the same table if it can be.
fn nearest(root: &'static Shape, table: &str, name: &str) -> Option<String> {
    let mut all = Vec::new();
    collect(root, "", &mut all);
    let far = |path: &str| {
        let (own, leaf) = path.rsplit_once('.').unwrap_or(("", path));
        let distance = strsim::damerau_levenshtein(name, leaf);
        // Half of the name is a better hint than other letters.
        let part = name.len() > 2 && (leaf.contains(name) || name.contains(leaf));
        (if part { distance.min(1) } else { distance }, own != table, distance)
    };
    let best = all.into_iter().min_by_key(|path| far(path))?;
    // As far off as it is long, it is no hint.
    (far(&best).0 <= name.len().div_ceil(3)).then_some(best)
}

/// The paths of all keys below a shape.
pub(super) fn collect(shape: &'static Shape, path: &str, all: &mut Vec<String>) {
    match shape {
        Shape::Table(keys) => {
            for key in *keys {
                let path = below(path, key.name);
                collect(&key.shape, &path, all);
                all.push(path);
            }
        }
        Shape::List(each) => collect(each, path, all),
        _ => {}
    }
}

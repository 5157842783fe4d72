//! What a filter needs to know of a row: the names and kinds of its fields, and their values.
//!
//! A row type implements [`Fields`]; [`Many`] and [`Keyed`] are there for the usual collections already. Values are
//! lent, never copied. Nothing here knows the language.

use crate::text::{Map, Tags, Text};

/// A type whose values a filter can judge.
pub trait Fields {
    /// Returns the selectable fields, always the same.
    fn schema() -> &'static Schema
    where
        Self: Sized;

    /// Returns the value of the field at this place of the schema; its kind is the one that the schema tells.
    fn get(&self, field: usize) -> Value<'_>;
}

/// The selectable fields of a row type, in the order of [`Fields::get`].
#[derive(Debug)]
pub struct Schema {
    /// The fields.
    pub fields: &'static [Field],
}

/// One selectable field.
#[derive(Debug)]
pub struct Field {
    /// The name, spelt as in the JSON form of the row.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Something that can be compared.
    Leaf(Leaf),
    /// A structure with fields of its own.
    Object(fn() -> &'static Schema),
    /// A list of structures; a comparison holds if it holds for any of them.
    Objects(fn() -> &'static Schema),
    /// Texts by name.
    Map,
    /// Structures by name.
    ObjectMap(fn() -> &'static Schema),
}

/// What a comparable field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// True or false.
    Bool,
    /// A list of texts.
    List,
}

/// The value of a field, lent by its row.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// There is none: a map without the asked key, an optional structure that is not set. Reads as empty.
    Missing,
    /// A text.
    Text(&'a str),
    /// A whole number.
    Number(i64),
    /// True or false.
    Bool(bool),
    /// A list, of texts or of structures.
    Many(&'a dyn Many),
    /// A map to texts or to structures.
    Keyed(&'a dyn Keyed),
    /// A structure.
    Object(&'a dyn Fields),
    /// A structure kept as JSON, or a part of one; what it leaves out has the zero value of its kind.
    Json(&'a serde_json::Value),
}

/// A list whose elements are values.
pub trait Many {
    /// Says whether the list has no elements.
    fn is_empty(&self) -> bool;
    /// Says whether the test holds for any element.
    fn any(&self, test: &mut dyn FnMut(Value<'_>) -> bool) -> bool;
}

/// A map from texts to values.
pub trait Keyed {
    /// Says whether the map has no entries.
    fn is_empty(&self) -> bool;
    /// Returns the value at a key, or [`Value::Missing`].
    fn at(&self, key: &str) -> Value<'_>;
}

/// A thing that can stand in a list or a map.
pub trait Item {
    /// Lends it as a value.
    fn value(&self) -> Value<'_>;
}

impl Item for Text {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl<T: Fields> Item for T {
    fn value(&self) -> Value<'_> {
        Value::Object(self)
    }
}

impl<T: Item> Many for Vec<T> {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn any(&self, test: &mut dyn FnMut(Value<'_>) -> bool) -> bool {
        self.iter().any(|item| test(item.value()))
    }
}

impl Many for Tags {
    fn is_empty(&self) -> bool {
        <[Text]>::is_empty(self)
    }

    fn any(&self, test: &mut dyn FnMut(Value<'_>) -> bool) -> bool {
        self.iter().any(|item| test(item.value()))
    }
}

impl<T: Item> Keyed for Map<T> {
    fn is_empty(&self) -> bool {
        Map::is_empty(self)
    }

    fn at(&self, key: &str) -> Value<'_> {
        self.get(key).map_or(Value::Missing, Item::value)
    }
}

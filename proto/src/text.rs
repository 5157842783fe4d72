//! Shared, cheaply cloned texts, lists and maps, as rows carry them.
//!
//! A row is cloned into every answer that shows it; with these types a clone is a reference count
//! and an empty list or map costs no heap at all.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A shared, immutable text.
pub type Text = Arc<str>;

/// A shared, immutable map with texts as keys; in JSON always an object, never null.
#[derive(Clone)]
pub struct Map<V>(Option<Arc<BTreeMap<Text, V>>>);

/// Free key-value pairs of a node or an instance.
pub type Meta = Map<Text>;

impl<V> Map<V> {
    /// The map without entries.
    #[must_use]
    pub const fn new() -> Map<V> {
        Map(None)
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        self.0.as_deref()?.get(key)
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, BTreeMap::len)
    }

    /// The entries, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &V)> {
        self.0.iter().flat_map(|map| map.iter())
    }
}

impl<V> Default for Map<V> {
    fn default() -> Map<V> {
        Map(None)
    }
}

impl<V: PartialEq> PartialEq for Map<V> {
    fn eq(&self, other: &Map<V>) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one == two,
            _ => self.is_empty() && other.is_empty(),
        }
    }
}

impl<V: Eq> Eq for Map<V> {}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> From<BTreeMap<Text, V>> for Map<V> {
    fn from(map: BTreeMap<Text, V>) -> Map<V> {
        Map((!map.is_empty()).then(|| Arc::new(map)))
    }
}

impl<K: Into<Text>, V> FromIterator<(K, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Map<V> {
        items.into_iter().map(|(key, value)| (key.into(), value)).collect::<BTreeMap<_, _>>().into()
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // postcard needs to know the length beforehand; `collect_map` takes it from the size hint.
        match &self.0 {
            Some(map) => serializer.collect_map(map.iter()),
            None => serializer.collect_map(std::iter::empty::<(&str, &V)>()),
        }
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Map<V>, D::Error> {
        BTreeMap::deserialize(deserializer).map(Map::from)
    }
}

/// A shared, immutable list of texts, in the order in which they were given; never null in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Tags(Arc<[Text]>);

impl Default for Tags {
    fn default() -> Tags {
        static EMPTY: LazyLock<Arc<[Text]>> = LazyLock::new(|| Arc::from([]));
        Tags(EMPTY.clone())
    }
}

impl Deref for Tags {
    type Target = [Text];

    fn deref(&self) -> &[Text] {
        &self.0
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Into<Text>> FromIterator<T> for Tags {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Tags {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return Tags::default();
        }
        Tags(items.map(Into::into).collect())
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tags, D::Error> {
        // Older servers send null for no tags.
        let tags: Vec<Text> = Vec::deserialize(deserializer)?;
        Ok(tags.into_iter().collect())
    }
}

//! Keys, prefixes and config entries as values of the application, kept live.
//!
//! Decides what an answer does to what is known: a value that cannot be decoded does not replace the last good one, and
//! the reason is shown beside it; a key that was deleted has no value; an outage changes nothing. Started by
//! [`crate::Client::watch_key`] and its siblings.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::api::kv::KvShown;

use super::follow::News;
use crate::error::{Cause, Error};

/// Turns the bytes of a value into what they mean.
pub(crate) type Decoder<T> = Box<dyn Fn(&[u8]) -> Result<T, Cause> + Send + Sync>;

/// What is known of a key or a config entry.
#[derive(Debug)]
pub struct Value<T> {
    /// The last good value; none when there is no such key.
    pub value: Option<Arc<T>>,
    /// When the value was last changed; zero while there is none.
    pub index: Index,
    /// Whether the registry has answered at all.
    pub is_known: bool,
    /// Why the newest value cannot be decoded, or why the registry does not answer.
    pub error: Option<Arc<Error>>,
}

/// What is known of all keys that begin so, by key.
#[derive(Debug)]
pub struct Values<T> {
    /// The last good values.
    pub values: BTreeMap<String, Arc<T>>,
    /// Why the newest value of a key cannot be decoded.
    pub bad: BTreeMap<String, Arc<Error>>,
    /// Whether the registry has answered at all.
    pub is_known: bool,
    /// Why the registry does not answer.
    pub error: Option<Arc<Error>>,
    // When each value was last changed, so that the others are not decoded again.
    seen: BTreeMap<String, Index>,
}

impl<T> Value<T> {
    pub(crate) fn unknown() -> Self {
        Self { value: None, index: Index::ZERO, is_known: false, error: None }
    }

    fn with(&self, error: Option<Arc<Error>>) -> Self {
        Self { value: self.value.clone(), index: self.index, is_known: self.is_known, error }
    }

    /// Takes news; returns what is known now, if it is something else. `read` says when an answer's value was last changed,
    /// and what it is.
    pub(crate) fn next<A>(
        known: &Arc<Self>,
        news: News<Option<A>>,
        read: impl FnOnce(A) -> (Index, Result<T, Error>),
    ) -> Option<Self> {
        match news {
            News::Changed(None) if known.is_known && known.value.is_none() && known.error.is_none() => None,
            News::Changed(None) => Some(Self { is_known: true, ..Self::unknown() }),
            News::Changed(Some(answer)) => match read(answer) {
                // The index of a question may move without a change of what was asked about.
                (index, Ok(_)) if known.index == index && known.error.is_none() => None,
                (index, Ok(value)) => Some(Self { value: Some(Arc::new(value)), index, is_known: true, error: None }),
                (_, Err(error)) => Some(Self { is_known: true, ..known.with(Some(Arc::new(error))) }),
            },
            // The answer that cannot be decoded is still the newest one.
            News::Unchanged if matches!(known.error.as_deref(), Some(Error::Decode { .. })) => None,
            News::Unchanged => known.error.is_some().then(|| known.with(None)),
            // The first cause is told; what cannot be decoded stays told.
            News::Failed(error) => known.error.is_none().then(|| known.with(Some(Arc::new(error)))),
        }
    }
}

impl<T> Values<T> {
    pub(crate) fn unknown() -> Self {
        Self { values: BTreeMap::new(), bad: BTreeMap::new(), is_known: false, error: None, seen: BTreeMap::new() }
    }

    fn with(&self, error: Option<Arc<Error>>) -> Self {
        Self {
            values: self.values.clone(),
            bad: self.bad.clone(),
            is_known: self.is_known,
            error,
            seen: self.seen.clone(),
        }
    }

    pub(crate) fn next(known: &Arc<Self>, news: News<Option<Vec<KvShown>>>, decode: &Decoder<T>) -> Option<Self> {
        let rows = match news {
            News::Changed(rows) => rows.unwrap_or_default(),
            News::Unchanged => return known.error.is_some().then(|| known.with(None)),
            News::Failed(error) => return known.error.is_none().then(|| known.with(Some(Arc::new(error)))),
        };
        let mut new = Self { is_known: true, ..Self::unknown() };
        for row in &rows {
            let key = row.key.to_string();
            let good = known.values.get(&key).cloned();
            let old = known.seen.get(&key) == Some(&row.modify_index);
            let read = match (old, known.bad.get(&key)) {
                (true, Some(bad)) => Err(Arc::clone(bad)),
                (true, None) => Ok(None),
                (false, _) => decoded(row, decode).map(|value| Some(Arc::new(value))).map_err(Arc::new),
            };
            let (value, bad) = match read {
                Ok(fresh) => (fresh.or(good), None),
                Err(error) => (good, Some(error)),
            };
            new.values.extend(value.map(|value| (key.clone(), value)));
            new.bad.extend(bad.map(|bad| (key.clone(), bad)));
            new.seen.insert(key, row.modify_index);
        }
        let same = known.is_known && known.error.is_none() && known.seen == new.seen;
        (!same).then_some(new)
    }
}

/// Decodes a row.
pub(crate) fn decoded<T>(row: &KvShown, decode: &Decoder<T>) -> Result<T, Error> {
    let bytes = row.bytes().map_err(Cause::from);
    bytes.and_then(|bytes| decode(&bytes)).map_err(|source| Error::Decode { key: row.key.to_string(), source })
}

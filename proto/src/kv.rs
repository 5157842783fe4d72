//! A key-value row.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::index::Index;
use crate::text::Text;

/// The largest value, in bytes.
pub const VALUE_MAX: usize = 512 * 1024;
/// The longest key, in bytes.
pub const KEY_MAX: usize = 4 * 1024;

/// A stored key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvEntry {
    /// The key: any text; slashes mean nothing to the store.
    pub key: Text,
    /// The value, any bytes.
    pub value: Arc<[u8]>,
    /// A number for the client's own use.
    pub flags: u64,
    /// The session that holds the lock; empty when nobody does.
    pub session: Text,
    /// How often the lock was taken.
    pub lock_index: u64,
    /// When the key was created.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

impl KvEntry {
    /// What is shown of a key that is not there.
    #[must_use]
    pub fn absent(key: Text) -> KvEntry {
        KvEntry {
            key,
            value: Arc::from([]),
            flags: 0,
            session: Text::default(),
            lock_index: 0,
            created: Index::ZERO,
            modified: Index::ZERO,
        }
    }

    /// The row with an empty value.
    #[must_use]
    pub fn without_value(&self) -> Arc<KvEntry> {
        Arc::new(KvEntry { value: Arc::from([]), ..self.clone() })
    }
}

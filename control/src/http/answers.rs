//! Encoded answers, shared by everyone who asks the same question.
//!
//! An answer is a function of the question and of the index that the question has in one lineage of states
//! (see [`Age`]); while that stands, the bytes do too. So five thousand readers that wake together cost one encoding.
//! Bounded by entries and bytes; past the bound, entries are given up and encoded again when asked.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::sync::Arc;

use bytes::Bytes;
use callboard_proto::Index;
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

const SHARDS: usize = 16;
/// The most questions remembered in one shard.
const QUESTIONS_MAX: usize = 256;
/// The most bytes remembered in one shard.
const BYTES_MAX: usize = 4 << 20;

/// The answers of one server.
#[derive(Default)]
pub(super) struct Answers {
    shards: [Mutex<Shard>; SHARDS],
    hasher: BuildHasherDefault<XxHash3_64>,
}

#[derive(Default)]
struct Shard {
    answers: HashMap<Box<str>, Arc<Entry>, BuildHasherDefault<XxHash3_64>>,
    bytes: usize,
}

/// One question's newest answer; its lock is held while the answer is encoded, so that it is encoded once.
#[derive(Default)]
struct Entry {
    latest: Mutex<Option<(Age, Shared)>>,
}

/// An answer, for everyone with the same rights: those are part of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) body: Bytes,
    /// Whether something was left out that these rights do not reach.
    pub(super) left_out: bool,
}

/// How new an answer is: which lineage of states it is of (a restore begins another), and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    pub(super) lineage: u64,
    pub(super) index: Index,
}

impl Answers {
    /// The answer to a question at an age, encoded now if nobody asked before.
    pub(super) fn get(&self, question: &str, age: Age, encode: impl FnOnce() -> Shared) -> Shared {
        let shard = &self.shards[self.hasher.hash_one(question) as usize % SHARDS];
        let entry = {
            let mut shard = shard.lock();
            match shard.answers.get(question) {
                Some(entry) => entry.clone(),
                None => {
                    if shard.answers.len() >= QUESTIONS_MAX || shard.bytes > BYTES_MAX {
                        shard.answers.clear();
                        shard.bytes = 0;
                    }
                    shard.answers.entry(question.into()).or_default().clone()
                }
            }
        };
        let mut latest = entry.latest.lock();
        match &*latest {
            Some((at, body)) if *at == age => return body.clone(),
            // A reader of an older state keeps its own answer to itself.
            Some((at, _)) if *at > age => return encode(),
            _ => {}
        }
        let body = encode();
        let before = latest.replace((age, body.clone())).map_or(0, |(_, old)| old.body.len());
        drop(latest);
        let mut shard = shard.lock();
        shard.bytes = (shard.bytes + body.body.len()).saturating_sub(before);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_encoded_once_per_index() {
        let answers = Answers::default();
        let mut encoded = 0;
        let mut ask = |index: u64| {
            answers
                .get("q", Age { lineage: 0, index: Index(index) }, || {
                    encoded += 1;
                    Shared { body: Bytes::from(index.to_string()), left_out: false }
                })
                .body
        };
        assert_eq!(ask(1), "1");
        assert_eq!(ask(1), "1");
        assert_eq!(ask(2), "2");
        assert_eq!(ask(1), "1");
        assert_eq!(ask(2), "2");
        assert_eq!(encoded, 3);
    }

    #[test]
    fn memory_is_bounded() {
        let answers = Answers::default();
        for question in 0..100_000 {
            let age = Age { lineage: 0, index: Index(1) };
            let answer = || Shared { body: Bytes::from_static(b"0123456789"), left_out: false };
            answers.get(&question.to_string(), age, answer);
        }
        let held: usize = answers.shards.iter().map(|shard| shard.lock().answers.len()).sum();
        assert!(held <= SHARDS * QUESTIONS_MAX);
    }
}

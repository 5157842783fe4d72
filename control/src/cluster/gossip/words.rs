//! What members tell all others: that one is to leave, that one stays, and user events.
//!
//! Each word carries a Lamport time (Lamport 1978) and is passed on until enough have heard it; this file decides
//! which words are new. It remembers the last ones it heard; one that is older than all of those is taken to be known.
//! Who calls it: foca asks, the gossip task collects what was new.

use std::collections::{HashSet, VecDeque};
use std::hash::Hasher as _;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::card::Card;

/// First byte of every word, so that a later format can be told apart.
const FORMAT: u8 = 1;
/// How many words are remembered.
const KNOWN_MAX: usize = 4096;
/// The time of a node that heard nothing yet; as with Consul, whose clients show the times of events.
const TIME_FIRST: u64 = 1;
/// The longest word, in bytes: it has to share a datagram with a header.
pub const WORD_MAX: usize = 1024;

/// What is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Word {
    /// A member is to leave.
    Leave {
        /// Its name.
        name: String,
        /// Up to which of its incarnations.
        incarnation: u64,
        /// Whether it is to be forgotten at once when it is gone.
        prune: bool,
    },
    /// A member that was told to leave stays.
    Stay {
        /// Its name.
        name: String,
    },
    /// A message to whoever listens; its bytes are for `event` to read.
    Event(Vec<u8>),
}

/// A word, and when it was spoken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spoken {
    /// The Lamport time.
    pub time: u64,
    /// What was said.
    pub word: Word,
}

/// Why a word cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("a word that cannot be understood")]
pub(super) struct Unreadable;

impl Spoken {
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("words are plain data and always encode")
    }

    fn decode(data: &[u8]) -> Result<Spoken, Unreadable> {
        match data.split_first() {
            Some((&FORMAT, rest)) if data.len() <= WORD_MAX => postcard::from_bytes(rest).map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }
}

/// Tells new words from known ones.
struct Heard {
    known: HashSet<u64>,
    /// The known ones with their times, the oldest first.
    order: VecDeque<(u64, u64)>,
    /// The time of the last word that was given up.
    floor: u64,
    /// The highest time that was heard.
    time: u64,
    fresh: Vec<Spoken>,
}

impl Default for Heard {
    fn default() -> Heard {
        let (known, order, fresh) = (HashSet::new(), VecDeque::new(), Vec::new());
        Heard { known, order, floor: 0, time: TIME_FIRST, fresh }
    }
}

impl Heard {
    fn hear(&mut self, data: &[u8]) -> Result<Option<Kept>, Unreadable> {
        let spoken = Spoken::decode(data)?;
        let mut hasher = twox_hash::XxHash3_64::with_seed(0);
        hasher.write(data);
        let hash = hasher.finish();
        if spoken.time < self.floor || !self.known.insert(hash) {
            return Ok(None);
        }
        self.time = self.time.max(spoken.time);
        self.order.push_back((hash, spoken.time));
        if self.order.len() > KNOWN_MAX
            && let Some((hash, time)) = self.order.pop_front()
        {
            self.known.remove(&hash);
            self.floor = self.floor.max(time);
        }
        self.fresh.push(spoken);
        Ok(Some(Kept(hash)))
    }
}

/// The key that foca keeps a word under.
pub(super) struct Kept(u64);

impl foca::Invalidates for Kept {
    fn invalidates(&self, other: &Kept) -> bool {
        self.0 == other.0
    }
}

/// The ear that foca asks, and the task's end of it; clones share what was heard.
#[derive(Clone, Default)]
pub(super) struct Ear {
    heard: Arc<Mutex<Heard>>,
}

impl Ear {
    /// Takes what was heard and is new.
    pub(super) fn take(&self) -> Vec<Spoken> {
        std::mem::take(&mut self.heard.lock().fresh)
    }

    /// Dates a word that is to be told: later than everything heard.
    pub(super) fn date(&self, word: Word) -> Spoken {
        Spoken { time: self.heard.lock().time + 1, word }
    }

    /// The highest time that was heard.
    pub(super) fn time(&self) -> u64 {
        self.heard.lock().time
    }

    /// Notes the time of another node.
    pub(super) fn witness(&self, time: u64) {
        let mut heard = self.heard.lock();
        heard.time = heard.time.max(time);
    }

    /// Hears a word that is told here, without foca.
    pub(super) fn hear(&self, data: &[u8]) {
        // A word that was just encoded can be read.
        let _ = self.heard.lock().hear(data);
    }
}

impl foca::BroadcastHandler<Card> for Ear {
    type Key = Kept;
    type Error = Unreadable;

    fn receive_item(&mut self, data: &[u8], _sender: Option<&Card>) -> Result<Option<Kept>, Unreadable> {
        self.heard.lock().hear(data)
    }
}

#[cfg(test)]
mod tests {
    use foca::BroadcastHandler as _;

    use super::*;

    #[test]
    fn a_word_is_new_once_and_times_only_grow() {
        let mut ear = Ear::default();
        let first = ear.date(Word::Stay { name: "a".into() });
        assert_eq!(first.time, 2);
        assert!(ear.receive_item(&first.encode(), None).unwrap().is_some());
        assert!(ear.receive_item(&first.encode(), None).unwrap().is_none());
        assert_eq!(ear.take(), std::slice::from_ref(&first));
        assert!(ear.take().is_empty());
        ear.witness(9);
        assert_eq!(ear.date(Word::Event(vec![1])).time, 10);
        // The same said again at another time is another word.
        let again = Spoken { time: 3, ..first };
        assert!(ear.receive_item(&again.encode(), None).unwrap().is_some());
        assert!(ear.receive_item(&[], None).is_err());
        assert!(ear.receive_item(&[FORMAT, 255], None).is_err());
        assert!(ear.receive_item(&[FORMAT + 1, 0], None).is_err());
    }

    #[test]
    fn what_was_given_up_counts_as_known() {
        let mut ear = Ear::default();
        let word = |time: u64| Spoken { time, word: Word::Event(time.to_be_bytes().to_vec()) }.encode();
        for time in 1..=(KNOWN_MAX as u64 + 10) {
            assert!(ear.receive_item(&word(time), None).unwrap().is_some());
        }
        assert!(ear.receive_item(&word(3), None).unwrap().is_none());
        let heard = ear.heard.lock();
        assert_eq!((heard.known.len(), heard.order.len()), (KNOWN_MAX, KNOWN_MAX));
    }
}

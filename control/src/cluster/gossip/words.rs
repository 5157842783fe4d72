//! What members tell all others: that one is to leave, that one stays, and user events.
//!
//! Each word carries a Lamport time (Lamport 1978) and is passed on until enough have heard it; this file decides
//! which words are new. It remembers the last ones it heard; one that is older than all of those is taken to be known.
//! The last events are kept whole, for members that were cut off when they were told. Who calls it: foca asks, the gossip
//! task collects what was new.

use std::collections::{HashSet, VecDeque};
use std::hash::Hasher as _;
use std::sync::Arc;

use callboard_proto::api::event::EVENTS_MAX;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::card::Card;

/// First byte of every word, so that a later format can be told apart.
const FORMAT: u8 = 1;
/// How many words are remembered.
const KNOWN_MAX: usize = 4096;
/// How many events are kept for those who missed them: as many as a node lists.
const EVENTS_KEPT: usize = EVENTS_MAX;
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
    /// The last events, in the order in which they were heard.
    events: VecDeque<Spoken>,
    /// The time at which this node met another for the first time. Events up to then are nobody else's, and those of
    /// others are none of its.
    since: u64,
}

impl Default for Heard {
    fn default() -> Heard {
        let (known, order, fresh, events) = (HashSet::new(), VecDeque::new(), Vec::new(), VecDeque::new());
        Heard { known, order, floor: 0, time: TIME_FIRST, fresh, events, since: 0 }
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
        if matches!(spoken.word, Word::Event(_)) {
            if self.events.len() == EVENTS_KEPT {
                self.events.pop_front();
            }
            self.events.push_back(spoken.clone());
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
        // Others may have told any time; at the last one all words are said at once.
        Spoken { time: self.heard.lock().time.saturating_add(1), word }
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

    /// Notes that another node is met for the first time, one that heard up to a time.
    pub(super) fn meet(&self, time: u64) {
        let mut heard = self.heard.lock();
        heard.since = heard.time.max(time);
    }

    /// The last events since others are known, for those who may have missed them.
    pub(super) fn events(&self) -> Vec<Spoken> {
        let heard = self.heard.lock();
        heard.events.iter().filter(|spoken| spoken.time > heard.since).cloned().collect()
    }

    /// Hears the events that another node heard, as far as they are new and since others are known.
    pub(super) fn catch_up(&self, mut events: Vec<Spoken>) {
        let mut heard = self.heard.lock();
        events.retain(|spoken| matches!(spoken.word, Word::Event(_)) && spoken.time > heard.since);
        events.sort_by_key(|spoken| spoken.time);
        let surplus = events.len().saturating_sub(EVENTS_KEPT);
        for spoken in &events[surplus..] {
            // What is too long to be a word was never said as one.
            let _ = heard.hear(&spoken.encode());
        }
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
    fn events_that_were_missed_are_heard_once_and_older_ones_are_not() {
        let event = |time: u64| Spoken { time, word: Word::Event(time.to_be_bytes().to_vec()) };
        let times = |ear: &Ear| ear.take().iter().map(|spoken| spoken.time).collect::<Vec<_>>();
        let (one, other) = (Ear::default(), Ear::default());
        one.hear(&event(2).encode());
        // They meet: what was said before is told to nobody.
        let (time, theirs) = (one.time(), other.time());
        one.meet(theirs);
        other.meet(time);
        other.witness(time);
        assert_eq!((one.events(), times(&one)), (Vec::new(), vec![2]));
        for time in [3, 5, 4] {
            one.hear(&event(time).encode());
        }
        other.hear(&event(4).encode());
        assert_eq!(times(&other), [4]);
        let told = [one.events(), vec![event(2), Spoken { time: 9, word: Word::Stay { name: "a".into() } }]].concat();
        other.catch_up(told.clone());
        assert_eq!(times(&other), [3, 5], "by their times, without what was heard, is older, or is no event");
        other.catch_up(told);
        assert!(times(&other).is_empty());
        assert_eq!(other.events().len(), 3);
        // What is remote is bounded, and may say any time.
        other.catch_up((10..1_010).map(event).chain([event(u64::MAX)]).collect());
        assert_eq!((times(&other).len(), other.events().len()), (EVENTS_KEPT, EVENTS_KEPT));
        assert_eq!(other.date(Word::Event(Vec::new())).time, u64::MAX);
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

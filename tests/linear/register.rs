//! One key without locks: what reads, writes, check-and-set and deletions may answer.

use crate::checker::Model;

/// A key.
pub(crate) struct Register;

/// What it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    entry: Option<Entry>,
    /// The largest index that was shown; later ones are larger.
    shown: u64,
}

/// Values are written once each, so a value tells which write it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    value: u64,
    /// Its index, once somebody saw it.
    index: Option<u64>,
}

/// A request, and its answer; an answer that did not come is none.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Value and index, if the key is there.
    Read(Option<Option<(u64, u64)>>),
    Put(u64),
    Cas {
        value: u64,
        /// Zero: the key is not there.
        index: u64,
        held: Option<bool>,
    },
    Delete,
    DeleteCas {
        index: u64,
        held: Option<bool>,
    },
}

impl Model for Register {
    type State = State;
    type Op = Op;

    fn step(state: &State, op: &Op) -> Option<State> {
        let put = |value, state: State| State { entry: Some(Entry { value, index: None }), ..state };
        match *op {
            Op::Read(None) => Some(state.clone()),
            Op::Read(Some(None)) => state.entry.is_none().then(|| state.clone()),
            Op::Read(Some(Some((value, index)))) => {
                state.entry.filter(|entry| entry.value == value)?;
                state.at(index)
            }
            Op::Put(value) => Some(put(value, state.clone())),
            Op::Cas { value, index, held } => match held {
                Some(true) => Some(put(value, state.at(index)?)),
                Some(false) => state.not_at(index),
                None => Some(state.at(index).map_or_else(|| state.clone(), |state| put(value, state))),
            },
            Op::Delete => Some(State { entry: None, ..state.clone() }),
            Op::DeleteCas { index, held } => {
                // A key that is not there is as wished.
                let gone = State { entry: None, ..state.clone() };
                match (held, state.entry) {
                    (Some(true) | None, None) => Some(gone),
                    (Some(true), Some(_)) => Some(State { entry: None, ..state.at_entry(index)? }),
                    (Some(false), entry) => entry.and_then(|_| state.not_at(index)),
                    (None, Some(_)) => Some(
                        state.at_entry(index).map_or_else(|| state.clone(), |state| State { entry: None, ..state }),
                    ),
                }
            }
        }
    }
}

impl State {
    /// The state, if the key can have this index; zero stands for no key.
    fn at(&self, index: u64) -> Option<State> {
        match self.entry {
            None => (index == 0).then(|| self.clone()),
            Some(_) => self.at_entry(index),
        }
    }

    fn at_entry(&self, index: u64) -> Option<State> {
        let entry = self.entry?;
        match entry.index {
            Some(known) => (known == index).then(|| self.clone()),
            None => {
                let bound = Entry { index: Some(index), ..entry };
                (index > self.shown).then_some(State { entry: Some(bound), shown: index })
            }
        }
    }

    /// The state, if the key can have another index than this.
    fn not_at(&self, index: u64) -> Option<State> {
        let certain = match self.entry {
            None => index == 0,
            Some(entry) => entry.index == Some(index),
        };
        (!certain).then(|| self.clone())
    }
}

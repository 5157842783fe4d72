//! One key as a lock: who may take it, who holds it, and what the end of a session does.

use std::collections::BTreeSet;

use crate::checker::Model;

/// A key that sessions take in turn.
pub(crate) struct Lock;

/// Who holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    holder: Option<u64>,
    /// How often it was taken: the fencing token.
    taken: u64,
    /// Sessions that ended.
    ended: BTreeSet<u64>,
    written: bool,
}

/// How an attempt to take the lock ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Taken,
    HeldByAnother,
    NoSuchSession,
}

/// A request, and its answer; an answer that did not come is none.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Acquire {
        session: u64,
        attempt: Option<Attempt>,
    },
    Release {
        session: u64,
        held: Option<bool>,
    },
    /// Ends a session; what it holds is free.
    Destroy {
        session: u64,
    },
    /// Holder and fencing token, if the key is there.
    Read(Option<Option<(Option<u64>, u64)>>),
}

impl Model for Lock {
    type State = State;
    type Op = Op;

    fn step(state: &State, op: &Op) -> Option<State> {
        match *op {
            Op::Acquire { session, attempt } => {
                let (found, after) = state.acquired(session);
                attempt.is_none_or(|attempt| attempt == found).then_some(after)
            }
            Op::Release { session, held } => {
                let holds = state.holder == Some(session);
                let after = State { holder: state.holder.filter(|holder| *holder != session), ..state.clone() };
                held.is_none_or(|held| held == holds).then_some(after)
            }
            Op::Destroy { session } => {
                let mut after = state.clone();
                after.holder = after.holder.filter(|holder| *holder != session);
                after.ended.insert(session);
                Some(after)
            }
            Op::Read(None) => Some(state.clone()),
            Op::Read(Some(shown)) => {
                let now = state.written.then_some((state.holder, state.taken));
                (now == shown).then(|| state.clone())
            }
        }
    }
}

impl State {
    fn acquired(&self, session: u64) -> (Attempt, State) {
        if self.ended.contains(&session) {
            return (Attempt::NoSuchSession, self.clone());
        }
        match self.holder {
            Some(holder) if holder == session => (Attempt::Taken, self.clone()),
            Some(_) => (Attempt::HeldByAnother, self.clone()),
            None => {
                let after =
                    State { holder: Some(session), taken: self.taken + 1, written: true, ended: self.ended.clone() };
                (Attempt::Taken, after)
            }
        }
    }
}

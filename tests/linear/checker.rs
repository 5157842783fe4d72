//! The decision whether a history is linearizable: the search of Wing and Gong (1993) with the memory of Lowe (2017).
//!
//! It knows no sockets and no keys. An operation without an answer may have taken effect at any moment after it was
//! sent, or never.

use std::collections::HashSet;
use std::hash::Hash;

/// What one thing may answer.
pub(crate) trait Model {
    /// All that later answers depend on.
    type State: Clone + Eq + Hash;
    /// A request with its answer.
    type Op;

    /// The state after an operation, if its answer is one that this state gives.
    fn step(state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// One operation of a history. Times only order: each is told once.
#[derive(Debug, Clone)]
pub(crate) struct Event<Op> {
    /// When it was sent.
    pub(crate) sent: u64,
    /// When its answer came; none if none came.
    pub(crate) answered: Option<u64>,
    pub(crate) op: Op,
}

/// The most configurations that are looked at.
const CONFIGURATIONS_MAX: usize = 20_000_000;

/// Whether some order of the operations explains every answer.
///
/// # Panics
/// When that is not found within [`CONFIGURATIONS_MAX`] configurations.
pub(crate) fn is_linearizable<M: Model>(start: M::State, history: &[Event<M::Op>]) -> bool {
    let mut events: Vec<&Event<M::Op>> = history.iter().collect();
    events.sort_by_key(|event| event.sent);
    let must = events.iter().filter(|event| event.answered.is_some()).count();
    let mut seen: HashSet<(Done, M::State)> = HashSet::new();
    let mut open = vec![(Done::none(events.len()), 0, start)];
    while let Some((done, count, state)) = open.pop() {
        if count == must {
            return true;
        }
        assert!(seen.len() < CONFIGURATIONS_MAX, "the search for an order was given up");
        // Whatever comes next was sent before the first answer that is still to be explained.
        let pending = events.iter().enumerate().filter(|(at, _)| !done.has(*at));
        let first_answer = pending.clone().filter_map(|(_, event)| event.answered).min().unwrap_or(u64::MAX);
        for (at, event) in pending.take_while(|(_, event)| event.sent < first_answer) {
            let Some(next) = M::step(&state, &event.op) else { continue };
            let configuration = (done.with(at), next);
            if seen.insert(configuration.clone()) {
                let (done, next) = configuration;
                open.push((done, count + usize::from(event.answered.is_some()), next));
            }
        }
    }
    false
}

/// Which operations have taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

impl Done {
    fn none(count: usize) -> Done {
        Done(vec![0; count.div_ceil(64)].into())
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn with(&self, at: usize) -> Done {
        let mut done = self.clone();
        done.0[at / 64] |= 1 << (at % 64);
        done
    }
}

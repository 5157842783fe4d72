//! Who weighs something else than in an earlier group of the same service.
//!
//! What a table that serves on has to know. Walks the weights of both once and keeps nothing in between.

use super::group::Group;

/// Weights that are compared at once; mostly all are the same.
const RUN: usize = 64;

/// Tells of a position that weighs something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) position: u32,
    /// 0 for whoever was not among them,
    pub(super) before: u32,
    /// or is not now.
    pub(super) now: u32,
}

/// Returns the positions with another weight, in order; none where they are more than `most`.
pub(super) fn between(before: &Group, now: &Group, most: usize) -> Option<Vec<Change>> {
    let (old, new) = (before.weights(), now.weights());
    let len = old.len().max(new.len());
    let mut changes = Vec::new();
    for start in (0..len).step_by(RUN) {
        let end = (start + RUN).min(len);
        if old.get(start..end).is_some_and(|old| new.get(start..end) == Some(old)) {
            continue;
        }
        for position in start..end {
            let [before, now] = [&old, &new].map(|weights| weights.get(position).copied().unwrap_or(0));
            if before != now {
                changes.push(Change { position: position as u32, before, now });
            }
        }
        if changes.len() > most {
            return None;
        }
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Snapshot;
    use crate::endpoint::Endpoint;

    #[test]
    fn tells_who_came_left_and_weighs_something_else() {
        let row = |n: u32, weight| Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n as u16).weighted(weight, 1);
        let all = Arc::new(Snapshot::empty("web").next((0..130).map(|n| row(n, 1)), 1));
        let next = Arc::new(all.changed([row(70, 5), row(200, 2)], &[("001", "")], 2));
        let (all, next) = (Group::whole(all), Group::whole(next));
        let change = |position, before, now| Change { position, before, now };
        let due = [change(1, 1, 0), change(70, 1, 5), change(130, 0, 2)];
        assert_eq!(between(&all, &next, 3).unwrap(), due);
        assert_eq!(between(&all, &next, 2), None);
        let few = Group::part(Arc::clone(next.snapshot()), [(70, 5), (130, 1)]);
        assert_eq!(between(&next, &few, 200).unwrap().len(), 129);
        assert_eq!(between(&few, &few, 0).unwrap(), []);
    }
}

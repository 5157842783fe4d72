//! The endpoints a picker chooses among: positions in a snapshot, and the weights that count there.
//!
//! Usually everybody the registry leaves eligible; a part of them where a rule restricts the choice (a zone, a
//! subset), or more of them where too few are well. Built with its picker when the set changes; never changes.

use std::sync::Arc;

use crate::catalog::{Member, Snapshot};
use crate::endpoint::{EndpointStats, Gauge};

/// Holds the choice a picker has.
#[derive(Clone, Debug)]
pub struct Group {
    snapshot: Arc<Snapshot>,
    /// None: the snapshot's eligible ones, with the snapshot's weights.
    part: Option<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    positions: Box<[u32]>,
    /// By position; 0 who is not among them.
    weights: Box<[u32]>,
}

impl Group {
    /// Holds everybody who is eligible by what the registry says.
    #[must_use]
    pub fn whole(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, part: None }
    }

    /// Holds those at the given positions, with the weights given; who has weight 0, or is not there, is left out.
    #[must_use]
    pub fn part(snapshot: Arc<Snapshot>, chosen: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut weights = vec![0; snapshot.weights().len()];
        let mut positions = Vec::new();
        for (position, weight) in chosen {
            if weight > 0 && snapshot.member(position as usize).is_some() {
                weights[position as usize] = weight;
                positions.push(position);
            }
        }
        Self { snapshot, part: Some(Part { positions: positions.into(), weights: weights.into() }) }
    }

    /// Says whether it is everybody who is eligible, and not a choice of its own.
    pub(super) fn is_whole(&self) -> bool {
        self.part.is_none()
    }

    /// Returns the snapshot.
    #[inline]
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Counts the endpoints.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        match &self.part {
            None => self.snapshot.eligible_len(),
            Some(part) => part.positions.len() as u32,
        }
    }

    /// Says whether there is nobody to choose.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the position of the `nth` endpoint; `nth` must be below [`Self::len`].
    #[inline]
    #[must_use]
    pub fn at(&self, nth: u32) -> usize {
        match &self.part {
            None => self.snapshot.eligible_at(nth),
            Some(part) => part.positions[nth as usize] as usize,
        }
    }

    /// Returns the weight of the `nth` endpoint, which is above 0; `nth` must be below [`Self::len`].
    #[inline]
    #[must_use]
    pub fn weight(&self, nth: u32) -> u32 {
        self.weight_at(self.at(nth))
    }

    /// Returns the weight of the endpoint at `position`; 0 when it is not among these.
    #[inline]
    #[must_use]
    pub fn weight_at(&self, position: usize) -> u32 {
        self.weights().get(position).copied().unwrap_or(0)
    }

    /// Returns the weights by position; 0 where nobody is, or nobody who is among these.
    #[inline]
    pub(super) fn weights(&self) -> &[u32] {
        self.part.as_ref().map_or(self.snapshot.weights(), |part| &part.weights)
    }

    /// Returns what policies read of the endpoint at `position`, if there is one.
    #[inline]
    #[must_use]
    pub fn gauge(&self, position: usize) -> Option<&Gauge> {
        self.snapshot.gauge(position)
    }

    /// Returns the statistics of the endpoint at `position`, if there is one; farther away than its gauge.
    #[must_use]
    pub fn stats(&self, position: usize) -> Option<&EndpointStats> {
        self.snapshot.stats(position)
    }

    /// Returns positions and weights, in no particular order.
    pub fn weighted(&self) -> impl Iterator<Item = (u32, u32)> {
        let (whole, part) = match &self.part {
            None => (self.snapshot.weights(), &[][..]),
            Some(part) => (&[][..], &*part.positions),
        };
        let whole = (0u32..).zip(whole.iter().copied()).filter(|(_, weight)| *weight > 0);
        whole.chain(part.iter().map(|position| (*position, self.weight_at(*position as usize))))
    }

    /// Says whether everybody has the same weight.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        let weights = self.weights();
        let first = weights.iter().copied().find(|weight| *weight > 0).unwrap_or(0);
        weights.iter().all(|weight| *weight == first || *weight == 0)
    }

    /// Returns positions, weights and endpoints in the order of identities, on which all clients agree.
    pub fn ordered(&self) -> impl Iterator<Item = (u32, u32, &Arc<Member>)> {
        self.snapshot.order().iter().filter_map(move |position| {
            let weight = self.weight_at(*position as usize);
            let member = self.snapshot.member(*position as usize)?;
            (weight > 0).then_some((*position, weight, member))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    #[test]
    fn a_part_is_a_choice_with_weights_of_its_own() {
        let rows = ["a", "b", "c", "d"].map(|id| Endpoint::new(id, "h", 1).weighted(u32::from(id != "b"), 1));
        let snapshot = Arc::new(Snapshot::empty("web").next(rows, 1));
        let whole = Group::whole(Arc::clone(&snapshot));
        assert_eq!((whole.len(), whole.at(1), whole.weight(1), whole.is_equal()), (3, 2, 1, true));
        let part = Group::part(snapshot, [(3, 5), (1, 2), (0, 0), (9, 1)]);
        assert_eq!(part.weighted().collect::<Vec<_>>(), [(3, 5), (1, 2)]);
        let ordered: Vec<(u32, u32)> = part.ordered().map(|(at, weight, _)| (at, weight)).collect();
        assert_eq!(ordered, [(1, 2), (3, 5)], "the drained one may be chosen where a rule says so");
        assert!(!part.is_equal());
    }
}

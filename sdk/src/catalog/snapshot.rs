//! The endpoints of one service at one index: a value that never changes once built.
//!
//! Endpoints lie in arrays addressed by a small number, sorted by instance id and node so that all
//! clients agree on the order. Statistics lie beside them and survive into the next snapshot.
//! Decides who is eligible by what the registry says (health and weight); what this process has
//! seen (ejection) is asked at the pick. Built by `catalog` off the request path; read by `balance`.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::endpoint::{Aside, Clock, Ejection, Endpoint, EndpointStats};

/// Joins an endpoint with its statistics: what a pick hands out.
#[derive(Debug)]
pub struct Member {
    endpoint: Arc<Endpoint>,
    stats: Arc<EndpointStats>,
}

impl Member {
    /// Returns the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Returns its statistics.
    #[inline]
    #[must_use]
    pub fn stats(&self) -> &Arc<EndpointStats> {
        &self.stats
    }
}

/// Holds the endpoints of one service at one index.
#[derive(Debug)]
pub struct Snapshot {
    service: Arc<str>,
    index: u64,
    generation: u64,
    members: Box<[Arc<Member>]>,
    // The same statistics as in `members`, one hop nearer: policies on load read two of these a pick.
    stats: Box<[Arc<EndpointStats>]>,
    // Empty when everybody is eligible, so that the usual case costs no load at all.
    eligible: Box<[u32]>,
    eligible_len: u32,
    aside: Arc<Aside>,
}

impl Snapshot {
    /// Builds the snapshot before any news: no endpoint, index 0, default ejection, process clock.
    #[must_use]
    pub fn empty(service: &str) -> Self {
        Self::empty_with(service, Ejection::default(), Clock::process())
    }

    /// Builds the snapshot before any news with settings that all its successors keep.
    #[must_use]
    pub fn empty_with(service: &str, ejection: Ejection, clock: Clock) -> Self {
        Self::build(service.into(), 0, 0, Vec::new(), Arc::new(Aside::new(ejection, clock)))
    }

    /// Builds the successor from all rows of an answer. An endpoint of the same id, node and address
    /// keeps its statistics; one that moved to another address is a new thing to dial and starts
    /// afresh. Of two rows with one identity the later wins.
    #[must_use]
    pub fn next(&self, rows: impl IntoIterator<Item = Endpoint>, index: u64) -> Self {
        let mut rows: Vec<Endpoint> = rows.into_iter().collect();
        // Stable, so "later" still means later in the answer.
        rows.sort_by(|a, b| a.identity().cmp(&b.identity()));
        let mut members: Vec<Arc<Member>> = Vec::with_capacity(rows.len());
        let mut old = self.members.iter().peekable();
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            if rows.peek().is_some_and(|later| later.identity() == row.identity()) {
                continue;
            }
            while old.next_if(|m| m.endpoint.identity().cmp(&row.identity()) == Ordering::Less).is_some() {}
            let before = old.next_if(|m| m.endpoint.identity() == row.identity());
            members.push(self.succeed(before, row));
        }
        Self::build(Arc::clone(&self.service), index, self.generation + 1, members, Arc::clone(&self.aside))
    }

    /// Returns what `row` becomes, given who held its identity before.
    fn succeed(&self, before: Option<&Arc<Member>>, row: Endpoint) -> Arc<Member> {
        let stats = match before {
            Some(before) if *before.endpoint == row => return Arc::clone(before),
            Some(before) if before.endpoint.authority() == row.authority() => Arc::clone(&before.stats),
            _ => Arc::new(EndpointStats::new(&self.aside)),
        };
        Arc::new(Member { endpoint: Arc::new(row), stats })
    }

    fn build(service: Arc<str>, index: u64, generation: u64, members: Vec<Arc<Member>>, aside: Arc<Aside>) -> Self {
        assert!(u32::try_from(members.len()).is_ok(), "endpoints are numbered by 32 bits");
        let eligible: Vec<u32> = (0u32..)
            .zip(&members)
            .filter(|(_, member)| member.endpoint.weight_effective() > 0)
            .map(|(position, _)| position)
            .collect();
        let everybody = eligible.len() == members.len();
        Self {
            service,
            index,
            generation,
            stats: members.iter().map(|m| Arc::clone(&m.stats)).collect(),
            members: members.into(),
            eligible_len: eligible.len() as u32,
            eligible: if everybody { Box::default() } else { eligible.into() },
            aside,
        }
    }

    /// Names the service.
    #[must_use]
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Returns the registry's index of the answer; may go back when the registry lost its data.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Returns the place in this process's own succession of snapshots; only grows.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns every endpoint, sorted by id and node, the critical and drained ones included.
    #[must_use]
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Finds an endpoint by its identity.
    #[must_use]
    pub fn find(&self, id: &str, node: &str) -> Option<&Arc<Member>> {
        let found = self.members.binary_search_by(|member| member.endpoint.identity().cmp(&(id, node)));
        found.ok().and_then(|position| self.members.get(position))
    }

    /// Returns the statistics of the endpoint at `position`, if there is one.
    #[inline]
    #[must_use]
    pub fn stats(&self, position: usize) -> Option<&EndpointStats> {
        self.stats.get(position).map(|stats| &**stats)
    }

    /// Returns how many endpoints may be called by what the registry says.
    #[inline]
    #[must_use]
    pub fn eligible_len(&self) -> u32 {
        self.eligible_len
    }

    /// Returns the position of the `nth` eligible endpoint; `nth` must be below [`Self::eligible_len`].
    #[inline]
    #[must_use]
    pub fn eligible_at(&self, nth: u32) -> usize {
        match self.eligible.get(nth as usize) {
            Some(position) => *position as usize,
            None => nth as usize,
        }
    }

    /// Returns the positions and weights of the eligible endpoints, in order.
    pub fn eligible(&self) -> impl Iterator<Item = (u32, &Arc<Member>)> {
        (0..self.eligible_len).map(|nth| {
            let position = self.eligible_at(nth);
            (position as u32, &self.members[position])
        })
    }

    /// Counts the eligible endpoints that are aside at this moment. Walks all of them.
    #[must_use]
    pub fn aside_len(&self) -> usize {
        if !self.aside.any() {
            return 0;
        }
        let now = self.aside.clock().coarse();
        self.eligible().filter(|(_, member)| member.stats.is_aside(now)).count()
    }

    /// Returns what the endpoints of this service share across snapshots.
    #[inline]
    #[must_use]
    pub fn aside(&self) -> &Arc<Aside> {
        &self.aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Health;

    fn row(id: &str) -> Endpoint {
        Endpoint::new(id, "10.0.0.1", 80)
    }

    #[test]
    fn all_clients_agree_on_the_order() {
        let first = Snapshot::empty("web").next([row("b"), row("a"), row("c")], 1);
        let second = Snapshot::empty("web").next([row("c"), row("b"), row("a")], 1);
        let ids = |s: &Snapshot| -> Vec<String> { s.members().iter().map(|m| m.endpoint().id().to_owned()).collect() };
        assert_eq!(ids(&first), ["a", "b", "c"]);
        assert_eq!(ids(&first), ids(&second));
    }

    #[test]
    fn statistics_follow_the_instance_and_not_the_position() {
        let old = Snapshot::empty("web").next([row("b"), row("c")], 1);
        old.find("b", "").unwrap().stats().begin();
        let new = old.next([row("a"), row("b").weighted(7, 1), row("c")], 2);
        assert_eq!(new.find("b", "").unwrap().stats().in_flight(), 1);
        assert_eq!(new.find("b", "").unwrap().endpoint().weight_effective(), 7, "the row is new");
        assert!(Arc::ptr_eq(old.find("c", "").unwrap(), new.find("c", "").unwrap()), "an equal row is not copied");
        let moved = new.next([Endpoint::new("b", "10.0.0.9", 80)], 3);
        assert_eq!(moved.find("b", "").unwrap().stats().in_flight(), 0);
        assert_eq!(moved.generation(), 3);
    }

    #[test]
    fn one_identity_appears_once_and_the_later_row_wins() {
        let rows = [row("a"), row("a").weighted(5, 1), row("a").on_node("n2"), row("a").weighted(9, 1)];
        let snapshot = Snapshot::empty("web").next(rows, 1);
        assert_eq!(snapshot.members().len(), 2);
        assert_eq!(snapshot.find("a", "").unwrap().endpoint().weight_effective(), 9);
    }

    #[test]
    fn the_critical_and_the_drained_are_known_but_not_eligible() {
        let rows = [
            row("a"),
            row("b").with_health(Health::Critical),
            row("c").with_health(Health::Warning),
            row("d").weighted(0, 1),
            row("e"),
        ];
        let snapshot = Snapshot::empty("web").next(rows, 1);
        assert_eq!(snapshot.members().len(), 5);
        let eligible: Vec<u32> = snapshot.eligible().map(|(position, _)| position).collect();
        assert_eq!(eligible, [0, 2, 4]);
    }
}

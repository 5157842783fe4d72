//! The endpoints of one service at one index: a value that never changes once built.
//!
//! An endpoint has a position, a small number that stays its own while it is known; arrays addressed by it hold
//! what policies read. They are cut into chunks that successors share, so that one changed row costs one chunk
//! and a few copied arrays of numbers, however many endpoints there are. Statistics lie beside the endpoints and
//! survive into the next snapshot. Decides who is eligible by what the registry says (health and weight); what
//! this process has seen (ejection) is asked at the pick. Built off the request path; read by `balance`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::chunk::{Chunks, Member};
use super::columns::Columns;
use super::members::Members;
use crate::endpoint::{Aside, Clock, Ejection, Endpoint, EndpointStats, Gauge, Gauges, Replies};

/// Vacant positions that are always borne; beyond, a set that has shrunk to half is numbered anew.
const VACANT_MIN: usize = 64;

/// Holds the endpoints of one service at one index.
#[derive(Debug)]
pub struct Snapshot {
    service: Arc<str>,
    index: u64,
    generation: u64,
    chunks: Chunks,
    /// The positions, in the order of identities.
    order: Arc<[u32]>,
    /// Positions that nobody has, in order.
    vacant: Arc<[u32]>,
    columns: Columns,
    /// Positions of the eligible, in order. Empty when that is every position, so that the usual case costs no load.
    eligible: Box<[u32]>,
    eligible_len: u32,
    aside: Arc<Aside>,
    gauges: Gauges,
    replies: Arc<Replies>,
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
        let aside = Arc::new(Aside::new(ejection, clock));
        Self {
            service: service.into(),
            index: 0,
            generation: 0,
            chunks: Chunks::default(),
            order: Arc::default(),
            vacant: Arc::default(),
            columns: Columns::default(),
            eligible: Box::default(),
            eligible_len: 0,
            gauges: Gauges::new(&aside),
            aside,
            replies: Arc::default(),
        }
    }

    /// Builds the successor from all rows of an answer. An endpoint of the same id, node and address
    /// keeps its statistics; one that moved to another address is a new thing to dial and starts
    /// afresh. Of two rows with one identity the later wins.
    #[must_use]
    pub fn next(&self, rows: impl IntoIterator<Item = Endpoint>, index: u64) -> Self {
        let mut rows: Vec<Endpoint> = rows.into_iter().collect();
        // Stable, so "later" still means later in the answer.
        rows.sort_by(|a, b| a.identity().cmp(&b.identity()));
        let mut put = Vec::new();
        let mut gone = Vec::new();
        let mut old = self.order.iter().copied().peekable();
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            if rows.peek().is_some_and(|later| later.identity() == row.identity()) {
                continue;
            }
            while let Some(before) = old.next_if(|at| self.compare(*at, row.identity()).is_lt()) {
                gone.push(before);
            }
            let before = old.next_if(|at| self.compare(*at, row.identity()).is_eq());
            let same = before.and_then(|at| self.member(at as usize)).is_some_and(|member| *member.endpoint() == row);
            if !same {
                put.push((before, row));
            }
        }
        gone.extend(old);
        self.succeed(put, &gone, index)
    }

    /// Builds the successor from what changed: rows that came or differ, and identities (id and node) that left.
    /// Costs little beside [`Self::next`]: a chunk per changed row, and copies of arrays of numbers.
    #[must_use]
    pub fn changed(&self, put: impl IntoIterator<Item = Endpoint>, gone: &[(&str, &str)], index: u64) -> Self {
        let mut put: Vec<Endpoint> = put.into_iter().collect();
        put.sort_by(|a, b| a.identity().cmp(&b.identity()));
        put.reverse();
        // Of two with one identity the later one, which now stands before the earlier.
        put.dedup_by(|earlier, later| earlier.identity() == later.identity());
        put.reverse();
        let mut gone: Vec<u32> = gone.iter().filter_map(|identity| self.position(*identity)).collect();
        gone.sort_unstable();
        gone.dedup();
        let put: Vec<_> = put.into_iter().map(|row| (self.position(row.identity()), row)).collect();
        // Whoever is named on both sides stays.
        gone.retain(|at| put.iter().all(|(before, _)| *before != Some(*at)));
        self.succeed(put, &gone, index)
    }

    /// `put` is in the order of identities, with the position of whom each row replaces; nobody is named twice.
    fn succeed(&self, put: Vec<(Option<u32>, Endpoint)>, gone: &[u32], index: u64) -> Self {
        let mut chunks = self.chunks.clone();
        let mut gauges = self.gauges.clone();
        let mut columns = self.columns.draft();
        let mut vacant = self.vacant.to_vec();
        let mut come = Vec::new();
        for at in gone {
            chunks.set(*at as usize, None);
            columns.clear(*at as usize);
        }
        for (before, row) in put {
            let at = before.or_else(|| vacant.pop()).unwrap_or(columns.len() as u32);
            assert!(at < u32::MAX, "endpoints are numbered by 32 bits");
            let member = self.heir(before, row, &mut gauges);
            columns.set(at as usize, &member);
            if before.is_none() {
                come.push((at, Arc::clone(&member)));
            }
            chunks.set(at as usize, Some(member));
        }
        // Positions of those who left are given again only by the next snapshot: a position names one endpoint here.
        vacant.extend(gone);
        vacant.sort_unstable_by(|a, b| b.cmp(a));
        let order = self.reorder(&come, gone);
        if vacant.len() > VACANT_MIN && vacant.len() * 2 > columns.len() {
            // Most positions are nobody's: number everybody anew.
            let sparse = std::mem::take(&mut chunks);
            let nobody = Columns::default();
            let mut columns = nobody.draft();
            for (at, member) in order.iter().filter_map(|at| sparse.get(*at as usize)).enumerate() {
                chunks.set(at, Some(Arc::clone(member)));
                columns.set(at, member);
            }
            let order = (0..columns.len() as u32).collect();
            return self.successor(index, (chunks, gauges, columns.finish()), order, Vec::new());
        }
        self.successor(index, (chunks, gauges, columns.finish()), order, vacant)
    }

    fn successor(
        &self,
        index: u64,
        (chunks, gauges, columns): (Chunks, Gauges, Columns),
        order: Arc<[u32]>,
        vacant: Vec<u32>,
    ) -> Self {
        let weights = columns.weights();
        let eligible_len = weights.iter().filter(|weight| **weight > 0).count();
        let eligible = if eligible_len == weights.len() {
            Box::default()
        } else {
            (0u32..).zip(weights).filter(|(_, weight)| **weight > 0).map(|(at, _)| at).collect()
        };
        self.aside.set_eligible(eligible_len as u32);
        Self {
            service: Arc::clone(&self.service),
            index,
            generation: self.generation + 1,
            chunks,
            order,
            vacant: vacant.into(),
            columns,
            eligible,
            eligible_len: eligible_len as u32,
            aside: Arc::clone(&self.aside),
            gauges,
            replies: Arc::clone(&self.replies),
        }
    }

    /// Returns what `row` becomes, given who held its identity before.
    fn heir(&self, before: Option<u32>, row: Endpoint, gauges: &mut Gauges) -> Arc<Member> {
        let stats = match before.and_then(|at| self.member(at as usize)) {
            Some(before) if before.endpoint().authority() == row.authority() => Arc::clone(before.stats()),
            _ => Arc::new(EndpointStats::new(gauges)),
        };
        Member::new(row, stats)
    }

    /// Returns the order of identities without those who are gone and with those who come, who are sorted.
    fn reorder(&self, come: &[(u32, Arc<Member>)], gone: &[u32]) -> Arc<[u32]> {
        if come.is_empty() && gone.is_empty() {
            return Arc::clone(&self.order);
        }
        let mut order = Vec::with_capacity(self.order.len() + come.len());
        let mut rest = &*self.order;
        for (at, member) in come {
            let cut = rest.partition_point(|old| self.compare(*old, member.endpoint().identity()).is_lt());
            order.extend_from_slice(&rest[..cut]);
            order.push(*at);
            rest = &rest[cut..];
        }
        order.extend_from_slice(rest);
        if !gone.is_empty() {
            let mut leaves = vec![false; self.columns.weights().len()];
            gone.iter().for_each(|at| leaves[*at as usize] = true);
            // Whoever comes has a position of nobody's, which may lie beyond.
            order.retain(|at| !leaves.get(*at as usize).copied().unwrap_or(false));
        }
        order.into()
    }

    fn compare(&self, position: u32, identity: (&str, &str)) -> Ordering {
        let own = self.member(position as usize).map_or(("", ""), |member| member.endpoint().identity());
        own.cmp(&identity)
    }

    fn position(&self, identity: (&str, &str)) -> Option<u32> {
        let rank = self.order.binary_search_by(|at| self.compare(*at, identity)).ok()?;
        self.order.get(rank).copied()
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
    pub fn members(&self) -> Members<'_> {
        Members { snapshot: self }
    }

    /// Returns the endpoint at a position, if anybody has it.
    #[inline]
    #[must_use]
    pub fn member(&self, position: usize) -> Option<&Arc<Member>> {
        self.chunks.get(position)
    }

    /// Returns the positions at which something may be other than in an earlier snapshot of the service, others beside them
    /// included. Costs little where most rows are the same.
    pub(crate) fn changed_since<'a>(&'a self, then: &'a Self) -> impl Iterator<Item = usize> + 'a {
        self.chunks.changed_since(&then.chunks)
    }

    /// Finds an endpoint by its identity.
    #[must_use]
    pub fn find(&self, id: &str, node: &str) -> Option<&Arc<Member>> {
        self.position((id, node)).and_then(|position| self.member(position as usize))
    }

    /// Returns the statistics of the endpoint at `position`, if there is one.
    #[must_use]
    pub fn stats(&self, position: usize) -> Option<&EndpointStats> {
        self.member(position).map(|member| &**member.stats())
    }

    /// Returns what policies read of the endpoint at `position`, if there is one.
    #[inline]
    #[must_use]
    pub fn gauge(&self, position: usize) -> Option<&Gauge> {
        self.gauges.get(self.columns.cell(position)?)
    }

    /// Returns the weight that counts at each position: 0 for whoever is critical or drained, and where nobody is.
    #[inline]
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        self.columns.weights()
    }

    /// Returns the slot that the registry gave the endpoint at `position`, if it gave one.
    #[inline]
    #[must_use]
    pub fn slot(&self, position: usize) -> Option<u32> {
        self.columns.slot(position)
    }

    /// Returns the positions in the order of identities, on which all clients agree.
    #[must_use]
    pub fn order(&self) -> &[u32] {
        &self.order
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

    /// Returns the eligible endpoints with their positions, in the order of positions.
    pub fn eligible(&self) -> impl Iterator<Item = (u32, &Arc<Member>)> {
        (0..self.eligible_len).filter_map(|nth| {
            let position = self.eligible_at(nth);
            self.member(position).map(|member| (position as u32, member))
        })
    }

    /// Counts the eligible endpoints that are aside at this moment. Walks all of them.
    #[must_use]
    pub fn aside_len(&self) -> usize {
        if !self.aside.any() {
            return 0;
        }
        let now = self.aside.clock().coarse();
        self.eligible().filter(|(_, member)| member.stats().is_aside(now)).count()
    }

    /// Returns the UDP port for probes by position, 0 for none; empty when nobody has one.
    #[inline]
    #[must_use]
    pub fn probe_ports(&self) -> &[u16] {
        self.columns.ports()
    }

    /// Returns the position of an endpoint, if it is here.
    #[must_use]
    pub fn position_of(&self, endpoint: &Endpoint) -> Option<usize> {
        self.position(endpoint.identity()).map(|position| position as usize)
    }

    /// Returns what the endpoints said last of their load; carried from snapshot to snapshot.
    #[inline]
    #[must_use]
    pub fn replies(&self) -> &Arc<Replies> {
        &self.replies
    }

    /// Returns what the endpoints of this service share across snapshots.
    #[inline]
    #[must_use]
    pub fn aside(&self) -> &Arc<Aside> {
        &self.aside
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

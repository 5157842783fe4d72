//! Endpoints by position, in chunks that successive snapshots share.
//!
//! A chunk holds the members at 64 positions. Only a chunk in which something changed is copied. Used by `snapshot` alone.

use std::sync::Arc;

use crate::endpoint::{Endpoint, EndpointStats};

/// Positions per chunk; a power of two, so that finding one is a shift and a mask.
const CHUNK: usize = 64;

/// Joins an endpoint with its statistics: what a pick hands out.
#[derive(Debug)]
pub struct Member {
    endpoint: Endpoint,
    stats: Arc<EndpointStats>,
}

impl Member {
    pub(super) fn new(endpoint: Endpoint, stats: Arc<EndpointStats>) -> Arc<Self> {
        Arc::new(Self { endpoint, stats })
    }

    /// Returns the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns its statistics.
    #[inline]
    #[must_use]
    pub fn stats(&self) -> &Arc<EndpointStats> {
        &self.stats
    }
}

type Chunk = [Option<Arc<Member>>; CHUNK];

/// Holds members by position.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks(Vec<Arc<Chunk>>);

impl Chunks {
    #[inline]
    pub(super) fn get(&self, position: usize) -> Option<&Arc<Member>> {
        self.0.get(position / CHUNK)?[position % CHUNK].as_ref()
    }

    /// Returns the positions in chunks that are others than in `then`.
    pub(super) fn changed_since<'a>(&'a self, then: &'a Self) -> impl Iterator<Item = usize> + 'a {
        let same = |nth: usize| matches!((self.0.get(nth), then.0.get(nth)), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        let len = self.0.len().max(then.0.len());
        (0..len).filter(move |nth| !same(*nth)).flat_map(|nth| nth * CHUNK..(nth + 1) * CHUNK)
    }

    /// Sets or clears a position; one beyond the end makes room up to it.
    pub(super) fn set(&mut self, position: usize, member: Option<Arc<Member>>) {
        while self.0.len() <= position / CHUNK {
            self.0.push(Arc::new([const { None }; CHUNK]));
        }
        Arc::make_mut(&mut self.0[position / CHUNK])[position % CHUNK] = member;
    }
}

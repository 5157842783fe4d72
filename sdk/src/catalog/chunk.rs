//! Endpoints by position, in chunks that successive snapshots share.
//!
//! A chunk holds the members at 64 positions and, one hop nearer, their statistics: policies on load read two of
//! those a pick. Only a chunk in which something changed is copied. Used by `snapshot` alone.

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

#[derive(Clone, Debug)]
struct Chunk {
    stats: [Option<Arc<EndpointStats>>; CHUNK],
    members: [Option<Arc<Member>>; CHUNK],
}

/// Holds members by position.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks(Vec<Arc<Chunk>>);

impl Chunks {
    #[inline]
    pub(super) fn get(&self, position: usize) -> Option<&Arc<Member>> {
        self.0.get(position / CHUNK)?.members[position % CHUNK].as_ref()
    }

    #[inline]
    pub(super) fn stats(&self, position: usize) -> Option<&EndpointStats> {
        self.0.get(position / CHUNK)?.stats[position % CHUNK].as_deref()
    }

    /// Sets or clears a position; one beyond the end makes room up to it.
    pub(super) fn set(&mut self, position: usize, member: Option<Arc<Member>>) {
        while self.0.len() <= position / CHUNK {
            let nobody = Chunk { stats: [const { None }; CHUNK], members: [const { None }; CHUNK] };
            self.0.push(Arc::new(nobody));
        }
        let chunk = Arc::make_mut(&mut self.0[position / CHUNK]);
        chunk.stats[position % CHUNK] = member.as_ref().map(|member| Arc::clone(&member.stats));
        chunk.members[position % CHUNK] = member;
    }
}

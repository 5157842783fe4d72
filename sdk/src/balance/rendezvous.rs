//! Rendezvous hashing: every endpoint draws a number for the key, the best number wins (Thaler and Ravishankar 1998).
//!
//! Whoever leaves gives up its own keys and no others, and the endpoints of a key stand in an order: the next best
//! is the fall-back. It looks at everybody, so it is for few: beyond some 32 endpoints the others are quicker.
//!
//! Layout, equal in all processes and versions:
//! - An endpoint's own hash is XXH3-64, seed 0, over the bytes of its id, one zero byte, the bytes of its node.
//! - Its draw for a key is `mix(key ^ own)`, with `mix` of [`super::hash`], as a fraction `u` of 2^64.
//! - Of equal weights the highest draw wins. Of others the lowest `-log2(u) / weight` wins (Schindelhauer and Schomaker 2005), so that shares are as weights are. The logarithm
//!   is [`super::hash::log2`], in whole numbers: floating ones differ between machines. Of equals the earlier by id,
//!   then node, wins.

use std::sync::Arc;

use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};
use super::turns::Turns;
use crate::catalog::Member;
use crate::endpoint::Endpoint;

/// Draws a number for every endpoint.
#[derive(Debug)]
pub(super) struct Rendezvous {
    /// In the order of identities.
    nodes: Box<[Node]>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    own: u64,
    weight: u32,
    position: u32,
}

impl Rendezvous {
    /// Builds for a group, by identities.
    pub(super) fn new(group: &Group) -> Self {
        let node = |(position, weight, member): (_, _, &Arc<Member>)| Node {
            own: identity(member.endpoint()),
            weight,
            position,
        };
        Self { nodes: group.ordered().map(node).collect() }
    }

    /// Returns the position of the best one that `allows` lets through.
    #[inline]
    fn best(&self, key: u64, allows: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(Node, u64)> = None;
        for node in &self.nodes {
            let draw = hash::mix(key ^ node.own);
            let wins = match best {
                None => true,
                Some((holder, held)) => hash::outdraws((draw, node.weight), (held, holder.weight)),
            };
            if wins && allows(node.position as usize) {
                best = Some((*node, draw));
            }
        }
        best.map(|(node, _)| node.position as usize)
    }
}

/// Hashes who an endpoint is, wherever it listens.
pub(super) fn identity(endpoint: &Endpoint) -> u64 {
    let (id, node) = endpoint.identity();
    let mut bytes = Vec::with_capacity(id.len() + node.len() + 1);
    bytes.extend_from_slice(id.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(node.as_bytes());
    hash::key(&bytes)
}

impl Picker for Rendezvous {
    #[inline]
    fn pick_open(&self, _: &Group, hash: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        self.best(hash.unwrap_or_else(|| turns.random()), |_| true)
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let key = ask.hashed().unwrap_or_else(|| worker.random());
        self.best(key, |position| worker.allows(group, ask, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Snapshot;

    fn rendezvous(weights: &[u32]) -> Rendezvous {
        let rows = weights.iter().enumerate().map(|(n, weight)| {
            Endpoint::new(&format!("web-{n}"), &format!("10.0.0.{n}"), 80).on_node("n").weighted(*weight, 1)
        });
        Rendezvous::new(&Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1))))
    }

    /// Owners of `key-0`, `key-1` and so on, as digits.
    fn owners(rendezvous: &Rendezvous, keys: usize) -> String {
        let owner = |n| rendezvous.best(hash::key(format!("key-{n}").as_bytes()), |_| true);
        (0..keys).filter_map(owner).map(|position| char::from(b'0' + position as u8)).collect()
    }

    // From a second implementation, in another language, of the layout above.
    #[test]
    fn golden_owners() {
        assert_eq!(owners(&rendezvous(&[1; 9]), 40), GOLDEN_EQUAL);
        assert_eq!(owners(&rendezvous(&[1, 2, 3, 10, 1]), 40), GOLDEN_WEIGHTED);
    }

    const GOLDEN_EQUAL: &str = "7387456251318553822478462836770683824878";
    const GOLDEN_WEIGHTED: &str = "3333233231332223322304342333332333333333";

    #[test]
    fn the_next_best_falls_in() {
        let nine = rendezvous(&[1; 9]);
        for number in 0..1000 {
            let key = hash::mix(number);
            let mut left: Vec<usize> = (0..9).collect();
            let mut draws: Vec<(u64, usize)> =
                nine.nodes.iter().map(|node| (hash::mix(key ^ node.own), node.position as usize)).collect();
            draws.sort_unstable_by(|a, b| b.cmp(a));
            for (_, due) in draws {
                assert_eq!(nine.best(key, |position| left.contains(&position)), Some(due));
                left.retain(|position| *position != due);
            }
        }
    }

    #[test]
    fn equal_weights_mean_the_same_whatever_their_size() {
        assert_eq!(owners(&rendezvous(&[1; 7]), 500), owners(&rendezvous(&[300; 7]), 500));
        let (equal, nearly) = (rendezvous(&[300; 7]), rendezvous(&[300, 300, 300, 300, 300, 300, 299]));
        let (equal, nearly) = (owners(&equal, 500), owners(&nearly, 500));
        assert!(equal.chars().zip(nearly.chars()).filter(|(a, b)| a != b).count() < 5);
    }
}

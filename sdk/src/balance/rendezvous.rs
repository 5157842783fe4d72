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
//!
//! When the set changes the rows that did are edited into a copy: hashing everybody's identity takes longer.

use std::sync::Arc;

use super::group::Group;
use super::hash;
use super::picker::{Ask, Follower, Picker, Worker};
use super::sleepers::changed_rows;
use super::turns::Turns;
use crate::catalog::Member;
use crate::endpoint::Endpoint;

/// Rows that are edited into a copy; of more everybody is hashed anew.
const CHANGES_MAX: usize = 16;

/// Draws a number for every endpoint.
#[derive(Debug)]
pub(super) struct Rendezvous {
    /// In the order of identities.
    nodes: Box<[Node]>,
    /// Whether it is built anew in any case, because another policy may be due for the next set.
    stands_in: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    own: u64,
    weight: u32,
    position: u32,
}

impl Node {
    fn new(position: u32, weight: u32, endpoint: &Endpoint) -> Self {
        Self { own: identity(endpoint), weight, position }
    }
}

impl Rendezvous {
    /// Builds for a group, by identities.
    pub(super) fn new(group: &Group) -> Self {
        let node = |(position, weight, member): (_, _, &Arc<Member>)| Node::new(position, weight, member.endpoint());
        Self { nodes: group.ordered().map(node).collect(), stands_in: false }
    }

    /// Builds one that serves for another policy, for this group alone.
    pub(super) fn standing_in(group: &Group) -> Self {
        Self { stands_in: true, ..Self::new(group) }
    }

    /// Edits what changed into a copy; none for a choice of its own, and where so much has that building anew is as quick.
    fn edited(&self, before: &Group, now: &Group) -> Option<Self> {
        let changed = changed_rows(before, now);
        if self.stands_in || !before.is_whole() || !now.is_whole() || changed.len() > CHANGES_MAX {
            return None;
        }
        let identity =
            |position: u32| now.snapshot().member(position as usize).map(|member| member.endpoint().identity());
        let mut nodes = Vec::with_capacity(self.nodes.len() + changed.len());
        nodes.extend(self.nodes.iter().filter(|node| !changed.contains(&(node.position as usize))));
        for position in changed {
            let weight = now.weight_at(position);
            let Some(member) = now.snapshot().member(position).filter(|_| weight > 0) else { continue };
            let own = member.endpoint().identity();
            let at = nodes.partition_point(|node: &Node| identity(node.position) < Some(own));
            nodes.insert(at, Node::new(position as u32, weight, member.endpoint()));
        }
        Some(Self { nodes: nodes.into(), stands_in: false }).filter(|edited| !edited.nodes.is_empty())
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

    fn follow(&self, before: &Group, now: &Group) -> Option<Follower> {
        self.edited(before, now).map(Follower::lasting)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn what_is_edited_is_what_is_built_anew(
            weights in proptest::collection::vec(0u32..3, 1..40),
            events in proptest::collection::vec((0usize..50, 0u32..4, any::<bool>()), 1..20),
        ) {
            let row = |n: usize, weight| Endpoint::new(&format!("{n:02}"), "10.0.0.1", n as u16).weighted(weight, 1);
            let rows = weights.iter().enumerate().map(|(n, weight)| row(n, *weight));
            let mut before = Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1)));
            let mut rendezvous = Rendezvous::new(&before);
            for (n, weight, leaves) in events {
                let id = format!("{n:02}");
                let now = Group::whole(Arc::new(match leaves {
                    true => before.snapshot().changed([], &[(&id, "")], 2),
                    false => before.snapshot().changed([row(n, weight)], &[], 2),
                }));
                let anew = Rendezvous::new(&now);
                let edited = rendezvous.edited(&before, &now);
                prop_assert_eq!(edited.is_none(), now.is_empty());
                prop_assert_eq!(edited.map_or([].into(), |edited| edited.nodes), anew.nodes.clone());
                (rendezvous, before) = (anew, now);
            }
        }
    }
}

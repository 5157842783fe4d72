//! When enough clients set an endpoint aside that all should, and what a client says of its own experience.
//!
//! A vote is a key: which endpoint, which client. Whoever holds the vote's session alone can keep it there; besides, a
//! vote that stands for too long counts no more. A client that finds fault with most endpoints is more likely at fault
//! itself and says nothing. No number of votes takes away more than a stated share of a service.
//! Pure; called by `company`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Holds the settings of shared ejection. All clients of a service should have the same.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedEjection {
    /// So many clients must agree at least.
    pub reporters_min: u32,
    /// And so many of the clients that call the endpoint, in percent.
    pub reporters_share: u32,
    /// At most so many of the eligible endpoints are set aside for all, in percent; below one, none.
    pub share_max: u32,
    /// How long a vote counts.
    pub vote_max: Duration,
    /// On how many endpoints of a service this client votes at once.
    pub votes_max: usize,
}

impl Default for SharedEjection {
    fn default() -> Self {
        Self { reporters_min: 2, reporters_share: 20, share_max: 20, vote_max: Duration::from_secs(300), votes_max: 16 }
    }
}

impl SharedEjection {
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, reason: &str| Err((field, reason.to_owned()));
        if self.reporters_min < 2 {
            return wrong("shared_ejection.reporters_min", "must be at least 2: one client alone decides for itself");
        }
        if self.reporters_share > 100 {
            return wrong("shared_ejection.reporters_share", "is a percentage: at most 100");
        }
        if self.share_max > 50 {
            return wrong("shared_ejection.share_max", "must be at most 50 percent");
        }
        if self.vote_max.is_zero() {
            return wrong("shared_ejection.vote_max", "must be more than 0");
        }
        Ok(())
    }
}

/// A vote: the endpoint it speaks against, and who cast it.
pub(super) type Vote = (String, String);

/// Remembers the votes that stand.
#[derive(Debug, Default)]
pub(super) struct Votes {
    /// When each was first seen, in milliseconds.
    since: BTreeMap<Vote, u64>,
}

/// What a verdict is measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Electorate {
    /// Clients that call a given endpoint.
    pub(super) clients: u32,
    /// Eligible endpoints.
    pub(super) eligible: u32,
}

impl Votes {
    /// Takes in all votes that stand.
    pub(super) fn see(&mut self, votes: BTreeSet<Vote>, now: u64) {
        let since = votes.into_iter().map(|vote| {
            let first = self.since.get(&vote).copied().unwrap_or(now);
            (vote, first)
        });
        self.since = since.collect();
    }

    /// Returns the endpoints to be set aside for all.
    pub(super) fn verdict(&self, rule: &SharedEjection, of: Electorate, now: u64) -> BTreeSet<String> {
        let vote_max = rule.vote_max.as_millis() as u64;
        let mut reporters: BTreeMap<&str, u32> = BTreeMap::new();
        for ((endpoint, _), _) in self.since.iter().filter(|(_, since)| now.saturating_sub(**since) < vote_max) {
            *reporters.entry(endpoint).or_default() += 1;
        }
        let share = (u64::from(of.clients) * u64::from(rule.reporters_share)).div_ceil(100);
        let needed = share.max(u64::from(rule.reporters_min));
        let mut agreed: Vec<(u32, &str)> = reporters
            .into_iter()
            .filter(|(_, count)| u64::from(*count) >= needed)
            .map(|(endpoint, count)| (count, endpoint))
            .collect();
        // Most reporters first, then by name, so that all clients leave out the same where there is no room for all.
        agreed.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let room = u64::from(of.eligible) * u64::from(rule.share_max) / 100;
        agreed.into_iter().take(room as usize).map(|(_, endpoint)| endpoint.to_owned()).collect()
    }
}

/// Says which votes to cast and which to take back, given those that stand and whom this client set aside by what it
/// saw itself.
pub(super) fn ballot(
    rule: &SharedEjection,
    cast: &BTreeSet<String>,
    aside: &BTreeSet<String>,
    eligible: u32,
) -> (Vec<String>, Vec<String>) {
    let back: Vec<String> = cast.difference(aside).cloned().collect();
    if aside.len() * 2 > eligible as usize {
        return (Vec::new(), back);
    }
    let room = rule.votes_max.saturating_sub(cast.len() - back.len());
    (aside.difference(cast).take(room).cloned().collect(), back)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn votes(pairs: &[(&str, &[u32])]) -> BTreeSet<Vote> {
        let vote = |(endpoint, clients): &(&str, &[u32])| -> Vec<Vote> {
            clients.iter().map(|client| ((*endpoint).to_owned(), client.to_string())).collect()
        };
        pairs.iter().flat_map(vote).collect()
    }

    fn verdict(votes: &Votes, clients: u32, eligible: u32, now: u64) -> Vec<String> {
        let of = Electorate { clients, eligible };
        votes.verdict(&SharedEjection::default(), of, now).into_iter().collect()
    }

    #[test]
    fn a_quorum_is_two_or_a_share() {
        let mut all = Votes::default();
        all.see(votes(&[("a", &[1, 2]), ("b", &[1])]), 0);
        assert_eq!(verdict(&all, 3, 10, 0), ["a"]);
        assert!(verdict(&all, 100, 10, 0).is_empty(), "2 of 100 are no quorum");
        all.see(votes(&[("a", &[1, 2]), ("b", &[1, 2, 3])]), 0);
        assert_eq!(verdict(&all, 3, 5, 0), ["b"], "room for one of five: the one with more reporters");
        assert!(verdict(&all, 3, 4, 0).is_empty(), "20 % of four is nobody");
    }

    #[test]
    fn a_vote_runs_out_but_is_not_renewed_by_being_seen_again() {
        let mut all = Votes::default();
        all.see(votes(&[("a", &[1, 2])]), 0);
        all.see(votes(&[("a", &[1, 2])]), 200_000);
        assert_eq!(verdict(&all, 2, 10, 299_999), ["a"]);
        assert!(verdict(&all, 2, 10, 300_000).is_empty());
        all.see(BTreeSet::new(), 300_000);
        all.see(votes(&[("a", &[1, 2])]), 300_001);
        assert_eq!(verdict(&all, 2, 10, 300_002), ["a"], "taken back and cast anew");
    }

    #[test]
    fn who_finds_fault_with_most_says_nothing_new() {
        let rule = SharedEjection { votes_max: 2, ..SharedEjection::default() };
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        assert_eq!(ballot(&rule, &set(&[]), &set(&["a", "b", "c"]), 10), (vec!["a".into(), "b".into()], vec![]));
        assert_eq!(ballot(&rule, &set(&["a", "x"]), &set(&["a", "b"]), 10), (vec!["b".into()], vec!["x".into()]));
        assert_eq!(ballot(&rule, &set(&["x"]), &set(&["a", "b", "c"]), 5), (vec![], vec!["x".into()]));
    }

    proptest! {
        /// Whatever the votes are, the cap holds, and nobody goes without a quorum.
        #[test]
        fn the_cap_is_hard(pairs in proptest::collection::btree_set((0u8..30, 0u8..30), 0..200), clients in 0u32..60, eligible in 0u32..60, share_max in 0u32..=50) {
            let rule = SharedEjection { share_max, ..SharedEjection::default() };
            let cast: BTreeSet<Vote> = pairs.iter().map(|(endpoint, client)| (endpoint.to_string(), client.to_string())).collect();
            let mut all = Votes::default();
            all.see(cast, 7);
            let found = all.verdict(&rule, Electorate { clients, eligible }, 8);
            prop_assert!(found.len() as u32 * 100 <= eligible * share_max);
            for endpoint in found {
                let reporters = pairs.iter().filter(|(named, _)| named.to_string() == endpoint).count() as u32;
                prop_assert!(reporters >= 2 && reporters * 100 >= clients * 20);
            }
        }
    }
}

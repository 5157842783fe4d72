//! Prequal: whoever said lately that it is not busy and fast (Wydrowski et al., NSDI 2024).
//!
//! The rule and the replies are [`crate::endpoint::Replies`]; this file says among whom they may choose, and what
//! happens without them. Endpoints that advertise no port for probes ("silent") would never be chosen by replies: they
//! get the share of calls that their weights are of all, by peak EWMA, among themselves. The others
//! are chosen by replies, and while there are fewer than two, by the same policy. Also: whom a prober may probe, and
//! how a report of load that came with a response finds its way into the pool. When to probe is decided in `load`.

use std::sync::Arc;

use super::group::Group;
use super::peak_ewma::PeakEwma;
use super::picker::{Ask, Picker, Worker};
use super::random::Draw;
use super::turns::Turns;
use super::{Balancer, Picked, Policy};
use crate::catalog::Snapshot;
use crate::endpoint::{Endpoint, Load};

/// Builds the policy that is fallen back to.
fn fallback(group: &Group) -> PeakEwma {
    PeakEwma::new(group)
}

/// Chooses by replies to probes.
pub(super) struct Prequal {
    /// By position, one bit each: who may be chosen by replies. None: everybody who is eligible.
    members: Option<Box<[u64]>>,
    /// For want of replies, among those who could give them. Without a group of its own: among all.
    otherwise: Side,
    silent: Option<Silent>,
}

/// Those who advertise no port, and how often one of them is called.
struct Silent {
    side: Side,
    /// In units of 2^-32 of all calls.
    share: u32,
}

/// A policy over a part of the group.
struct Side {
    group: Option<Group>,
    picker: PeakEwma,
}

impl Prequal {
    /// Builds for a group that has somebody; without anybody to probe it is the policy fallen back to.
    pub(super) fn build(group: &Group) -> Option<Box<dyn Picker>> {
        let snapshot = group.snapshot();
        let ports = snapshot.probe_ports();
        let probed = |(position, _): &(u32, u32)| ports.get(*position as usize).is_some_and(|port| *port != 0);
        let (loud, silent): (Vec<_>, Vec<_>) = match ports {
            [] => return Some(Box::new(fallback(group))),
            _ => group.weighted().partition(probed),
        };
        if loud.is_empty() {
            return Some(Box::new(fallback(group)));
        }
        let whole = loud.len() == snapshot.eligible_len() as usize;
        let members = (!whole).then(|| {
            let mut bits = vec![0u64; ports.len().div_ceil(64)];
            for (position, _) in &loud {
                bits[*position as usize / 64] |= 1 << (position % 64);
            }
            bits.into()
        });
        if silent.is_empty() {
            let otherwise = Side { group: None, picker: fallback(group) };
            return Some(Box::new(Self { members, otherwise, silent: None }));
        }
        let weight = |part: &[(u32, u32)]| part.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>();
        let (quiet, all) = (weight(&silent), weight(&silent) + weight(&loud));
        let share = (u128::from(quiet) << 32) / u128::from(all);
        let side = |part| {
            let group = Group::part(Arc::clone(snapshot), part);
            Side { picker: fallback(&group), group: Some(group) }
        };
        let silent = Silent { side: side(silent), share: u32::try_from(share).unwrap_or(u32::MAX) };
        Some(Box::new(Self { members, otherwise: side(loud), silent: Some(silent) }))
    }

    #[inline]
    fn choose(
        &self,
        group: &Group,
        turns: Turns<'_>,
        allows: impl Fn(usize) -> bool,
        pick: impl Fn(&Side) -> Option<usize>,
    ) -> Option<usize> {
        if let Some(silent) = &self.silent
            && ((turns.random() >> 32) as u32) < silent.share
            && let Some(position) = pick(&silent.side)
        {
            return Some(position);
        }
        let snapshot = group.snapshot();
        let now = snapshot.aside().clock().coarse();
        let allows = |position| self.holds(snapshot, position) && allows(position);
        if let Some(position) = snapshot.replies().take(now, allows) {
            return Some(position);
        }
        // A call may have tried all who answer probes.
        pick(&self.otherwise).or_else(|| self.silent.as_ref().and_then(|silent| pick(&silent.side)))
    }

    #[inline]
    fn holds(&self, snapshot: &Snapshot, position: usize) -> bool {
        match &self.members {
            None => snapshot.weights().get(position).is_some_and(|weight| *weight > 0),
            Some(bits) => bits.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 != 0),
        }
    }
}

impl Side {
    fn group<'a>(&'a self, whole: &'a Group) -> &'a Group {
        self.group.as_ref().unwrap_or(whole)
    }
}

impl Picker for Prequal {
    #[inline]
    fn pick_open(&self, group: &Group, hash: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        let side = |side: &Side| side.picker.pick_open(side.group(group), hash, turns);
        self.choose(group, turns, |_| true, side)
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let worker = *worker;
        let side = |side: &Side| side.picker.pick(side.group(group), ask, &mut { worker });
        self.choose(group, worker.turns(), |position| worker.allows(group, ask, position), side)
    }
}

/// Draws whom to probe, by weight, among those a balancer chooses from; for one snapshot.
pub struct Targets {
    group: Group,
    draw: Draw,
}

impl Targets {
    /// Draws a position and the port its endpoint listens on for probes; none when it was one without.
    #[must_use]
    pub fn draw(&self, random: u64) -> Option<(usize, u16)> {
        let position = self.draw.draw(&self.group, random);
        self.group.snapshot().probe_ports().get(position).filter(|port| **port != 0).map(|port| (position, *port))
    }

    /// Returns the snapshot whose positions are drawn.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        self.group.snapshot()
    }
}

impl Balancer {
    /// Returns whom to probe at present: none when the policy wants no replies, or nobody gives any.
    #[must_use]
    pub fn targets(&self) -> Option<Targets> {
        let Policy::Prequal { .. } = self.policy() else { return None };
        let current = self.shared.current.load();
        let group = current.layout.as_ref()?.group();
        let ports = group.snapshot().probe_ports();
        let probed = (0..group.len()).any(|nth| ports.get(group.at(nth)).is_some_and(|port| *port != 0));
        probed.then(|| Targets { draw: Draw::weighted(&group), group })
    }

    /// Takes note of the load that a server reported with its response.
    pub fn note_load(&self, picked: &Picked, load: Load) {
        let stats = picked.stats();
        let now = stats.clock().exact();
        let current = self.shared.current.load();
        let replies = current.snapshot.replies();
        let probed =
            |endpoint: &Endpoint| matches!(self.policy(), Policy::Prequal { .. }) && endpoint.probe_port().is_some();
        match current.snapshot.position_of(picked.endpoint()) {
            Some(position) if probed(picked.endpoint()) => replies.note(position, stats, load, now),
            _ => stats.note_report(load, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use super::*;
    use crate::endpoint::{Clock, Ejection, Outcome};

    /// `loud` endpoints that answer probes, then `silent` ones that do not.
    fn balancer(loud: usize, silent: usize) -> (Balancer, Clock) {
        let clock = Clock::manual();
        let rows = (0..loud + silent)
            .map(|n| Endpoint::new(&format!("web-{n:02}"), "10.0.0.1", 80).probed_on(if n < loud { 4000 } else { 0 }));
        let empty = Snapshot::empty_with("web", Ejection::default(), clock.clone());
        (Balancer::with_seed(Policy::PREQUAL, Arc::new(empty.next(rows, 1)), 7), clock)
    }

    fn note(balancer: &Balancer, position: usize, in_flight: u32, latency: u32) {
        let snapshot = balancer.snapshot();
        let now = snapshot.aside().clock().exact();
        let stats = snapshot.stats(position).unwrap();
        snapshot.replies().note(position, stats, Load { in_flight, latency }, now);
    }

    fn counts(balancer: &Balancer, picks: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            let id = balancer.choose(&Ask::any(), |member| member.endpoint().id().to_owned()).unwrap();
            *counts.entry(id).or_default() += 1;
        }
        counts
    }

    #[test]
    fn replies_choose_while_they_are_fresh_and_in_flight_chooses_without() {
        let (balancer, clock) = balancer(4, 0);
        assert_eq!(counts(&balancer, 400).len(), 4, "nobody has said anything yet");
        (0..4).for_each(|position| note(&balancer, position, 2, if position == 2 { 500 } else { 5_000 }));
        assert!(counts(&balancer, 1).contains_key("web-02"));
        clock.advance(Duration::from_millis(1100));
        assert_eq!(counts(&balancer, 400).len(), 4);
    }

    #[test]
    fn the_silent_get_their_share() {
        let (balancer, _clock) = balancer(6, 2);
        let mut silent = 0;
        for _ in 0..1000 {
            (0..6).for_each(|position| note(&balancer, position, 1, 1_000));
            let counts = counts(&balancer, 4);
            silent += counts.iter().filter(|(id, _)| id.as_str() > "web-05").map(|(_, count)| count).sum::<usize>();
        }
        assert!((900..1100).contains(&silent), "{silent} of 4000 for two of eight");
    }

    #[test]
    fn aside_and_tried_ones_are_left_out_whatever_they_say() {
        let (balancer, _clock) = balancer(4, 0);
        let snapshot = balancer.snapshot();
        snapshot.stats(0).unwrap().record(Outcome::ConnectFailed);
        let tried = [snapshot.stats(1).unwrap().key()];
        for _ in 0..50 {
            (0..4).for_each(|position| note(&balancer, position, 1, 100 * (1 + position as u32)));
            let picked = balancer.pick(&Ask::any().without(&tried)).unwrap();
            assert!(["web-02", "web-03"].contains(&picked.endpoint().id()), "{picked:?}");
        }
    }

    #[test]
    fn a_drained_endpoint_is_not_chosen_by_its_last_reply() {
        let (balancer, _clock) = balancer(3, 0);
        (0..3).for_each(|position| note(&balancer, position, 1, if position == 1 { 10 } else { 1_000 }));
        let drained = Endpoint::new("web-01", "10.0.0.1", 80).probed_on(4000).weighted(0, 0);
        let next = balancer.snapshot().changed([drained], &[], 2);
        balancer.publish(Arc::new(next));
        assert!(!counts(&balancer, 100).contains_key("web-01"));
    }

    #[test]
    fn a_report_with_a_response_is_a_reply() {
        let (balancer, clock) = balancer(3, 1);
        let picked = balancer.pick(&Ask::any()).unwrap();
        balancer.note_load(&picked, Load { in_flight: 7, latency: 1_000 });
        let report = picked.stats().report(clock.coarse()).unwrap();
        assert_eq!(report.load.in_flight, 7);
        let probed = usize::from(picked.endpoint().probe_port().is_some());
        assert_eq!(balancer.snapshot().replies().len(clock.coarse()), probed);
    }

    #[test]
    fn whom_to_probe_is_drawn_among_those_who_answer() {
        let (balancer, _clock) = balancer(2, 2);
        let targets = balancer.targets().unwrap();
        let drawn: Vec<_> = (0..200u64).filter_map(|n| targets.draw(super::super::hash::mix(n))).collect();
        assert!(drawn.len() > 60 && drawn.iter().all(|(position, port)| *position < 2 && *port == 4000));
        assert!(self::balancer(0, 3).0.targets().is_none());
    }

    #[test]
    fn users_pickers_may_be_asked_by_hand() {
        let (balancer, _clock) = balancer(3, 0);
        let group = Group::whole(balancer.snapshot());
        let picker = Policy::PREQUAL.build(&group, 1).unwrap();
        let turns = AtomicU64::new(0);
        let mut worker = Worker::new(&turns, &group, &Ask::any());
        assert!(picker.pick(&group, &Ask::any(), &mut worker).is_some());
    }
}

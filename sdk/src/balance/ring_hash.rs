//! Consistent hashing on a ring, as nginx lays it out and as Envoy does, bit for bit.
//!
//! nginx's ketama. Each eligible endpoint of weight w puts `points × w` points (160 in nginx) on a ring of
//! 32 bits. Point j of `host:port` is CRC-32 over the bytes of `host`, one zero byte, the digits of
//! `port`, and the four bytes of point j−1, lowest first (zero before the first). A key belongs to
//! the first point at or above the low 32 bits of its hash, and past the last point to the first.
//! Of two points with one hash that of the endpoint that is earlier by id, then node, comes first.
//!
//! Envoy's ring of 64 bits. Point j of `host:port` is XXH64, seed 0, over those bytes, `_` and the digits of j. The
//! lightest endpoint has a whole number of points, the least with which the ring has `points_min`; the others have as
//! many as their share says, counted along the order of id and node. A key belongs to the first point at or above its
//! hash. Laid out by id instead of address it is what hashing over slots falls back to.

use std::sync::Arc;

use super::group::Group;
use super::hash;
use super::picker::{Ask, Follower, Picker, Worker};
use super::ring::{Ring, sort_spread};
use super::sleepers::{Laid, Sleepers};
use crate::endpoint::Endpoint;

/// Points on a ring at most: 1.6 GB of them. Beyond, every endpoint's points shrink alike.
const POINTS_MAX: u64 = 1 << 26;
/// Points looked at beyond the key's own, in search of an endpoint that is not left out.
const WALK_MAX: usize = 512;
/// Points per endpoint of a ring by id; balance and disruption as nginx's ring has them.
const POINTS_BY_ID: u64 = 160;

/// Looks keys up on a ring.
#[derive(Debug)]
pub(super) struct RingHash {
    ring: Arc<Ring>,
    /// What brings an ask's hash to the width of the ring: 32 for the narrow one, else 0.
    shift: u32,
    /// Whom the ring was laid out for, if everybody's points are where they are whoever else is there.
    laid: Option<Laid>,
    sleepers: Sleepers,
}

impl RingHash {
    /// Builds nginx's ring with `points` per unit of weight; `None` when nobody is there.
    pub(super) fn ketama(group: &Group, points: u32) -> Option<Self> {
        let full = |weight: u32| u64::from(weight) * u64::from(points.max(1));
        let wanted: u64 = group.weighted().map(|(_, weight)| full(weight)).sum();
        let mut words = Vec::with_capacity(wanted.min(POINTS_MAX) as usize);
        let mut positions = Vec::with_capacity(group.len() as usize);
        for (rank, (position, weight, member)) in (0u64..).zip(group.ordered()) {
            let share = if wanted <= POINTS_MAX {
                full(weight)
            } else {
                (u128::from(full(weight)) * u128::from(POINTS_MAX) / u128::from(wanted)).max(1) as u64
            };
            let base = base(member.endpoint().host(), member.endpoint().port());
            let mut hash = 0;
            for _ in 0..share {
                hash = !hash::update_word(base, hash);
                words.push(u64::from(hash) << 32 | rank);
            }
            positions.push(position);
        }
        let mut words = sort_spread(words);
        // Ranks decided who comes first at one place; from here on positions are what is wanted.
        for word in &mut words {
            *word = *word >> 32 << 32 | u64::from(positions[*word as u32 as usize]);
        }
        let laid = if wanted <= POINTS_MAX { Laid::of(group) } else { None };
        let ring = Arc::new(Ring::narrow(words)?);
        Some(Self { ring, shift: 32, laid, sleepers: Sleepers::default() })
    }

    /// Builds Envoy's ring; `None` when nobody is there.
    pub(super) fn envoy(group: &Group, points_min: u32, points_max: u32) -> Option<Self> {
        let address = |endpoint: &Endpoint| endpoint.authority().as_bytes().to_vec();
        Self::shares(group, points_min.into(), u64::from(points_max).min(POINTS_MAX), address)
    }

    /// Builds Envoy's ring by id and node, with a zero byte between; `None` when nobody is there.
    pub(super) fn by_id(group: &Group) -> Option<Self> {
        let wanted = u64::from(group.len()) * POINTS_BY_ID;
        Self::shares(group, wanted, POINTS_MAX, |endpoint| {
            let (id, node) = endpoint.identity();
            [id.as_bytes(), &[0], node.as_bytes()].concat()
        })
    }

    fn shares(group: &Group, least: u64, most: u64, name: impl Fn(&Endpoint) -> Vec<u8>) -> Option<Self> {
        let total: u64 = group.weighted().map(|(_, weight)| u64::from(weight)).sum();
        let share = |weight: u32| f64::from(weight) / total as f64;
        let lightest = group.weighted().map(|(_, weight)| share(weight)).reduce(f64::min)?;
        let scale = ((lightest * least as f64).ceil() / lightest).min(most as f64);
        let mut points = Vec::with_capacity(scale.ceil() as usize);
        // Running sums of numbers that are not whole, in Envoy's order, so that its roundings are ours.
        let (mut set, mut due) = (0.0, 0.0);
        for (position, weight, member) in group.ordered() {
            let mut text = name(member.endpoint());
            text.push(b'_');
            let len = text.len();
            due += scale * share(weight);
            let mut number = 0u64;
            while set < due {
                text.truncate(len);
                push_digits(&mut text, number);
                points.push((hash::xx64(&text), position));
                number += 1;
                set += 1.0;
            }
        }
        // Stable: of two equal points the earlier endpoint's comes first.
        points.sort_by_key(|(hash, _)| *hash);
        // How many points somebody has hangs on who else is there.
        let ring = Arc::new(Ring::wide(points)?);
        Some(Self { ring, shift: 0, laid: None, sleepers: Sleepers::default() })
    }
}

impl Picker for RingHash {
    #[inline]
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        // A call without a key has no home; any will do.
        let hash = ask.hashed().unwrap_or_else(|| worker.random());
        let key = hash << self.shift;
        if worker.is_open() {
            let owner = self.ring.owner(key) as usize;
            if !self.sleepers.has(owner) {
                return Some(owner);
            }
        }
        self.onward(key, group, ask, worker)
    }

    fn follow(&self, _: &Group, now: &Group) -> Option<Follower> {
        let (laid, sleepers) = self.laid.as_ref()?.follow(&self.sleepers, now)?;
        let ring = Arc::clone(&self.ring);
        Some(Follower::lasting(Self { ring, shift: self.shift, laid: Some(laid), sleepers }))
    }
}

impl RingHash {
    /// Looks onward round the ring: a left-out endpoint's keys spread over all, not onto one neighbour.
    #[inline(never)]
    fn onward(&self, key: u64, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let onward = self.ring.walk(key).map(|owner| owner as usize);
        let onward = onward.filter(|position| !self.sleepers.has(*position)).take(WALK_MAX);
        let mut allowed = onward.filter(|position| worker.allows(group, ask, *position));
        allowed.next().or_else(|| {
            let start = hash::below((key >> self.shift) as u32, group.len());
            worker.first_allowed(group, ask, start)
        })
    }
}

/// Returns the CRC state after `host`, zero, `port`: what all points of an endpoint begin from.
fn base(host: &str, port: u16) -> u32 {
    let state = hash::update(!0, host.as_bytes());
    let state = hash::update(state, &[0]);
    hash::update(state, port.to_string().as_bytes())
}

fn push_digits(text: &mut Vec<u8>, mut number: u64) {
    let begin = text.len();
    loop {
        text.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text[begin..].reverse();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use proptest::prelude::*;

    use super::*;
    use crate::balance::{Balancer, Policy};
    use crate::catalog::Snapshot;
    use crate::endpoint::Outcome;

    /// Ids are chosen so that their order is that of the list, as nginx's is that of its file.
    fn group(authorities: &[&str], weight: impl Fn(usize) -> u32) -> Group {
        let rows = authorities.iter().enumerate().map(|(n, authority)| {
            let (host, port) = authority.rsplit_once(':').unwrap();
            Endpoint::new(&format!("{n:03}"), host, port.parse().unwrap()).weighted(weight(n), 1)
        });
        Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1)))
    }

    fn nine(weight: impl Fn(usize) -> u32) -> Group {
        let nine: Vec<String> = (1..=9).map(|n| format!("10.0.0.{n}:443")).collect();
        group(&nine.iter().map(String::as_str).collect::<Vec<_>>(), weight)
    }

    fn ketama(group: &Group) -> RingHash {
        RingHash::ketama(group, 160).unwrap()
    }

    fn envoy(group: &Group) -> RingHash {
        RingHash::envoy(group, 1024, 8 << 20).unwrap()
    }

    /// How many points, and CRC-32 over all in order, each as hash (32 bits of a narrow one) and position, lowest byte first.
    fn digest(ring: &RingHash) -> (usize, u32) {
        let width = if ring.shift == 0 { 8 } else { 4 };
        let bytes =
            |(hash, owner): (u64, u32)| [&(hash >> ring.shift).to_le_bytes()[..width], &owner.to_le_bytes()].concat();
        (ring.ring.all().count(), hash::crc32(&ring.ring.all().flat_map(bytes).collect::<Vec<u8>>()))
    }

    fn owner(ring: &RingHash, hash: u64) -> u32 {
        ring.ring.owner(hash << ring.shift)
    }

    // The vectors come from a second implementation (a few lines over a library's CRC-32, XXH3 and XXH64), which
    // was first found equal to the answers of a real nginx and a real Envoy.
    #[test]
    fn golden_rings() {
        let nine = nine(|_| 1);
        let first: Vec<u64> = ketama(&nine).ring.all().take(4).map(|(hash, _)| hash >> 32).collect();
        assert_eq!(first, [0x0024_6D18, 0x00B3_01A2, 0x00B3_7748, 0x00C2_E48A]);
        assert_eq!(digest(&ketama(&nine)), (1440, 0xE190_7B92));
        assert_eq!(digest(&envoy(&nine)), (1026, 0xD080_2476));
        let mixed = ["[2001:db8::1]:80", "web-2.internal:65535", "10.0.0.3:1"];
        assert_eq!(digest(&ketama(&group(&mixed, |_| 2))), (960, 0xCEB7_E227));
        assert_eq!(digest(&envoy(&group(&mixed, |n| [2, 3, 7][n]))), (1026, 0xB466_27B0));
        assert_eq!(digest(&RingHash::by_id(&group(&mixed, |_| 5)).unwrap()), (480, 0x54ED_DDA7));
    }

    #[test]
    fn golden_owners() {
        let nine = nine(|_| 1);
        let (ketama, envoy) = (ketama(&nine), envoy(&nine));
        // Key, owner as nginx chooses it (CRC-32 of the key), as an ask by key chooses it there, as Envoy chooses it.
        for (key, by_crc32, by_key, by_xx64) in [
            ("", 7, 2, 5),
            ("a", 9, 9, 5),
            ("user:42", 1, 8, 2),
            ("/index.html", 2, 6, 9),
            ("00000000-0000-0000-0000-000000000000", 3, 4, 4),
            ("éclair", 4, 9, 7),
            ("key-0", 6, 5, 2),
            ("key-1", 6, 7, 2),
            ("key-2", 6, 5, 1),
            ("key-3", 5, 8, 8),
            ("key-4", 1, 2, 6),
            ("key-5", 8, 4, 3),
        ] {
            let bytes = key.as_bytes();
            assert_eq!(owner(&ketama, hash::crc32(bytes).into()) + 1, by_crc32, "{key}");
            assert_eq!(owner(&ketama, hash::key(bytes)) + 1, by_key, "{key}");
            assert_eq!(owner(&envoy, hash::xx64(bytes)) + 1, by_xx64, "{key}");
        }
    }

    /// What may happen to an endpoint of a set.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Weight(u32),
        Leave,
        Move,
    }

    fn event() -> impl Strategy<Value = (usize, Event)> {
        let event = prop_oneof![
            4 => Just(Event::Weight(0)),
            4 => Just(Event::Weight(1)),
            1 => Just(Event::Weight(2)),
            2 => Just(Event::Leave),
            1 => Just(Event::Move),
        ];
        (0usize..40, event)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_ring_that_serves_on_chooses_as_a_new_one(events in proptest::collection::vec(event(), 1..40)) {
            let row = |n: usize, weight| Endpoint::new(&format!("{n:02}"), &format!("10.0.0.{n}"), 80).weighted(weight, 1);
            let mut snapshot = Arc::new(Snapshot::empty("web").next((0..40).map(|n| row(n, 1)), 1));
            let first = Group::whole(Arc::clone(&snapshot));
            let mut current: Box<dyn Picker> = Box::new(RingHash::ketama(&first, 20).unwrap());
            let mut before = first;
            for (n, event) in events {
                let id = format!("{n:02}");
                snapshot = Arc::new(match event {
                    Event::Weight(weight) => snapshot.changed([row(n, weight)], &[], 2),
                    Event::Leave => snapshot.changed([], &[(&id, "")], 2),
                    Event::Move => snapshot.changed([Endpoint::new(&id, "10.0.1.1", 8000 + n as u16)], &[], 2),
                });
                let group = Group::whole(Arc::clone(&snapshot));
                let anew: Box<dyn Picker> = Box::new(RingHash::ketama(&group, 20).unwrap());
                let follower = current.follow(&before, &group).map(|follower| follower.picker);
                before = group.clone();
                current = follower.unwrap_or_else(|| Box::new(RingHash::ketama(&group, 20).unwrap()));
                let turns = AtomicU64::new(7);
                let tried = snapshot.members().iter().take(3).map(|member| member.stats().key()).collect::<Vec<_>>();
                for hash in (0..300u64).map(hash::mix) {
                    for ask in [Ask::hash(hash), Ask::hash(hash).without(&tried)] {
                        let chosen = |picker: &dyn Picker| picker.pick(&group, &ask, &mut Worker::new(&turns, &group, &ask));
                        prop_assert_eq!(chosen(&*current), chosen(&*anew));
                    }
                }
            }
        }
    }

    #[test]
    fn who_falls_ill_or_leaves_costs_no_new_ring() {
        let row = |n: u32, weight| Endpoint::new(&format!("{n}"), "10.0.0.1", 1000 + n as u16).weighted(weight, 1);
        let all = Snapshot::empty("web").next((0..24).map(|n| row(n, 1)), 1);
        let first = Group::whole(Arc::new(all.next((0..24).map(|n| row(n, 1)), 1)));
        let ring = ketama(&first);
        let follows = |snapshot: Snapshot| ring.follow(&first, &Group::whole(Arc::new(snapshot))).is_some();
        assert!(follows(all.changed([row(3, 0)], &[("5", "")], 2)));
        assert!(follows(all.changed([row(3, 0), row(4, 0), row(5, 0)], &[], 2)));
        assert!(!follows(all.changed([row(3, 0), row(4, 0), row(5, 0), row(6, 0)], &[], 2)), "more than one in eight");
        assert!(!follows(all.changed([row(99, 1)], &[], 2)), "a new one has points");
    }

    #[test]
    fn who_left_while_aside_is_forgotten_though_the_ring_serves_on() {
        let rows = (0..40).map(|n| Endpoint::new(&format!("{n:02}"), "10.0.0.1", 1000 + n as u16));
        let balancer = Balancer::new(Policy::RING_HASH, Arc::new(Snapshot::empty("web").next(rows, 1)));
        let snapshot = balancer.snapshot();
        snapshot.find("07", "").unwrap().stats().record(Outcome::ConnectFailed);
        assert!(snapshot.aside().any());
        balancer.publish(Arc::new(snapshot.changed([], &[("07", "")], 2)));
        drop(snapshot);
        // What was published before is put away with the next one.
        balancer.publish(Arc::new(balancer.snapshot().changed([], &[], 3)));
        balancer.confirm();
        assert!(!balancer.snapshot().aside().any());
    }

    #[test]
    fn the_order_of_the_answer_does_not_matter() {
        let rows = || (0..50).map(|n| Endpoint::new(&format!("{n}"), &format!("10.0.0.{n}"), 80));
        let ring = |snapshot| ketama(&Group::whole(Arc::new(snapshot)));
        let up = ring(Snapshot::empty("web").next(rows(), 1));
        let down = ring(Snapshot::empty("web").next(rows().rev(), 2));
        assert!(up.ring.all().eq(down.ring.all()));
    }
}

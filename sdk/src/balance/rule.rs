//! Where the points of a ring are: as nginx's ketama has them, and as Envoy's ring, bit for bit.
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
//! Pure; used by `ring_hash`.

use std::ops::{ControlFlow, Range};

use super::group::Group;
use super::hash;
use crate::endpoint::Endpoint;

/// Points on a ring at most: 1.6 GB of them. Beyond, every endpoint's points shrink alike.
pub(super) const POINTS_MAX: u64 = 1 << 26;
/// Points per endpoint of a ring by id; balance and disruption as nginx's ring has them.
const POINTS_BY_ID: u64 = 160;

/// Says who has how many points, and where.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// nginx's, with so many points per unit of weight.
    Ketama(u32),
    /// Envoy's, with so many points at least and at most.
    Envoy(u64, u64),
    /// Envoy's by id and node, with a zero byte between.
    ById,
}

impl Rule {
    /// Says whether the ring is one of 32 bits.
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, Self::Ketama(_))
    }

    /// Tells how many points each in a group has, with its position, until it is told to stop.
    #[inline]
    pub(super) fn shares(self, group: &Group, mut put: impl FnMut(u32, u32) -> ControlFlow<()>) -> ControlFlow<()> {
        match self {
            Self::Ketama(per_unit) => {
                let points = Self::ketama(group, per_unit);
                let weights = (0u32..).zip(group.weights().iter().copied());
                weights
                    .filter(|(_, weight)| *weight > 0)
                    .try_for_each(|(position, weight)| put(position, points(weight)))
            }
            Self::Envoy(least, most) => shares(group, least, most, put),
            Self::ById => {
                let (least, most) = Self::by_id(group);
                shares(group, least, most, put)
            }
        }
    }

    /// Returns how many points a weight has in a group, but for what Envoy's roundings make of it, where it has any.
    pub(super) fn nearly(self, group: &Group, weight: u32) -> u32 {
        let envoy = |(least, most)| {
            let step = step(group, least, most);
            step(weight).ceil() as u32
        };
        match self {
            Self::Ketama(per_unit) => Self::ketama(group, per_unit)(weight),
            Self::Envoy(least, most) => envoy((least, most)),
            Self::ById => envoy(Self::by_id(group)),
        }
    }

    /// Returns how many points a unit of weight has, where everybody in a group has that many for each.
    pub(super) fn per_unit(self, group: &Group) -> Option<u32> {
        let Self::Ketama(per_unit) = self else { return None };
        let total: u64 = group.weights().iter().map(|weight| u64::from(*weight)).sum();
        let per_unit = per_unit.max(1);
        (total.saturating_mul(per_unit.into()) <= POINTS_MAX).then_some(per_unit)
    }

    fn ketama(group: &Group, per_unit: u32) -> impl Fn(u32) -> u32 + use<> {
        let whole = Self::Ketama(per_unit).per_unit(group);
        let total: u64 = group.weights().iter().map(|weight| u64::from(*weight)).sum();
        move |weight| match whole {
            Some(per_unit) => weight * per_unit,
            None if weight == 0 => 0,
            None => (u128::from(weight) * u128::from(POINTS_MAX) / u128::from(total)).max(1) as u32,
        }
    }

    /// Returns how many points at least and at most.
    fn by_id(group: &Group) -> (u64, u64) {
        (u64::from(group.len()) * POINTS_BY_ID, POINTS_MAX)
    }

    /// Returns how many points each in a group has, by position.
    pub(super) fn points(self, group: &Group) -> Vec<u32> {
        let mut points = vec![0; group.weights().len()];
        let put = |position: u32, count| {
            points[position as usize] = count;
            ControlFlow::Continue(())
        };
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = self.shares(group, put);
        points
    }

    /// Tells the hashes of an endpoint's points, those with the numbers given; in the upper half on the narrow ring.
    pub(super) fn hashes(self, endpoint: &Endpoint, points: Range<u32>, put: &mut dyn FnMut(u64)) {
        let mut text = match self {
            Self::Ketama(_) => {
                let base = base(endpoint.host(), endpoint.port());
                let mut hash = 0;
                for number in 0..points.end {
                    hash = !hash::update_word(base, hash);
                    if number >= points.start {
                        put(u64::from(hash) << 32);
                    }
                }
                return;
            }
            Self::Envoy(..) => endpoint.authority().as_bytes().to_vec(),
            Self::ById => {
                let (id, node) = endpoint.identity();
                [id.as_bytes(), &[0], node.as_bytes()].concat()
            }
        };
        text.push(b'_');
        let len = text.len();
        for number in points {
            text.truncate(len);
            push_digits(&mut text, number.into());
            put(hash::xx64(&text));
        }
    }
}

/// Returns what the share of a weight is of the points of Envoy's ring, which need not be a whole number.
fn step(group: &Group, least: u64, most: u64) -> impl Fn(u32) -> f64 + use<> {
    let weights = group.weights();
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let share = move |weight: u32| f64::from(weight) / total as f64;
    // Whoever is not there, with weight 0, comes last of all this way.
    let lightest = weights.iter().map(|weight| weight.wrapping_sub(1)).min().map_or(0, |least| least.wrapping_add(1));
    let lightest = share(lightest.max(1));
    let scale = ((lightest * least as f64).ceil() / lightest).min(most as f64);
    move |weight| scale * share(weight)
}

/// Counts the points of each on Envoy's ring.
#[inline]
fn shares(group: &Group, least: u64, most: u64, mut put: impl FnMut(u32, u32) -> ControlFlow<()>) -> ControlFlow<()> {
    let (weights, step_of) = (group.weights(), step(group, least, most));
    // Running sums of numbers that are not whole, in Envoy's order, so that its roundings are ours. It sets points one by
    // one while there are fewer than are due.
    let (mut set, mut due) = (0, 0.0);
    // Walked for every change: most weigh as much as the one before, and numbers below 2^53 are rounded up as integers.
    let (mut last, mut step) = (0, 0.0);
    for position in group.snapshot().order() {
        let weight = weights[*position as usize];
        if weight == 0 {
            continue;
        }
        if weight != last {
            (last, step) = (weight, step_of(weight));
        }
        due += step;
        let whole = due as u64;
        let now = (whole + u64::from((whole as f64) < due)).max(set);
        put(*position, (now - set) as u32)?;
        set = now;
    }
    ControlFlow::Continue(())
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

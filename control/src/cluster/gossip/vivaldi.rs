//! How a node finds its place in the network: from measured round trips to others whose places are known. PURE.
//!
//! Vivaldi (Dabek et al. 2004): every measurement is a spring that pulls or pushes this node along the line to the other
//! one, the stronger the less certain this node is. With it go what Ledlie et al. 2007 found in real networks: the median
//! of the last measurements of each link, and a weak pull to the origin, so that the space does not drift; and an
//! adjustment, the mean of what the space gets wrong, as Consul's clients know it. Constants are those papers' and
//! Consul's.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use callboard_proto::coordinate::{Coordinate, DIMENSIONS, ERROR_MAX, HEIGHT_MIN};

/// How much of the error one measurement replaces at most (`c_e`).
const ERROR_STEP: f64 = 0.25;
/// How far along the spring one measurement moves at most (`c_c`).
const MOVE_STEP: f64 = 0.25;
/// How many measurements the adjustment is made of.
const ADJUSTMENT_WINDOW: usize = 20;
/// How many measurements of a link the median is of.
const MEDIAN_WINDOW: usize = 3;
/// At this distance from the origin, in seconds, the pull to it is one second.
const GRAVITY_RADIUS: f64 = 150.0;
/// What counts as nothing, in seconds.
const NOTHING: f64 = 1e-6;
/// The longest round trip that is believed.
const RTT_MAX: Duration = Duration::from_secs(10);
/// How many links are remembered; the one that was measured longest ago makes room.
const LINKS_MAX: usize = 1024;

/// A direction in the space.
type Direction = [f64; DIMENSIONS];

/// A node on its way to its place.
#[derive(Debug, Default)]
pub(super) struct Vivaldi {
    place: Coordinate,
    /// What the space got wrong, lately, in seconds.
    wrong: VecDeque<f64>,
    links: BTreeMap<String, Link>,
    measured: u64,
}

/// What was measured of the way to another node, lately.
#[derive(Debug, Default)]
struct Link {
    seconds: VecDeque<f64>,
    /// The number of the last measurement.
    last: u64,
}

impl Vivaldi {
    /// Where this node believes itself to be.
    pub(super) fn place(&self) -> &Coordinate {
        &self.place
    }

    /// Learns how long a message to a node and back took. `dice` gives directions when two nodes are in one place.
    pub(super) fn measured(&mut self, node: &str, there: &Coordinate, rtt: Duration, dice: &mut fastrand::Rng) {
        if rtt > RTT_MAX {
            return;
        }
        let seconds = self.median(node, rtt.as_secs_f64()).max(NOTHING);
        let moved = moved(&self.place, there, seconds, dice);
        let adjusted = self.adjusted(&moved, there, seconds);
        let pulled = pulled(&adjusted, dice);
        // Only numbers from elsewhere can lead out of bounds; then everything is learnt anew.
        self.place = made(pulled.point(), pulled.error(), pulled.adjustment(), pulled.height()).unwrap_or_default();
    }

    /// Forgets a node that is gone.
    pub(super) fn forget(&mut self, node: &str) {
        self.links.remove(node);
    }

    fn median(&mut self, node: &str, seconds: f64) -> f64 {
        self.measured += 1;
        if self.links.len() >= LINKS_MAX && !self.links.contains_key(node) {
            let oldest = self.links.iter().min_by_key(|(_, link)| link.last).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.links.remove(&oldest);
            }
        }
        let link = self.links.entry(node.to_owned()).or_default();
        link.last = self.measured;
        if link.seconds.len() == MEDIAN_WINDOW {
            link.seconds.pop_front();
        }
        link.seconds.push_back(seconds);
        let mut sorted: Vec<f64> = link.seconds.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// The adjustment after a measurement: half of the mean error, for the other node has its own half.
    fn adjusted(&mut self, place: &Coordinate, there: &Coordinate, seconds: f64) -> Coordinate {
        if self.wrong.len() == ADJUSTMENT_WINDOW {
            self.wrong.pop_front();
        }
        self.wrong.push_back(seconds - place.distance_raw(there));
        let adjustment = self.wrong.iter().sum::<f64>() / (2.0 * ADJUSTMENT_WINDOW as f64);
        made(place.point(), place.error(), adjustment, place.height()).unwrap_or(*place)
    }
}

fn made(point: &Direction, error: f64, adjustment: f64, height: f64) -> Option<Coordinate> {
    Coordinate::new(*point, error, adjustment, height).ok()
}

/// The place after a spring has pulled or pushed.
fn moved(place: &Coordinate, there: &Coordinate, seconds: f64, dice: &mut fastrand::Rng) -> Coordinate {
    let distance = place.distance(there);
    let wrong = (distance - seconds).abs() / seconds;
    // The share of this node in the uncertainty of both.
    let share = place.error() / (place.error() + there.error()).max(NOTHING);
    let error = ERROR_STEP * share * wrong + place.error() * (1.0 - ERROR_STEP * share);
    let pushed = pushed(place, there, MOVE_STEP * share * (seconds - distance), dice);
    made(pushed.point(), error.min(ERROR_MAX), pushed.adjustment(), pushed.height()).unwrap_or(*place)
}

/// The place after a pull to the origin, which grows with the square of the distance.
fn pulled(place: &Coordinate, dice: &mut fastrand::Rng) -> Coordinate {
    let origin = Coordinate::default();
    let force = (place.distance(&origin) / GRAVITY_RADIUS).powi(2);
    pushed(place, &origin, -force, dice)
}

/// The place after being pushed away from another by some seconds. The height takes its share of the way.
fn pushed(place: &Coordinate, from: &Coordinate, seconds: f64, dice: &mut fastrand::Rng) -> Coordinate {
    let (direction, length) = direction(place.point(), from.point(), dice);
    let mut point = *place.point();
    point.iter_mut().zip(direction).for_each(|(number, share)| *number += share * seconds);
    let mut height = place.height();
    if length > NOTHING {
        height = ((height + from.height()) * seconds / length + height).max(HEIGHT_MIN);
    }
    made(&point, place.error(), place.adjustment(), height).unwrap_or(*place)
}

/// The direction from one point to another and how far it is; any direction when they are the same point.
fn direction(to: &Direction, from: &Direction, dice: &mut fastrand::Rng) -> (Direction, f64) {
    let mut way = [0.0; DIMENSIONS];
    way.iter_mut().zip(to.iter().zip(from)).for_each(|(way, (to, from))| *way = to - from);
    let length = length(&way);
    if length > NOTHING {
        return (way.map(|number| number / length), length);
    }
    let mut any = way.map(|_| dice.f64() - 0.5);
    let size = self::length(&any);
    if size > NOTHING {
        any = any.map(|number| number / size);
    } else {
        any[0] = 1.0;
    }
    (any, 0.0)
}

fn length(of: &Direction) -> f64 {
    of.iter().map(|number| number * number).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets nodes measure one another, and returns the mean relative error of the estimates afterwards.
    fn settle(rtts: &[Vec<f64>], rounds: usize, seed: u64, wobble: f64) -> f64 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut nodes: Vec<Vivaldi> = rtts.iter().map(|_| Vivaldi::default()).collect();
        for _ in 0..rounds {
            for here in 0..nodes.len() {
                let there = dice.usize(0..nodes.len());
                if here != there {
                    let rtt = rtts[here][there] * (1.0 + wobble * (dice.f64() - 0.5));
                    let place = *nodes[there].place();
                    nodes[here].measured(&there.to_string(), &place, Duration::from_secs_f64(rtt), &mut dice);
                }
            }
        }
        let mut wrong = Vec::new();
        for (here, row) in rtts.iter().enumerate() {
            for (there, rtt) in row.iter().enumerate().filter(|(there, _)| *there != here) {
                wrong.push((nodes[here].place().distance(nodes[there].place()) - rtt).abs() / rtt);
            }
        }
        wrong.iter().sum::<f64>() / wrong.len() as f64
    }

    fn between(points: &[(f64, f64)]) -> Vec<Vec<f64>> {
        let far = |a: &(f64, f64), b: &(f64, f64)| (a.0 - b.0).hypot(a.1 - b.1) + 0.001;
        points.iter().map(|a| points.iter().map(|b| far(a, b)).collect()).collect()
    }

    #[test]
    fn nodes_on_a_line_and_on_a_plane_find_their_places() {
        let line: Vec<_> = (0..10).map(|n| (f64::from(n) * 0.010, 0.0)).collect();
        assert!(settle(&between(&line), 1000, 1, 0.0) < 0.05);
        let plane: Vec<_> = (0..25).map(|n| (f64::from(n % 5) * 0.010, f64::from(n / 5) * 0.010)).collect();
        assert!(settle(&between(&plane), 1000, 2, 0.0) < 0.05);
        // Measurements wobble by a tenth to each side.
        assert!(settle(&between(&plane), 1000, 3, 0.2) < 0.15);
    }

    #[test]
    fn a_slow_answer_now_and_then_does_not_count() {
        let mut dice = fastrand::Rng::with_seed(4);
        let (mut vivaldi, there) = (Vivaldi::default(), Coordinate::default());
        for n in 0..200 {
            let rtt = if n % 7 == 0 { 900 } else { 20 };
            vivaldi.measured("there", &there, Duration::from_millis(rtt), &mut dice);
        }
        let distance = vivaldi.place().distance(&there);
        assert!((distance - 0.020).abs() < 0.005, "{distance}");
        vivaldi.measured("there", &there, Duration::from_secs(3600), &mut dice);
        assert!((vivaldi.place().distance(&there) - distance).abs() < f64::EPSILON, "nobody believes in an hour");
    }

    #[test]
    fn the_oldest_link_makes_room() {
        let mut dice = fastrand::Rng::with_seed(5);
        let mut vivaldi = Vivaldi::default();
        for n in 0..=LINKS_MAX {
            vivaldi.measured(&n.to_string(), &Coordinate::default(), Duration::from_millis(1), &mut dice);
        }
        assert_eq!(vivaldi.links.len(), LINKS_MAX);
        assert!(!vivaldi.links.contains_key("0"));
        vivaldi.forget("1");
        assert_eq!(vivaldi.links.len(), LINKS_MAX - 1);
    }

    proptest! {
        /// Whatever others claim, a place stays one.
        #[test]
        fn places_stay_within_bounds(
            claims in prop::collection::vec((prop::array::uniform8(-1e6..1e6), 0.0..1e6, -1e6..1e6, -1e6..1e6, 0u64..10_000), 1..50),
            seed: u64,
        ) {
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut vivaldi = Vivaldi::default();
            for (point, error, adjustment, height, millis) in claims {
                let there = Coordinate::new(point, error, adjustment, height).unwrap();
                vivaldi.measured("x", &there, Duration::from_millis(millis), &mut dice);
                prop_assert!(vivaldi.place().error() >= 0.0 && vivaldi.place().error() <= ERROR_MAX);
                prop_assert!(vivaldi.place().height() >= HEIGHT_MIN);
            }
        }
    }
}

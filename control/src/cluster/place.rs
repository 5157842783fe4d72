//! Tells the cluster where this node is, when that changed enough to matter.
//!
//! Each node writes its own place; proposals that are made at one time share an entry of the log. However large the
//! cluster is, no more than a bounded number of places is written in a second. Runs on every node.

use std::time::Duration;

use callboard_proto::NodeName;
use callboard_proto::coordinate::Coordinate;
use callboard_proto::text::Text;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Cluster;
use crate::registry::{Command, Place};

/// How often a place is looked at until it was told once.
const FIRST_EVERY: Duration = Duration::from_secs(1);
/// How often it is told at most afterwards.
const EVERY_MIN: Duration = Duration::from_secs(15);
/// How many places all nodes together tell in a second at most.
const RATE_MAX: u32 = 64;
/// By how much a place has to differ to be told again, in seconds, or as a share of its distance from the origin.
const MOVED_MIN: f64 = 0.0002;
const MOVED_SHARE_MIN: f64 = 0.05;
/// By how much its error has to.
const ERROR_MOVED_MIN: f64 = 0.1;

/// Runs until told to stop.
pub(super) async fn run(cluster: Cluster, stop: CancellationToken) {
    let Ok(node) = NodeName::parse(&cluster.card().name) else { return };
    let mut pace = FIRST_EVERY;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pace.mul_f64(0.9 + 0.2 * fastrand::f64())) => {}
        }
        let now = cluster.gossip.place();
        let registry = cluster.registry();
        let known = registry.place_of(&node).map(|place| place.coordinate);
        let is_known = known.is_some();
        let differs = known.map_or(now != Coordinate::default(), |known| differs(&known, &now));
        if differs && registry.node(&node).is_some() {
            let place = Place { node: node.clone(), segment: Text::default(), coordinate: now };
            if let Err(error) = cluster.propose(Command::Place(vec![place])).await {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "telling where this node is failed; it is tried again"
                );
            }
        }
        pace = if is_known { every(cluster.members().len()) } else { FIRST_EVERY };
    }
}

/// How often each of so many nodes tells its place.
fn every(members: usize) -> Duration {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    EVERY_MIN.max(Duration::from_secs(1) * members / RATE_MAX)
}

/// Whether a node is elsewhere than it was told to be, or how sure it is of that changed.
fn differs(known: &Coordinate, now: &Coordinate) -> bool {
    let squares = known.point().iter().zip(now.point()).map(|(a, b)| (a - b).powi(2));
    let moved = squares.sum::<f64>().sqrt() + (known.height() - now.height()).abs();
    let adjusted = (known.adjustment() - now.adjustment()).abs();
    let far = known.distance_raw(&Coordinate::default());
    moved.max(adjusted) > MOVED_MIN.max(far * MOVED_SHARE_MIN) || (known.error() - now.error()).abs() > ERROR_MOVED_MIN
}

#[cfg(test)]
mod tests {
    use callboard_proto::coordinate::DIMENSIONS;

    use super::*;

    fn at(x: f64, error: f64) -> Coordinate {
        let mut point = [0.0; DIMENSIONS];
        point[3] = x;
        Coordinate::new(point, error, 0.0, 0.001).unwrap()
    }

    #[test]
    fn trembling_is_not_told() {
        assert!(!differs(&at(0.010, 0.2), &at(0.0101, 0.25)));
        assert!(differs(&at(0.010, 0.2), &at(0.012, 0.2)));
        assert!(differs(&at(0.010, 0.2), &at(0.010, 0.4)));
    }

    #[test]
    fn all_together_keep_to_the_rate() {
        assert_eq!(every(3), EVERY_MIN);
        assert_eq!(every(6400), Duration::from_secs(100));
    }
}

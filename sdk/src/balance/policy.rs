//! Which algorithm: an enum whose variants carry their settings, and how each is built.
//!
//! Decides nothing at pick time. A new policy is a file, a variant and an arm here.

use std::fmt;
use std::sync::Arc;

use super::group::Group;
use super::least_request::LeastRequest;
use super::picker::Picker;
use super::prequal::Prequal;
use super::random::Draw;
use super::ring_hash::RingHash;
use super::schedule::Schedule;

/// Builds a user's picker for a group of endpoints, off the request path.
pub type BuildPicker = dyn Fn(&Group) -> Box<dyn Picker> + Send + Sync;

/// Names a balancing algorithm and its settings.
#[derive(Clone)]
#[non_exhaustive]
pub enum Policy {
    /// Everyone in turn, from a random start, in an order of this client's own. Weights beyond
    /// "drained" do not count.
    RoundRobin,
    /// Everyone in turn by weight, evenly interleaved; shares are exact to 1/4096.
    SmoothWeighted,
    /// Anyone, alike.
    Random,
    /// Anyone, by weight.
    WeightedRandom,
    /// Whoever has the fewest calls of this process in flight, per weight.
    LeastRequest {
        /// Up to so many endpoints all are compared; of more, two at random.
        scan_max: u32,
    },
    /// Whoever said lately that it is not busy and fast, by replies to probes (Prequal). Endpoints that answer no
    /// probes get their share by another policy; so does everybody while there are too few replies.
    Prequal {
        /// Probes per pick; load reports that come with responses count as probes.
        probes: u32,
    },
    /// The same endpoint for the same key, on nginx's ketama ring.
    RingHash {
        /// Points per unit of weight; nginx has 160.
        points: u32,
    },
    /// A user's own.
    Custom {
        /// Named in errors.
        name: &'static str,
        /// Called whenever the set changes.
        build: Arc<BuildPicker>,
    },
}

impl Policy {
    /// Least request with the scan limit at which two random choices become cheaper.
    pub const LEAST_REQUEST: Self = Self::LeastRequest { scan_max: 12 };
    /// Prequal with the rate of probes of its paper.
    pub const PREQUAL: Self = Self::Prequal { probes: 3 };
    /// Ring hash as nginx has it.
    pub const RING_HASH: Self = Self::RingHash { points: 160 };

    /// Makes a policy of a user's picker.
    pub fn custom<P: Picker + 'static>(
        name: &'static str,
        build: impl Fn(&Group) -> P + Send + Sync + 'static,
    ) -> Self {
        Self::Custom { name, build: Arc::new(move |group| Box::new(build(group))) }
    }

    /// Names the algorithm, as errors and metrics do.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::SmoothWeighted => "smooth_weighted",
            Self::Random => "random",
            Self::WeightedRandom => "weighted_random",
            Self::LeastRequest { .. } => "least_request",
            Self::Prequal { .. } => "prequal",
            Self::RingHash { .. } => "ring_hash",
            Self::Custom { name, .. } => name,
        }
    }

    /// Says whether it wants to know how long calls take, so that guards look at the clock.
    #[inline]
    #[must_use]
    pub fn is_timed(&self) -> bool {
        matches!(self, Self::Prequal { .. } | Self::Custom { .. })
    }

    /// Builds the picker for a group. `seed` is this client's own: clients with different seeds
    /// walk in different orders. Hash policies ignore it, since they must agree. `None` when there is
    /// nobody to call.
    #[must_use]
    pub fn build(&self, group: &Group, seed: u64) -> Option<Box<dyn Picker>> {
        fn boxed(picker: impl Picker + 'static) -> Box<dyn Picker> {
            Box::new(picker)
        }
        if group.is_empty() {
            return None;
        }
        match self {
            Self::RoundRobin => Schedule::equal(group, seed).map(boxed),
            Self::SmoothWeighted => Schedule::weighted(group, seed).map(boxed),
            Self::Random => Some(boxed(Draw::Uniform)),
            Self::WeightedRandom => Some(boxed(Draw::weighted(group))),
            Self::LeastRequest { scan_max } => Some(boxed(LeastRequest::new(group, *scan_max))),
            Self::Prequal { .. } => Prequal::build(group),
            Self::RingHash { points } => RingHash::new(group, *points).map(boxed),
            Self::Custom { build, .. } => Some(build(group)),
        }
    }
}

impl Default for Policy {
    /// Prequal: where nobody answers probes it is the policy it falls back to, and costs nothing more.
    fn default() -> Self {
        Self::PREQUAL
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeastRequest { scan_max } => write!(f, "least_request(scan_max {scan_max})"),
            Self::Prequal { probes } => write!(f, "prequal(probes {probes})"),
            Self::RingHash { points } => write!(f, "ring_hash(points {points})"),
            other => f.write_str(other.name()),
        }
    }
}

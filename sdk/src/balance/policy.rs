//! Which algorithm: an enum whose variants carry their settings, and how each is built.
//!
//! Decides nothing at pick time. A new policy is a file, a variant and an arm here.

use std::fmt;
use std::sync::Arc;

use super::bounded::Bounded;
use super::dx_hash::DxHash;
use super::group::Group;
use super::least_request::LeastRequest;
use super::maglev::Maglev;
use super::peak_ewma::PeakEwma;
use super::picker::Picker;
use super::prequal::Prequal;
use super::random::Draw;
use super::rendezvous::Rendezvous;
use super::ring_hash::RingHash;
use super::schedule::{Schedule, round_robin};

/// Endpoints up to which hashing without slots looks at all of them.
const RENDEZVOUS_MAX: u32 = 32;

/// Builds a user's picker for a group of endpoints, off the request path.
pub type BuildPicker = dyn Fn(&Group) -> Box<dyn Picker> + Send + Sync;

/// Names a balancing algorithm and its settings.
///
/// Picks know of a change as soon as its snapshot is laid out; where a table takes its time to build, an interim one serves
/// until then. There are changes for which picks wait for the table: in parts of the set (a zone, a subset, those a rule leaves, and
/// everybody while too few are well); where half of a ring leaves at once, or some hundredth of it comes (32 of 1,000, 1,024 of
/// 100,000); where an eighth of a [`Self::Maglev`] table is for those who came. No change waits for the table of the one before, and of
/// changes that come while a table is built only the last gets another.
///
/// What is interim chooses as the new one does, but for two. Of [`Self::Maglev`] (up to a few milliseconds) keys of who left
/// or weighs less go to others than they will, and who came or weighs more has its share of keys, but not quite those that it
/// will have. Of [`Self::EnvoyRing`], and rings by id, where the number of everybody's points changes (a second for
/// ten million points), who was there before has as many points as before, and who changed has its share rounded up.
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
    /// probes get their share by peak EWMA; so does everybody while there are too few replies.
    Prequal {
        /// Probes per pick; load reports that come with responses count as probes.
        probes: u32,
    },
    /// Of two at random, by weight, whoever is expected to answer first: latency (peaks count at once, and fade) times
    /// calls of this process in flight. Calls are timed.
    PeakEwma,
    /// The same endpoint for the same key, over the slots that the registry gives: shares are even, and whoever comes or
    /// leaves moves no keys but its own. A registry that gives no slots (Consul, or rows written by hand), or gives
    /// one twice, is hashed by id and node: by rendezvous up to 32 endpoints, beyond on a ring as Envoy's; there keys
    /// move when the set grows or shrinks past 32.
    DxHash,
    /// The same endpoint for the same key, by the best draw of all endpoints: for few.
    Rendezvous,
    /// The same endpoint for the same key, by a table of 65,537 entries filled as Envoy's `maglev` is; to agree with an
    /// Envoy, ask by [`super::hash::xx64`].
    Maglev,
    /// The same endpoint for the same key, on a ring as Envoy's `ring_hash` lays it out with XXH64; to agree with an Envoy,
    /// ask by [`super::hash::xx64`].
    EnvoyRing {
        /// Points on the ring at least: `minimum_ring_size`.
        points_min: u32,
        /// Points at most: `maximum_ring_size`.
        points_max: u32,
    },
    /// A hash policy, but nobody has more calls in flight than its share times a factor; what is beyond goes elsewhere,
    /// the same way for the same key. For all clients together where servers have [`crate::load::ReportLoadLayer`]: it
    /// tells their load, and refuses what a client's older news would put beyond the bound. Built by [`Policy::bounded`].
    Bounded {
        /// Whom a key belongs to while there is room.
        hash: Box<Policy>,
        /// Calls in flight at most, in percent of the fair share.
        factor: u32,
    },
    /// The same endpoint for the same key, on nginx's ketama ring; to agree with an nginx, ask by
    /// [`super::hash::crc32`].
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

    /// Ring hash as Envoy has it.
    pub const ENVOY_RING: Self = Self::EnvoyRing { points_min: 1024, points_max: 8 << 20 };
    /// The hash policy to take where nobody else has to be agreed with.
    pub const DX_HASH: Self = Self::DxHash;

    /// Bounds a hash policy: nobody has more calls in flight than `factor` percent of its fair share, 125 for instance.
    /// Less than 100 counts as 100. Over a policy that does not hash, the bound tries some of its choices.
    #[must_use]
    pub fn bounded(self, factor: u32) -> Self {
        Self::Bounded { hash: Box::new(self), factor }
    }

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
            Self::PeakEwma => "peak_ewma",
            Self::DxHash => "dx_hash",
            Self::Rendezvous => "rendezvous",
            Self::Maglev => "maglev",
            Self::EnvoyRing { .. } => "envoy_ring",
            Self::Bounded { .. } => "bounded",
            Self::Prequal { .. } => "prequal",
            Self::RingHash { .. } => "ring_hash",
            Self::Custom { name, .. } => name,
        }
    }

    /// Says whether it wants to know how long calls take, so that guards look at the clock.
    #[inline]
    #[must_use]
    pub fn is_timed(&self) -> bool {
        // Bounded: reports grow old by the clock that timed calls keep going.
        matches!(self, Self::PeakEwma | Self::Prequal { .. } | Self::Bounded { .. } | Self::Custom { .. })
    }

    /// Says whether its pickers may have a bound to tell.
    pub(super) fn may_bound(&self) -> bool {
        matches!(self, Self::Bounded { .. } | Self::Custom { .. })
    }

    /// Says whether its pickers may have a table that takes its time.
    pub(super) fn may_have_table(&self) -> bool {
        match self {
            Self::Maglev | Self::EnvoyRing { .. } | Self::RingHash { .. } | Self::DxHash => true,
            Self::Bounded { hash, .. } => hash.may_have_table(),
            _ => false,
        }
    }

    /// Says whether a user's picker is part of it.
    pub(super) fn is_custom(&self) -> bool {
        match self {
            Self::Custom { .. } => true,
            Self::Bounded { hash, .. } => hash.is_custom(),
            _ => false,
        }
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
            Self::RoundRobin => round_robin(group, seed),
            Self::SmoothWeighted => Schedule::weighted(group, seed).map(boxed),
            Self::Random => Some(boxed(Draw::Uniform)),
            Self::WeightedRandom => Some(boxed(Draw::weighted(group))),
            Self::LeastRequest { scan_max } => Some(boxed(LeastRequest::new(group, *scan_max))),
            Self::PeakEwma => Some(boxed(PeakEwma::new(group))),
            Self::DxHash => match DxHash::new(group) {
                Some(slots) => Some(boxed(slots)),
                None if group.len() <= RENDEZVOUS_MAX => Some(boxed(Rendezvous::standing_in(group))),
                None => RingHash::by_id(group).map(boxed),
            },
            Self::Rendezvous => Some(boxed(Rendezvous::new(group))),
            Self::Maglev => Some(boxed(Maglev::new(group))),
            Self::EnvoyRing { points_min, points_max } => RingHash::envoy(group, *points_min, *points_max).map(boxed),
            Self::Bounded { hash, factor } => {
                hash.build(group, seed).map(|picker| boxed(Bounded::new(group, picker, *factor)))
            }
            Self::RingHash { points } => RingHash::ketama(group, *points).map(boxed),
            Self::Prequal { .. } => Prequal::build(group),
            Self::Custom { build, .. } => Some(build(group)),
        }
    }
}

/// Says whether hashing over slots falls back to a ring: somebody has no slot, and there are too many to look at all.
pub(super) fn is_for_ring(group: &Group) -> bool {
    group.len() > RENDEZVOUS_MAX && DxHash::new(group).is_none()
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
            Self::Bounded { hash, factor } => write!(f, "bounded({hash:?}, {factor} %)"),
            other => f.write_str(other.name()),
        }
    }
}

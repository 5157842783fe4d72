//! The question, the state at hand, and the trait that answers: what a policy author needs to know.
//!
//! A [`Picker`] is built for a group of endpoints when the set changes and asked once per call. Its answer is
//! a pure function of the group, the ask and the worker: no lock, no await, no allocation, no
//! clock. Counting calls, recording outcomes and trials of ejected endpoints are the `Balancer`'s.

use std::sync::atomic::AtomicU64;

use super::group::Group;
use super::hash;
use super::ramp::Ramp;
use super::turns::Turns;
use crate::endpoint::{EndpointKey, Gauge};

/// Keeps the chance at a ramp apart from other uses of a turn.
const RAMP_SALT: u64 = 0x05EE_D0F5;

/// Says what one call asks of a policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    hash: Option<u64>,
    tried: &'a [EndpointKey],
    abroad: bool,
}

impl<'a> Ask<'a> {
    /// Asks for any endpoint.
    #[inline]
    #[must_use]
    pub const fn any() -> Self {
        Self { hash: None, tried: &[], abroad: false }
    }

    /// Asks for the endpoint of a key: XXH3-64 with seed 0 over its bytes.
    #[inline]
    #[must_use]
    pub fn key(bytes: &[u8]) -> Self {
        Self::hash(hash::key(bytes))
    }

    /// Asks for the endpoint of a hash computed elsewhere.
    #[inline]
    #[must_use]
    pub const fn hash(hash: u64) -> Self {
        Self { hash: Some(hash), tried: &[], abroad: false }
    }

    /// Leaves out the endpoints a call has already tried.
    #[inline]
    #[must_use]
    pub const fn without(mut self, tried: &'a [EndpointKey]) -> Self {
        self.tried = tried;
        self
    }

    /// Prefers an endpoint outside the own zone, as a hedge does that should not share the first try's fate. Says
    /// nothing where no zone is set.
    #[inline]
    #[must_use]
    pub const fn abroad(mut self) -> Self {
        self.abroad = true;
        self
    }

    /// Says whether other zones are preferred.
    #[inline]
    #[must_use]
    pub const fn is_abroad(&self) -> bool {
        self.abroad
    }

    /// Says whether a hash, if any, is all that it asks by.
    #[inline]
    pub(super) const fn is_open(&self) -> bool {
        self.tried.is_empty() && !self.abroad
    }

    /// Asks the same with another hash.
    #[inline]
    pub(crate) const fn rehashed(mut self, hash: u64) -> Self {
        self.hash = Some(hash);
        self
    }

    /// Returns the hash, if the call has a key.
    #[inline]
    #[must_use]
    pub const fn hashed(&self) -> Option<u64> {
        self.hash
    }

    /// Returns the endpoints already tried.
    #[inline]
    #[must_use]
    pub const fn tried(&self) -> &'a [EndpointKey] {
        self.tried
    }
}

/// Chooses an endpoint; built from one group and only ever asked with that one.
///
/// Users may implement it and hand it in by [`super::Policy::custom`].
pub trait Picker: Send + Sync {
    /// Returns the position of the endpoint to call, or `None` when none is left. An implementation asks
    /// [`Worker::allows`] before it answers with an endpoint. A position that nobody has counts as `None`.
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize>;

    /// Picks where nobody has to be left out or preferred, the usual case: by the hash of the call, if it has a key, and by
    /// turns. Has as good an answer as [`Self::pick`], which the default asks, and is quicker where all that it needs stays
    /// in registers.
    fn pick_open(&self, group: &Group, hash: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        self.pick(group, &Ask { hash, ..Ask::any() }, &mut Worker::open(turns))
    }

    /// Builds the picker of the group `now` of the same service, where that takes less than building it anew; `before` is the
    /// group that this one was built for. None, the default, where it does not.
    fn follow(&self, before: &Group, now: &Group) -> Option<Follower> {
        let _ = (before, now);
        None
    }

    /// Returns how many requests of all clients the server at `position` may have in flight, the next one included; none
    /// where the policy has no bound, does not know it at present, or chooses among others. Asked after a pick, where the
    /// call can tell the server; see [`crate::load::BOUND_HEADER`].
    fn bound(&self, position: usize) -> Option<u32> {
        let _ = position;
        None
    }
}

/// A picker that was built from an earlier one.
pub struct Follower {
    pub(super) picker: Box<dyn Picker>,
    pub(super) lasts: bool,
}

impl Follower {
    /// Hands over a picker that chooses as one that is built anew.
    #[must_use]
    pub fn lasting(picker: impl Picker + 'static) -> Self {
        Self { picker: Box::new(picker), lasts: true }
    }

    /// Hands over a picker that knows of every change, but serves only until one is built anew, which begins at once: it
    /// would grow too large, or chooses a little differently.
    #[must_use]
    pub fn interim(picker: impl Picker + 'static) -> Self {
        Self { picker: Box::new(picker), lasts: false }
    }
}

/// What must be looked at before an endpoint may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nobody is aside, nobody on a ramp, and nothing was tried.
    Open,
    /// Those aside, and those tried, are left out.
    Guarded,
    /// Too many are aside: opinions about endpoints that the registry calls well do not count; facts do.
    Doubt,
    /// Everybody left is aside, so being aside does not count; those tried are left out.
    Panic,
}

/// Carries what a picker may use besides group and ask: a turn counter, random bits, the gate.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    turns: Turns<'a>,
    gate: Gate,
    /// In milliseconds of the service's clock; only looked at where the gate is not open.
    now: u64,
    /// Who is to be accepted by chance only, and what the chance is drawn from.
    ramp: Option<&'a Ramp>,
    salt: u64,
}

impl<'a> Worker<'a> {
    /// Builds the state for one pick. `turns` is any counter; begin it at a random place.
    #[must_use]
    pub fn new(turns: &'a AtomicU64, group: &Group, ask: &Ask<'_>) -> Self {
        let aside = group.snapshot().aside();
        let mut worker = Self::open(Turns::shared(turns));
        if !ask.tried.is_empty() || aside.any() {
            worker.guard(Gate::Guarded, aside.clock().coarse(), None, ask);
        }
        worker
    }

    /// Builds the state for a pick in which nothing has to be looked at.
    #[inline]
    pub(super) fn open(turns: Turns<'a>) -> Self {
        Self { turns, gate: Gate::Open, now: 0, ramp: None, salt: 0 }
    }

    /// From here on the gate is this one.
    pub(super) fn guard(&mut self, gate: Gate, now: u64, ramp: Option<&'a Ramp>, ask: &Ask<'_>) {
        (self.gate, self.now, self.ramp) = (gate, now, ramp);
        // Without a key: of the turn that comes next, which is not taken, or a round would lose it.
        self.salt = ask.hash.unwrap_or_else(|| hash::mix(self.turns.next().wrapping_add(RAMP_SALT)));
    }

    /// Returns what turns are taken from.
    #[inline]
    pub(super) fn turns(&self) -> Turns<'a> {
        self.turns
    }

    /// Takes a turn: a number one above the last one taken on this counter.
    #[inline]
    pub fn turn(&mut self) -> u64 {
        self.turns.turn()
    }

    /// Takes 64 random bits, good for balancing and for nothing else: SplitMix64 over the turns.
    #[inline]
    pub fn random(&mut self) -> u64 {
        self.turns.random()
    }

    /// Says whether the endpoint at `position` may be answered: neither tried by this call nor aside.
    #[inline]
    #[must_use]
    pub fn allows(&self, group: &Group, ask: &Ask<'_>, position: usize) -> bool {
        self.gate == Gate::Open || self.allows_slowly(group, ask, position)
    }

    #[cold]
    fn allows_slowly(&self, group: &Group, ask: &Ask<'_>, position: usize) -> bool {
        let Some(gauge) = group.gauge(position) else {
            return false;
        };
        let aside = match self.gate {
            Gate::Guarded => gauge.is_aside(self.now),
            Gate::Doubt => gauge.is_aside(self.now) && !self.doubts(group, position),
            Gate::Open | Gate::Panic => false,
        };
        let ramps = self.ramp.is_some_and(|ramp| !ramp.accepts(position, self.salt, self.now));
        let tried = || group.stats(position).is_some_and(|stats| ask.tried.contains(&stats.key()));
        !aside && !ramps && (ask.tried.is_empty() || !tried())
    }

    /// Says whether what speaks against an endpoint is an opinion that does not count now: of two that agree, the
    /// registry and the calls, it does.
    pub(super) fn doubts(&self, group: &Group, position: usize) -> bool {
        let well = group.snapshot().weights().get(position).is_some_and(|weight| *weight > 0);
        self.gate == Gate::Doubt && well && group.gauge(position).is_some_and(Gauge::is_opinion)
    }

    /// Returns the first endpoint of the group the gate allows, looking from the `start`-th on and around:
    /// the way out of every policy whose few guesses all hit endpoints that are left out. Walks at
    /// worst all of them.
    #[cold]
    #[must_use]
    pub fn first_allowed(&self, group: &Group, ask: &Ask<'_>, start: u32) -> Option<usize> {
        let len = group.len();
        let start = start.min(len);
        (start..len).chain(0..start).map(|nth| group.at(nth)).find(|position| self.allows(group, ask, *position))
    }
}

//! A group, the picker that was built for it, and the search for an endpoint where not everybody may be answered.
//!
//! The search goes from what is wanted to what is better than nothing: neither aside nor held back by a ramp; not
//! aside; aside by opinion only; anybody who was not tried. Endpoints whose pause is over get one call as a trial.
//! Called by `layout`.

use std::sync::Arc;

use super::group::Group;
use super::picker::{Ask, Gate, Picker, Worker};
use super::policy::Policy;
use super::ramp::{Ramp, SlowStart};
use super::turns::Turns;
use crate::catalog::Member;

/// Picks in search of one whose trial nobody else won, before being aside stops to count.
const CLAIMS_MAX: usize = 4;

/// Chooses within one group.
pub(super) struct Stage {
    group: Group,
    picker: Box<dyn Picker>,
    /// Whether the picker only serves until one is built anew.
    interim: bool,
    ramp: Option<Ramp>,
}

impl Stage {
    /// Builds it; none when the group is empty. `before` is the stage whose picker may serve on in its place, if there is
    /// one, and `ramps` are all that there were.
    pub(super) fn build(
        policy: &Policy,
        group: Group,
        seed: u64,
        slow_start: Option<&SlowStart>,
        (before, ramps): (Option<&Self>, &[&Ramp]),
    ) -> Option<Self> {
        let follower =
            before.filter(|_| !group.is_empty()).and_then(|before| before.picker.follow(&before.group, &group));
        let (picker, interim) = match follower {
            Some(follower) => (follower.picker, !follower.lasts),
            None => (policy.build(&group, seed)?, false),
        };
        let ramp = slow_start.and_then(|rule| Ramp::build(rule, policy, &group, ramps));
        Some(Self { group, picker, interim, ramp })
    }

    #[inline]
    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// Says whether one is to be built anew.
    pub(super) fn is_interim(&self) -> bool {
        self.interim
    }

    pub(super) fn ramp(&self) -> Option<&Ramp> {
        self.ramp.as_ref()
    }

    /// Says whether an endpoint of it is on a ramp.
    #[inline]
    pub(super) fn is_ramping(&self) -> bool {
        self.ramp.as_ref().is_some_and(|ramp| ramp.is_on(self.group.snapshot().aside().clock()))
    }

    /// Chooses where nobody has to be left out.
    #[inline]
    pub(super) fn choose(&self, hash: Option<u64>, turns: Turns<'_>) -> Option<&Arc<Member>> {
        let position = self.picker.pick_open(&self.group, hash, turns)?;
        self.group.snapshot().member(position)
    }

    pub(super) fn bound(&self, position: usize) -> Option<u32> {
        self.picker.bound(position)
    }

    /// Looks for an endpoint behind a gate. Where everybody is held back by a ramp, nobody is.
    pub(super) fn search<'s: 'w, 'w>(
        &'s self,
        gate: Gate,
        ask: &Ask<'_>,
        worker: &mut Worker<'w>,
    ) -> Option<&'s Arc<Member>> {
        let now = self.group.snapshot().aside().clock().coarse();
        let ramp = self.ramp.as_ref().filter(|_| self.is_ramping());
        if ramp.is_some() {
            worker.guard(gate, now, ramp, ask);
            if let Some(member) = self.claim(gate, ask, worker) {
                return Some(member);
            }
        }
        worker.guard(gate, now, None, ask);
        self.claim(gate, ask, worker)
    }

    fn claim(&self, gate: Gate, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<&Arc<Member>> {
        let snapshot = self.group.snapshot();
        for _ in 0..CLAIMS_MAX {
            let position = self.picker.pick(&self.group, ask, worker)?;
            let member = snapshot.member(position)?;
            // Another call may have won the trial of an endpoint whose pause is over; look further then.
            if gate == Gate::Panic || worker.doubts(&self.group, position) || member.stats().claim() {
                return Some(member);
            }
        }
        None
    }
}

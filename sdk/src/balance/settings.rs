//! What a balancer does besides its policy: a value handed over when it is built.
//!
//! Everything but the policy and the panic threshold is off by default, and costs a pick nothing while it is off.
//! [`BalancerSettings::check`] names what cannot be used; a balancer that is built without asking keeps within bounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::policy::Policy;
use super::ramp::SlowStart;
use super::zone::Spill;
use crate::endpoint::Endpoint;
use crate::error::Error;

/// Holds the settings of a balancer. A [`Policy`] alone is one, with the defaults of everything else.
///
/// ```
/// use callboard::balance::{BalancerSettings, Policy, SlowStart};
/// let settings = BalancerSettings::new(Policy::RoundRobin)
///     .zone("eu-1a")
///     .zone_policy("eu-1b", Policy::Random)
///     .slow_start(SlowStart::default())
///     .subset(20);
/// assert!(settings.check().is_ok());
/// assert!(settings.panic_threshold(101).check().is_err());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BalancerSettings {
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// The zone of this process. Its endpoints come first.
    pub zone: Option<String>,
    /// Policies of zones that have another one than [`Self::policy`].
    pub zone_policies: Vec<(String, Policy)>,
    /// How much goes into other zones.
    pub spill: Spill,
    /// How new endpoints get their share; none: at once.
    pub slow_start: Option<SlowStart>,
    /// Below which share of endpoints that are well, in percent, statements about them are doubted; 0: never.
    pub panic_threshold: u32,
    /// To how many endpoints this client keeps; none: all.
    pub subset: Option<u32>,
    /// Which endpoints are considered at all; none: all.
    pub only: Option<Only>,
}

/// A rule that endpoints must meet, by a name that tells it from others.
#[derive(Clone)]
pub struct Only {
    name: Arc<str>,
    meets: Arc<dyn Fn(&Endpoint) -> bool + Send + Sync>,
}

impl Only {
    /// Makes a rule. Rules of one name must be alike: balancers of one service are told apart by it.
    pub fn new(name: &str, meets: impl Fn(&Endpoint) -> bool + Send + Sync + 'static) -> Self {
        Self { name: name.into(), meets: Arc::new(meets) }
    }

    /// Names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says whether an endpoint meets it.
    #[must_use]
    pub fn meets(&self, endpoint: &Endpoint) -> bool {
        (self.meets)(endpoint)
    }
}

impl fmt::Debug for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Only").field(&self.name).finish()
    }
}

impl BalancerSettings {
    /// Says whether a change may have to wait for a table, because nothing serves for it: in parts of the set, or for all that is
    /// known of a user's picker.
    pub(crate) fn may_wait(&self) -> bool {
        let has_parts = self.zone.is_some() || self.subset.is_some() || self.only.is_some();
        let mut policies = std::iter::once(&self.policy).chain(self.zone_policies.iter().map(|(_, policy)| policy));
        let in_parts = has_parts || !self.zone_policies.is_empty();
        policies.any(|policy| policy.is_custom() || in_parts && policy.may_have_table())
    }

    /// Begins with a policy and the defaults of everything else.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            zone: None,
            zone_policies: Vec::new(),
            spill: Spill::default(),
            slow_start: None,
            panic_threshold: 50,
            subset: None,
            only: None,
        }
    }

    /// Names the zone of this process: its endpoints are called first, and others as far as they are short or busy.
    #[must_use]
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        self.zone = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Sets the policy within one zone, the own or another; the last one for a zone counts.
    #[must_use]
    pub fn zone_policy(mut self, zone: impl Into<String>, policy: Policy) -> Self {
        let zone = zone.into();
        self.zone_policies.retain(|(known, _)| *known != zone);
        self.zone_policies.push((zone, policy));
        self
    }

    /// Sets how much goes from the own zone into others.
    #[must_use]
    pub fn spill(mut self, spill: Spill) -> Self {
        self.spill = spill;
        self
    }

    /// Lets endpoints that started lately get their share of calls slowly. Off unless set, as with Envoy and HAProxy:
    /// it needs to know what a server's start costs, and it delays the relief that a new server is meant to bring.
    #[must_use]
    pub fn slow_start(mut self, slow_start: SlowStart) -> Self {
        self.slow_start = Some(slow_start);
        self
    }

    /// Sets below which share of endpoints that are well, in percent, what speaks against them is doubted: 50 by
    /// default, 0 for never. If fewer of the known are passing or warning, the critical ones are tried as well: checks
    /// that all fail at once are more often wrong than right, and the few left would be overrun. If fewer of these are
    /// not aside, those aside by opinion are called again. Facts stay: whoever refuses connections is left out, and so
    /// is a critical one whose calls fail. Drained endpoints (weight 0) are never called.
    #[must_use]
    pub fn panic_threshold(mut self, percent: u32) -> Self {
        self.panic_threshold = percent;
        self
    }

    /// Keeps this client to so many endpoints, chosen so that many clients together spread evenly. Which of the clients it
    /// is [`crate::Client::balancer`] finds out from the registry, or [`super::Balancer::set_ordinal`] is told.
    #[must_use]
    pub fn subset(mut self, size: u32) -> Self {
        self.subset = Some(size);
        self
    }

    /// Considers only endpoints that meet a rule. `name` stands for the rule: give no two rules one name.
    #[must_use]
    pub fn only(mut self, name: &str, meets: impl Fn(&Endpoint) -> bool + Send + Sync + 'static) -> Self {
        self.only = Some(Only::new(name, meets));
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`], which names the first field that cannot be used, and what would be accepted.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |setting, reason: &str| Err(Error::Config { setting, reason: reason.to_owned() });
        if self.panic_threshold > 100 {
            return wrong("panic_threshold", "is a percentage: at most 100");
        }
        if self.subset == Some(0) {
            return wrong("subset", "must be at least 1 endpoint");
        }
        if !(1.0..=100.0).contains(&self.spill.overprovision) {
            return wrong("spill.overprovision", "must be in 1..=100");
        }
        if self.spill.demand.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            return wrong("spill.demand", "must be above 0 and at most 1");
        }
        let Some(SlowStart { window, aggression, share_min }) = &self.slow_start else { return Ok(()) };
        if window.is_zero() || *window > Duration::from_secs(86_400) {
            return wrong("slow_start.window", "must be more than 0 and at most a day");
        }
        if !(0.01..=100.0).contains(aggression) {
            return wrong("slow_start.aggression", "must be in 0.01..=100");
        }
        if !(1..=100).contains(share_min) {
            return wrong("slow_start.share_min", "is a percentage: 1 to 100");
        }
        Ok(())
    }
}

impl Default for BalancerSettings {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl From<Policy> for BalancerSettings {
    fn from(policy: Policy) -> Self {
        Self::new(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        let check = |settings: BalancerSettings, field: &str| {
            let text = settings.check().unwrap_err().to_string();
            assert!(text.contains(field), "{text}");
        };
        let new = || BalancerSettings::new(Policy::Random);
        check(new().subset(0), "subset");
        check(new().panic_threshold(101), "panic_threshold");
        check(new().spill(Spill { overprovision: 0.5, demand: None }), "spill.overprovision");
        check(new().spill(Spill { demand: Some(0.0), ..Spill::default() }), "spill.demand");
        let ramp = SlowStart::default;
        check(new().slow_start(SlowStart { window: Duration::ZERO, ..ramp() }), "slow_start.window");
        check(new().slow_start(SlowStart { aggression: f64::NAN, ..ramp() }), "slow_start.aggression");
        check(new().slow_start(SlowStart { share_min: 0, ..ramp() }), "slow_start.share_min");
        assert!(new().check().is_ok());
    }

    #[test]
    fn rules_are_told_apart_by_name() {
        let one = BalancerSettings::default().only("v1", |endpoint| endpoint.meta().contains_key("v1"));
        let two = BalancerSettings::default().only("v2", |endpoint| endpoint.meta().contains_key("v2"));
        assert_ne!(format!("{one:?}"), format!("{two:?}"));
    }
}

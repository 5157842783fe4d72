//! What a balancer does besides its policy: a value handed over when it is built.

use std::fmt;
use std::sync::Arc;

use super::policy::Policy;
use crate::endpoint::Endpoint;

/// Holds the settings of a balancer. A [`Policy`] alone is one, with the defaults of everything else.
#[derive(Clone, Debug, Default)]
pub struct BalancerSettings {
    /// How an endpoint is chosen.
    pub policy: Policy,
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

impl From<Policy> for BalancerSettings {
    fn from(policy: Policy) -> Self {
        Self { policy, only: None }
    }
}

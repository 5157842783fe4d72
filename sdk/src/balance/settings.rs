//! What a balancer does besides its policy: a value handed over when it is built.

use super::policy::Policy;

/// Holds the settings of a balancer. A [`Policy`] alone is one, with the defaults of everything else.
#[derive(Clone, Debug, Default)]
pub struct BalancerSettings {
    /// How an endpoint is chosen.
    pub policy: Policy,
}

impl From<Policy> for BalancerSettings {
    fn from(policy: Policy) -> Self {
        Self { policy }
    }
}

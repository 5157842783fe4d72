//! The `LoadBalancer` of a `service-resolver`: which policy, and what its hash is made of.
//!
//! Says what was configured and refuses what contradicts itself; which algorithm a name stands for is decided by
//! whoever balances.

use serde::{Deserialize, Serialize};

use super::rules::{InvalidEntry, Rules, is_default};
use crate::duration::GoDuration;

/// The policies that a resolver may name. No name leaves the choice to the client.
pub const POLICIES: [&str; 5] = ["random", "round_robin", "least_request", "ring_hash", "maglev"];

/// How the instances of a service are chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LoadBalancer {
    #[serde(skip_serializing_if = "is_default")]
    /// One of [`POLICIES`], or empty.
    pub policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Details of `ring_hash`.
    pub ring_hash_config: Option<RingHashConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Details of `least_request`.
    pub least_request_config: Option<LeastRequestConfig>,
    #[serde(skip_serializing_if = "is_default")]
    /// What is hashed, in order; later ones are mixed into earlier ones.
    pub hash_policies: Vec<HashPolicy>,
}

/// Bounds of the ring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RingHashConfig {
    #[serde(skip_serializing_if = "is_default")]
    /// The fewest points on the ring; 0 for the default.
    pub minimum_ring_size: u64,
    #[serde(skip_serializing_if = "is_default")]
    /// The most points on the ring; 0 for the default.
    pub maximum_ring_size: u64,
}

/// Details of least request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LeastRequestConfig {
    #[serde(skip_serializing_if = "is_default")]
    /// How many instances are compared; 0 for the default.
    pub choice_count: u32,
}

/// One thing that goes into the hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HashPolicy {
    #[serde(skip_serializing_if = "is_default")]
    /// `header`, `cookie` or `query_parameter`; empty with [`Self::source_ip`].
    pub field: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The name of the header, cookie or parameter.
    pub field_value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For `cookie`: the cookie to be made when the request has none.
    pub cookie_config: Option<CookieConfig>,
    #[serde(rename = "SourceIP", skip_serializing_if = "is_default")]
    /// The address of the caller.
    pub source_ip: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether the rest of the list is left out once this one gave a hash.
    pub terminal: bool,
}

/// A cookie that is made to keep a caller at its instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CookieConfig {
    #[serde(skip_serializing_if = "is_default")]
    /// Whether it ends with the browser's session.
    pub session: bool,
    #[serde(rename = "TTL", skip_serializing_if = "is_default")]
    /// How long it lasts otherwise.
    pub ttl: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    /// The path it is for.
    pub path: String,
}

impl LoadBalancer {
    pub(super) fn validate(&self) -> Result<(), InvalidEntry> {
        let rules = Rules("LoadBalancer");
        let policy = self.policy.as_str();
        if !policy.is_empty() && !POLICIES.contains(&policy) {
            return rules.broken(format!("unsupported Policy {policy:?}; one of {} is expected", POLICIES.join(", ")));
        }
        if let Some(ring) = &self.ring_hash_config {
            rules.require(policy == "ring_hash", "RingHashConfig is for the Policy ring_hash only")?;
            let ordered = ring.maximum_ring_size == 0 || ring.minimum_ring_size <= ring.maximum_ring_size;
            rules.require(ordered, "RingHashConfig.MinimumRingSize must not be above MaximumRingSize")?;
            const SIZE_MAX: u64 = 8 << 20;
            let bounded = ring.minimum_ring_size <= SIZE_MAX && ring.maximum_ring_size <= SIZE_MAX;
            rules.require(bounded, "RingHashConfig: a ring has at most 8388608 points")?;
        }
        let least = self.least_request_config.is_none() || policy == "least_request";
        rules.require(least, "LeastRequestConfig is for the Policy least_request only")?;
        let hashes = self.hash_policies.is_empty() || matches!(policy, "ring_hash" | "maglev");
        rules.require(hashes, "HashPolicies are for the Policies ring_hash and maglev only")?;
        for (place, hash) in self.hash_policies.iter().enumerate() {
            hash.validate(&format!("HashPolicies[{place}]"))?;
        }
        Ok(())
    }
}

impl HashPolicy {
    fn validate(&self, place: &str) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        if self.source_ip {
            let alone = self.field.is_empty() && self.field_value.is_empty() && self.cookie_config.is_none();
            return rules.require(alone, "SourceIP excludes Field, FieldValue and CookieConfig");
        }
        match self.field.as_str() {
            "header" | "cookie" | "query_parameter" => {}
            "" => return rules.broken("Field or SourceIP is missing"),
            other => return rules.broken(format!("Field {other:?} is none of header, cookie, query_parameter")),
        }
        rules.require(!self.field_value.is_empty(), "FieldValue is missing")?;
        if let Some(cookie) = &self.cookie_config {
            rules.require(self.field == "cookie", "CookieConfig is for the Field cookie only")?;
            rules.not_negative("CookieConfig.TTL", cookie.ttl)?;
            rules.require(!cookie.session || cookie.ttl.0 == 0, "CookieConfig: Session and TTL exclude each other")?;
        }
        Ok(())
    }
}

//! `service-resolver`: which instances a name stands for, and where to turn when none of them is well.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::load_balancer::LoadBalancer;
use super::rules::{InvalidEntry, Rules, is_default};
use crate::api::health::ServiceEntry;
use crate::duration::GoDuration;
use crate::filter::Filter;

/// How a service's name is resolved to instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceResolver {
    /// The service.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The subset that is meant when none is named; empty for all instances.
    pub default_subset: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Named parts of the service.
    pub subsets: BTreeMap<String, Subset>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Another service to be resolved in place of this one.
    pub redirect: Option<Redirect>,
    #[serde(skip_serializing_if = "is_default")]
    /// Where to turn when no instance is well, by subset; `*` for any.
    pub failover: BTreeMap<String, Failover>,
    #[serde(skip_serializing_if = "is_default")]
    /// How long making a connection may take; 0 for the client's default.
    pub connect_timeout: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    /// How long a whole call may take; 0 for the client's default.
    pub request_timeout: GoDuration,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// How instances are chosen.
    pub load_balancer: Option<LoadBalancer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Whether near instances come first, as the client wrote it.
    pub prioritize_by_locality: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "is_default")]
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
}

/// A named part of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Subset {
    #[serde(skip_serializing_if = "is_default")]
    /// Which instances, in the language of `?filter=` over rows of `/v1/health/service/`; empty for all.
    pub filter: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether instances that warn are left out.
    pub only_passing: bool,
}

/// Another service in place of this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Redirect {
    #[serde(skip_serializing_if = "is_default")]
    /// The service; empty for this one.
    pub service: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its subset; empty for its default.
    pub service_subset: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its datacenter; empty for this one.
    pub datacenter: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no peer clusters.
    pub peer: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no sameness groups.
    pub sameness_group: String,
}

/// Where to turn when no instance is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Failover {
    #[serde(skip_serializing_if = "is_default")]
    /// Another service; empty for this one.
    pub service: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its subset; empty for its default.
    pub service_subset: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Other datacenters, in order.
    pub datacenters: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    /// Whole targets, in order; excludes the four fields above.
    pub targets: Vec<FailoverTarget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// How the order is found.
    pub policy: Option<FailoverPolicy>,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no sameness groups.
    pub sameness_group: String,
}

/// One place to turn to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FailoverTarget {
    #[serde(skip_serializing_if = "is_default")]
    /// The service; empty for this one.
    pub service: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its subset; empty for its default.
    pub service_subset: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its datacenter; empty for this one.
    pub datacenter: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no peer clusters.
    pub peer: String,
}

/// How the order of targets is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FailoverPolicy {
    #[serde(skip_serializing_if = "is_default")]
    /// `sequential`, `order-by-locality` or empty.
    pub mode: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Regions, in order.
    pub regions: Vec<String>,
}

impl ServiceResolver {
    pub(super) fn validate(&self) -> Result<(), InvalidEntry> {
        let rules = Rules("");
        for (name, subset) in &self.subsets {
            rules.subset_name(name)?;
            if let Err(error) = Filter::<ServiceEntry>::parse(&subset.filter) {
                return rules.broken(format!("Filter of the subset {name:?} is not valid: {error}"));
            }
        }
        if !self.has_subset(&self.default_subset) {
            return rules.broken(format!("DefaultSubset {:?} is not a subset", self.default_subset));
        }
        if let Some(redirect) = &self.redirect {
            self.validate_redirect(redirect)?;
        }
        for (subset, failover) in &self.failover {
            if subset != "*" && (subset.is_empty() || !self.has_subset(subset)) {
                return rules.broken(format!("Failover {subset:?} is not a subset"));
            }
            self.validate_failover(&format!("Failover[{subset:?}]"), failover)?;
        }
        rules.not_negative("ConnectTimeout", self.connect_timeout)?;
        rules.not_negative("RequestTimeout", self.request_timeout)?;
        self.load_balancer.as_ref().map_or(Ok(()), LoadBalancer::validate)
    }

    /// Whether a subset is defined; the empty name stands for the whole service and always is.
    #[must_use]
    pub fn has_subset(&self, name: &str) -> bool {
        name.is_empty() || self.subsets.contains_key(name)
    }

    fn is_self(&self, service: &str) -> bool {
        service.is_empty() || service == self.name
    }

    fn validate_redirect(&self, redirect: &Redirect) -> Result<(), InvalidEntry> {
        let rules = Rules("Redirect");
        rules.require(self.failover.is_empty(), "Redirect and Failover exclude each other")?;
        rules.only_default("Namespace", &redirect.namespace)?;
        rules.only_default("Partition", &redirect.partition)?;
        rules.absent("Peer", &redirect.peer)?;
        rules.absent("SamenessGroup", &redirect.sameness_group)?;
        if is_default(redirect) {
            return rules.broken("Redirect is empty");
        }
        let named = redirect.service_subset.is_empty() || !redirect.service.is_empty();
        rules.require(named, "ServiceSubset is defined without Service")?;
        if self.is_self(&redirect.service) && !self.has_subset(&redirect.service_subset) {
            return rules.broken(format!("ServiceSubset {:?} is not a subset", redirect.service_subset));
        }
        let elsewhere = !self.is_self(&redirect.service) || !redirect.datacenter.is_empty();
        rules.require(elsewhere || !redirect.service_subset.is_empty(), "a service cannot be redirected to itself")
    }

    fn validate_failover(&self, place: &str, failover: &Failover) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        rules.only_default("Namespace", &failover.namespace)?;
        rules.absent("SamenessGroup", &failover.sameness_group)?;
        let single =
            !failover.service.is_empty() || !failover.service_subset.is_empty() || !failover.datacenters.is_empty();
        let some = single || !failover.targets.is_empty();
        rules.require(some, "one of Service, ServiceSubset, Datacenters or Targets is required")?;
        let exclusive = !single || failover.targets.is_empty();
        rules.require(exclusive, "Targets excludes Service, ServiceSubset and Datacenters")?;
        if self.is_self(&failover.service) && !self.has_subset(&failover.service_subset) {
            return rules.broken(format!("ServiceSubset {:?} is not a subset", failover.service_subset));
        }
        rules.require(!failover.datacenters.iter().any(String::is_empty), "found an empty datacenter")?;
        if let Some(policy) = &failover.policy {
            let known = matches!(policy.mode.as_str(), "" | "sequential" | "order-by-locality");
            rules.require(known, "Policy.Mode is neither sequential nor order-by-locality")?;
        }
        for (number, target) in failover.targets.iter().enumerate() {
            let place = format!("{place}.Targets[{number}]");
            let rules = Rules(&place);
            rules.only_default("Namespace", &target.namespace)?;
            rules.only_default("Partition", &target.partition)?;
            rules.absent("Peer", &target.peer)?;
            rules.require(!is_default(target), "the target is empty")?;
            if self.is_self(&target.service) && !self.has_subset(&target.service_subset) {
                return rules.broken(format!("ServiceSubset {:?} is not a subset", target.service_subset));
            }
        }
        Ok(())
    }
}

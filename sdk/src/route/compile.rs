//! From entries to rules: a service's routes lead to splits, splits to resolvers, resolvers to targets.
//!
//! Chains of redirects and of splits are followed up to a bound, and a circle is refused: rules that cannot be followed
//! are an error of the service that asked, and the calls of others go on. What a client of one datacenter cannot follow (targets in
//! others) is left out where there is something else, and refused where there is not.

use std::collections::HashMap;
use std::sync::Arc;

use callboard_proto::config_entry::{Failover, RouteDestination, ServiceResolver};
use callboard_proto::duration::GoDuration;

use super::change::{HeaderChanges, Rewrite};
use super::entries::Entries;
use super::hash::Hashes;
use super::matcher::Matcher;
use super::retry;
use super::rules::{Action, Algorithm, Branch, Rules, Target};
use super::split::Split;
use super::subset::Subset;

/// The most redirects, or splits of splits, in a row.
const DEPTH_MAX: usize = 8;
/// The most targets of one service.
const TARGETS_MAX: usize = 256;
/// The most routes of one service.
const ROUTES_MAX: usize = 1024;

/// Says why entries cannot be followed. Calls of the service go by the rules it had before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Redirects, or splits, run in a circle or go on for too long.
    #[error("{what} of {service} run in a circle, or through more than {DEPTH_MAX} entries")]
    Loop {
        /// Redirects or splits.
        what: &'static str,
        /// The service where it was found.
        service: String,
    },
    /// A subset is named that is not defined.
    #[error("{service} has no subset {subset:?}")]
    NoSubset {
        /// The service.
        service: String,
        /// The subset.
        subset: String,
    },
    /// A subset's filter cannot be used.
    #[error("the filter of the subset {subset:?} of {service} cannot be used: {reason}")]
    Filter {
        /// The service.
        service: String,
        /// The subset.
        subset: String,
        /// Why.
        reason: String,
    },
    /// A pattern is none.
    #[error("the pattern {pattern:?} cannot be used: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A name or value is none.
    #[error("{text:?} is no {what}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
    },
    /// A service is redirected to where this client does not look.
    #[error("{service} is redirected to {place}, which this client does not follow")]
    Elsewhere {
        /// The service.
        service: String,
        /// Where to.
        place: String,
    },
    /// A bound was reached.
    #[error("{service} has more than {max} {what}")]
    Bound {
        /// The service.
        service: String,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

/// Compiles the rules of a service; none when no entry says anything that a client follows. `datacenter` is the client's own,
/// empty when it does not say.
///
/// # Errors
/// [`RuleError`] when they cannot be followed.
pub fn compile(entries: &Entries, service: &str, datacenter: &str) -> Result<Option<Rules>, RuleError> {
    let bounded = entries.defaults(service).is_some_and(|entry| entry.max_inbound_connections > 0);
    let silent = entries.router(service).is_none()
        && entries.splitter(service).is_none()
        && entries.resolver(service).is_none()
        && !bounded;
    if silent {
        return Ok(None);
    }
    let mut compiler =
        Compiler { entries, datacenter, targets: Vec::new(), places: HashMap::new(), skipped: Vec::new() };
    let routes = compiler.routes(service)?;
    let hashes = match entries.resolver(service).and_then(|entry| entry.load_balancer.as_ref()) {
        Some(entry) => Hashes::new(&entry.hash_policies)?,
        None => Hashes::default(),
    };
    let Compiler { targets, skipped, .. } = compiler;
    Ok(Some(Rules { service: service.into(), routes, targets, hashes, skipped }))
}

struct Compiler<'a> {
    entries: &'a Entries,
    datacenter: &'a str,
    targets: Vec<Target>,
    places: HashMap<(String, String), usize>,
    skipped: Vec<String>,
}

impl Compiler<'_> {
    fn routes(&mut self, service: &str) -> Result<Vec<(Matcher, Action)>, RuleError> {
        let mut routes = Vec::new();
        let entries = self.entries;
        for route in entries.router(service).map_or(&[][..], |router| &router.routes) {
            if routes.len() >= ROUTES_MAX {
                return Err(RuleError::Bound { service: service.to_owned(), what: "routes", max: ROUTES_MAX });
            }
            let http = route.matches.as_ref().and_then(|matches| matches.http.as_ref());
            let matcher = http.map_or_else(|| Ok(Matcher::default()), Matcher::new)?;
            let none = RouteDestination::default();
            let destination = route.destination.as_ref().unwrap_or(&none);
            let mut action = self.action(filled(&destination.service, service), &destination.service_subset)?;
            action.rewrite = Rewrite::new(&destination.prefix_rewrite, http);
            action.request = HeaderChanges::new(destination.request_headers.as_ref())?;
            action.response = HeaderChanges::new(destination.response_headers.as_ref())?;
            action.timeout = destination.request_timeout.positive();
            action.retry = retry::policy(destination, matcher.names_methods());
            routes.push((matcher, action));
        }
        routes.push((Matcher::default(), self.action(service, "")?));
        Ok(routes)
    }

    fn action(&mut self, service: &str, subset: &str) -> Result<Action, RuleError> {
        let mut branches = Vec::new();
        let whole = Branch { weight: 1, target: 0, request: Vec::new(), response: Vec::new() };
        self.branches(service, subset, &whole, 0, &mut branches)?;
        let weights: Vec<u64> = branches.iter().map(|branch| branch.weight).collect();
        let split = if branches.len() > 1 { Split::new(&weights) } else { None };
        Ok(Action {
            split,
            branches,
            rewrite: None,
            request: HeaderChanges::default(),
            response: HeaderChanges::default(),
            timeout: None,
            retry: None,
        })
    }

    /// Adds the shares of a service, or of one subset of it, of `part` of the calls.
    fn branches(
        &mut self,
        service: &str,
        subset: &str,
        part: &Branch,
        depth: usize,
        found: &mut Vec<Branch>,
    ) -> Result<(), RuleError> {
        let entries = self.entries;
        let splitter = if subset.is_empty() { entries.splitter(service) } else { None };
        let shares: Vec<(u64, _)> = splitter
            .map_or(&[][..], |splitter| &splitter.splits)
            .iter()
            // In the steps of 0.01 % in which weights count.
            .map(|split| ((split.weight.clamp(0.0, 100.0) * 100.0).round() as u64, split))
            .filter(|(weight, _)| *weight > 0)
            .collect();
        if shares.is_empty() {
            let target = self.target(service, subset, &mut Vec::new())?;
            found.push(Branch { target, ..part.clone() });
            return Ok(());
        }
        // Splits of splits multiply: four levels still fit, more are a circle.
        if depth >= 4 {
            return Err(RuleError::Loop { what: "splits", service: service.to_owned() });
        }
        // What stands beside a split counts in the same steps, so that shares of shares add up.
        for (weight, split) in shares {
            let mut part = part.clone();
            part.weight = part.weight.saturating_mul(weight);
            part.request.push(HeaderChanges::new(split.request_headers.as_ref())?);
            part.response.push(HeaderChanges::new(split.response_headers.as_ref())?);
            let to = filled(&split.service, service);
            if to.eq_ignore_ascii_case(service) {
                // A split to the service itself means its instances, not the split again.
                part.weight = part.weight.saturating_mul(10_000u64.pow(3 - depth as u32));
                part.target = self.target(to, &split.service_subset, &mut Vec::new())?;
                found.push(part);
            } else if !split.service_subset.is_empty() || entries.splitter(to).is_none() {
                part.weight = part.weight.saturating_mul(10_000u64.pow(3 - depth as u32));
                part.target = self.target(to, &split.service_subset, &mut Vec::new())?;
                found.push(part);
            } else {
                self.branches(to, "", &part, depth + 1, found)?;
            }
            if found.len() > TARGETS_MAX {
                return Err(RuleError::Bound { service: service.to_owned(), what: "shares", max: TARGETS_MAX });
            }
        }
        Ok(())
    }

    /// Returns the place of a target, which is resolved on the first call. `seen` are the services on the way to it.
    fn target(&mut self, service: &str, subset: &str, seen: &mut Vec<(String, String)>) -> Result<usize, RuleError> {
        let entries = self.entries;
        let resolver = entries.resolver(service);
        let key = (service.to_ascii_lowercase(), subset.to_owned());
        if seen.len() >= DEPTH_MAX || seen.contains(&key) {
            return Err(RuleError::Loop { what: "redirects", service: service.to_owned() });
        }
        if let Some(redirect) = resolver.and_then(|entry| entry.redirect.as_ref()) {
            let datacenter = if redirect.datacenter == self.datacenter { "" } else { &redirect.datacenter };
            for place in [datacenter, &redirect.peer, &redirect.sameness_group] {
                if !place.is_empty() {
                    return Err(RuleError::Elsewhere { service: service.to_owned(), place: place.to_owned() });
                }
            }
            seen.push(key);
            return self.target(filled(&redirect.service, service), &redirect.service_subset, seen);
        }
        let subset = match resolver {
            Some(entry) if subset.is_empty() => &entry.default_subset,
            _ => subset,
        };
        let key = (service.to_ascii_lowercase(), subset.to_owned());
        if let Some(place) = self.places.get(&key) {
            return Ok(*place);
        }
        if self.targets.len() >= TARGETS_MAX {
            return Err(RuleError::Bound { service: service.to_owned(), what: "targets", max: TARGETS_MAX });
        }
        let target = self.resolve(service, subset, resolver)?;
        let place = self.targets.len();
        self.places.insert(key, place);
        self.targets.push(target);
        if let Some(entry) = resolver.and_then(|entry| entry.failover.get(subset).or_else(|| entry.failover.get("*"))) {
            let failover = self.failover(service, entry, place)?;
            self.targets[place].failover = failover;
        }
        Ok(place)
    }

    fn resolve(&self, service: &str, subset: &str, resolver: Option<&ServiceResolver>) -> Result<Target, RuleError> {
        let definition = resolver.and_then(|entry| entry.subsets.get(subset));
        let part = match definition {
            _ if subset.is_empty() => None,
            Some(definition) => Some(Subset::new(service, subset, definition)?),
            None => return Err(RuleError::NoSubset { service: service.to_owned(), subset: subset.to_owned() }),
        };
        let balancer = resolver.and_then(|entry| entry.load_balancer.as_ref());
        let algorithm = match balancer.map_or("", |entry| &entry.policy) {
            "" => None,
            "random" => Some(Algorithm::Random),
            "round_robin" => Some(Algorithm::RoundRobin),
            "least_request" => Some(Algorithm::LeastRequest),
            "ring_hash" => Some(Algorithm::RingHash),
            "maglev" => Some(Algorithm::Maglev),
            other => return Err(RuleError::Malformed { what: "policy", text: other.to_owned() }),
        };
        let time = |of: fn(&ServiceResolver) -> GoDuration| resolver.and_then(|entry| of(entry).positive());
        let connections = self.entries.defaults(service).map_or(0, |entry| entry.max_inbound_connections);
        Ok(Target {
            service: Arc::from(service),
            subset: part,
            algorithm,
            hashes: balancer.map_or_else(|| Ok(Hashes::default()), |entry| Hashes::new(&entry.hash_policies))?,
            connect_timeout: time(|entry| entry.connect_timeout),
            request_timeout: time(|entry| entry.request_timeout),
            connections_max: (connections > 0).then_some(connections),
            failover: Vec::new(),
        })
    }

    /// Resolves where to turn. Those targets are turned to as they are, without what they would turn to themselves.
    fn failover(&mut self, service: &str, entry: &Failover, own: usize) -> Result<Vec<usize>, RuleError> {
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        if !entry.service.is_empty() || !entry.service_subset.is_empty() {
            wanted.push((filled(&entry.service, service), &entry.service_subset));
        }
        for target in &entry.targets {
            let place = [&target.datacenter, &target.peer].into_iter().find(|place| !place.is_empty());
            match place {
                Some(place) if **place != *self.datacenter => {
                    self.skipped.push(format!("failover of {service} to {place}"));
                }
                _ => wanted.push((filled(&target.service, service), &target.service_subset)),
            }
        }
        for place in entry.datacenters.iter().filter(|place| **place != *self.datacenter) {
            self.skipped.push(format!("failover of {service} to {place}"));
        }
        let mut places = Vec::new();
        for (service, subset) in wanted {
            let place = self.target(service, subset, &mut Vec::new())?;
            if place != own && !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }
}

fn filled<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

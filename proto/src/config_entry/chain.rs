//! What config entries ask of one another: routes, splits and intentions about requests need services that speak HTTP,
//! chains need one protocol from end to end, and subsets that exist, and must not go in circles.
//!
//! Called by the registry before an entry is written or removed, with the entries as they would be afterwards. Each
//! reference is looked at by itself: since both its ends are, so is every chain of them.

use std::collections::BTreeSet;

use super::rules::InvalidEntry;
use super::{ConfigEntry, EntryKind, Split};

/// The entries as they would be, by kind and name.
pub trait Entries {
    /// One entry.
    fn entry(&self, kind: EntryKind, name: &str) -> Option<&ConfigEntry>;
}

/// The protocol of a service: its own, else the one for all proxies, else `tcp`.
pub fn protocol<'a>(entries: &'a dyn Entries, service: &str) -> &'a str {
    let own = match entries.entry(EntryKind::ServiceDefaults, service) {
        Some(ConfigEntry::Defaults(defaults)) => defaults.protocol.as_str(),
        _ => "",
    };
    if !own.is_empty() {
        return own;
    }
    let global = match entries.entry(EntryKind::ProxyDefaults, "global") {
        Some(ConfigEntry::Opaque(defaults)) => defaults.fields.get("Config").or_else(|| defaults.fields.get("config")),
        _ => None,
    };
    global.and_then(|config| config.get("protocol")?.as_str()).filter(|text| !text.is_empty()).unwrap_or("tcp")
}

/// Checks everything that the entries of one service ask of others.
///
/// # Errors
/// Names the service, and what is asked of which other one.
pub fn check(entries: &dyn Entries, service: &str) -> Result<(), InvalidEntry> {
    let broken = |text: String| Err(InvalidEntry(text));
    let own = protocol(entries, service);
    let references = references(entries, service);
    if let Some(ConfigEntry::Intentions(intentions)) = entries.entry(EntryKind::ServiceIntentions, service)
        && intentions.has_permissions()
        && !matches!(own, "http" | "http2" | "grpc")
    {
        return broken(format!(
            "service-intentions {service:?} has Permissions, and the service uses a protocol {own:?} whose requests cannot be told apart"
        ));
    }
    if references.needs_http && !matches!(own, "http" | "http2" | "grpc") {
        return broken(format!(
            "discovery chain {service:?} uses a protocol {own:?} that does not permit advanced routing or splitting behavior"
        ));
    }
    for (other, subset) in references.to {
        let theirs = protocol(entries, other);
        if theirs != own {
            return broken(format!(
                "discovery chain {service:?} uses inconsistent protocols; service {other:?} has {theirs:?} which is not {own:?}"
            ));
        }
        let known = match entries.entry(EntryKind::ServiceResolver, other) {
            Some(ConfigEntry::Resolver(resolver)) => resolver.has_subset(subset),
            _ => subset.is_empty(),
        };
        if !known {
            return broken(format!(
                "discovery chain {service:?} asks for a subset that does not exist; service {other:?} does not have a subset named {subset:?}"
            ));
        }
    }
    if let Some(by_way_of) = splits_in_a_circle(entries, service) {
        return broken(format!("discovery chain {service:?} is split in a circle, by way of service {by_way_of:?}"));
    }
    let mut seen = BTreeSet::from([service]);
    let mut at = service;
    while let Some(ConfigEntry::Resolver(resolver)) = entries.entry(EntryKind::ServiceResolver, at) {
        let Some(redirect) = resolver.redirect.as_ref().filter(|redirect| redirect.datacenter.is_empty()) else {
            break;
        };
        if redirect.service.is_empty() || redirect.service == at {
            break;
        }
        at = &redirect.service;
        if !seen.insert(at) {
            return broken(format!("discovery chain {service:?} is redirected in a circle, by way of service {at:?}"));
        }
    }
    Ok(())
}

/// Whether the shares of a service lead to its own splitter again: by way of which service.
fn splits_in_a_circle<'a>(entries: &'a dyn Entries, service: &str) -> Option<&'a str> {
    let next = |service: &str| match entries.entry(EntryKind::ServiceSplitter, service) {
        Some(ConfigEntry::Splitter(splitter)) => splitter.splits.as_slice(),
        _ => &[],
    };
    let whole = |from: &str, split: &&'a Split| {
        split.service_subset.is_empty() && !split.service.is_empty() && !split.service.eq_ignore_ascii_case(from)
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut left: Vec<&'a str> =
        next(service).iter().filter(|split| whole(service, split)).map(|split| split.service.as_str()).collect();
    while let Some(at) = left.pop() {
        for split in next(at).iter().filter(|split| whole(at, split)) {
            if split.service.eq_ignore_ascii_case(service) {
                return Some(at);
            }
            if seen.insert(split.service.to_ascii_lowercase()) {
                left.push(&split.service);
            }
        }
    }
    None
}

/// Which services and subsets the entries of one service name.
struct References<'a> {
    needs_http: bool,
    to: Vec<(&'a str, &'a str)>,
}

fn references<'a>(entries: &'a dyn Entries, service: &'a str) -> References<'a> {
    let mut found = References { needs_http: false, to: Vec::new() };
    let or_self = |other: &'a str| if other.is_empty() { service } else { other };
    if let Some(ConfigEntry::Router(router)) = entries.entry(EntryKind::ServiceRouter, service) {
        found.needs_http = true;
        let destinations = router.routes.iter().filter_map(|route| route.destination.as_ref());
        found.to.extend(destinations.map(|to| (or_self(&to.service), &*to.service_subset)));
    }
    if let Some(ConfigEntry::Splitter(splitter)) = entries.entry(EntryKind::ServiceSplitter, service) {
        found.needs_http = true;
        found.to.extend(splitter.splits.iter().map(|to| (or_self(&to.service), &*to.service_subset)));
    }
    if let Some(ConfigEntry::Resolver(resolver)) = entries.entry(EntryKind::ServiceResolver, service) {
        // What lies in another datacenter is described there.
        let redirect = resolver.redirect.iter().filter(|redirect| redirect.datacenter.is_empty());
        found.to.extend(redirect.map(|to| (or_self(&to.service), &*to.service_subset)));
        for failover in resolver.failover.values() {
            if failover.targets.is_empty() && failover.datacenters.is_empty() {
                found.to.push((or_self(&failover.service), &failover.service_subset));
            }
            let targets = failover.targets.iter().filter(|target| target.datacenter.is_empty());
            found.to.extend(targets.map(|to| (or_self(&to.service), &*to.service_subset)));
        }
    }
    found
}

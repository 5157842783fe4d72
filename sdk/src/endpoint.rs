//! Something that can be dialled, as the registry described it, and what this process knows of it.
//!
//! [`Endpoint`] is the immutable half: who it is, where it listens, how much it should get.
//! [`EndpointStats`] is the living half: calls in flight, failures in a row, set aside until when. What of it a pick reads
//! is its [`Gauge`].
//! Nothing here knows the wire, a snapshot or a policy; `catalog` builds endpoints from registry
//! rows and `balance` reads them.

mod aside;
mod clock;
mod demand;
mod gauge;
mod gauges;
mod latency;
mod outlier;
mod replies;
mod reply;
mod stats;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

pub use aside::{Aside, Ejection};
pub use clock::Clock;
pub use gauge::{Gauge, Load, Report};
pub(crate) use gauges::{Gauges, NO_CELL};
pub use latency::Latency;
pub use outlier::Outliers;
pub(crate) use outlier::judge;
pub use replies::Replies;
pub use stats::{EndpointKey, EndpointStats, Outcome, Tally};

/// Says what the worst check of an instance says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Every check passes.
    #[default]
    Passing,
    /// At least one check warns; the instance is called by its warning weight.
    Warning,
    /// At least one check is critical; the instance is not called, unless so many are that this is doubted
    /// ([`crate::balance::BalancerSettings::panic_threshold`]).
    Critical,
}

/// Describes one instance as it can be dialled; never changes after it was built.
///
/// ```
/// use callboard::endpoint::{Endpoint, Health};
/// let endpoint = Endpoint::new("web-1", "10.0.0.7", 8080).on_node("n1").weighted(3, 1);
/// assert_eq!(endpoint.authority(), "10.0.0.7:8080");
/// assert_eq!(endpoint.weight_effective(), 3);
/// assert_eq!(endpoint.with_health(Health::Critical).weight_effective(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    id: Box<str>,
    node: Box<str>,
    authority: Box<str>,
    host_len: usize,
    port: u16,
    socket: Option<SocketAddr>,
    weight: u32,
    weight_warning: u32,
    health: Health,
    slot: Option<u32>,
    started: Option<u64>,
    probe_port: Option<u16>,
    zone: Option<Box<str>>,
    tags: Vec<String>,
    meta: BTreeMap<String, String>,
}

impl Endpoint {
    /// Builds a passing endpoint of weight 1. `host` is an IP literal (a v6 one with or without
    /// brackets) or a name to be resolved by whoever dials.
    #[must_use]
    pub fn new(id: &str, host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let ip = bare.parse::<IpAddr>().ok();
        let host = match ip {
            Some(IpAddr::V6(_)) => format!("[{bare}]"),
            _ => bare.to_owned(),
        };
        Self {
            id: id.into(),
            node: "".into(),
            authority: format!("{host}:{port}").into(),
            host_len: host.len(),
            port,
            socket: ip.map(|ip| SocketAddr::new(ip, port)),
            weight: 1,
            weight_warning: 1,
            health: Health::Passing,
            slot: None,
            started: None,
            probe_port: None,
            zone: None,
            tags: Vec::new(),
            meta: BTreeMap::new(),
        }
    }

    /// Names the node that carries the instance; part of its identity.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.node = node.into();
        self
    }

    /// Sets the weight while passing and while warning; 0 means drained: known, never chosen.
    #[must_use]
    pub fn weighted(mut self, passing: u32, warning: u32) -> Self {
        (self.weight, self.weight_warning) = (passing, warning);
        self
    }

    /// Sets the health.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Sets the zone (rack, availability zone, site) the instance runs in.
    #[must_use]
    pub fn in_zone(mut self, zone: &str) -> Self {
        self.zone = (!zone.is_empty()).then(|| zone.into());
        self
    }

    /// Sets the slot that the registry gave the instance: a small number, its own within the service, that stays
    /// with it over restarts, so that all clients place it alike.
    #[must_use]
    pub fn in_slot(mut self, slot: u32) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Sets when the instance's process started, in seconds since 1970: new ones get their share of calls slowly.
    #[must_use]
    pub fn started_at(mut self, seconds: u64) -> Self {
        self.started = Some(seconds);
        self
    }

    /// Sets the UDP port on which the instance says how busy it is.
    #[must_use]
    pub fn probed_on(mut self, port: u16) -> Self {
        self.probe_port = (port != 0).then_some(port);
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn tagged(mut self, tags: Vec<String>) -> Self {
        self.tags = tags;
        self
    }

    /// Sets the metadata.
    #[must_use]
    pub fn with_meta(mut self, meta: BTreeMap<String, String>) -> Self {
        self.meta = meta;
        self
    }

    /// Names the instance; unique on its node.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Names the node; empty when unknown.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Orders and identifies: instance id first, then node, so that every client sorts alike.
    #[must_use]
    pub fn identity(&self) -> (&str, &str) {
        (&self.id, &self.node)
    }

    /// Returns the host as it is dialled, a v6 literal in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.authority[..self.host_len]
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns `host:port`, ready for a `Host` header and for the hash ring.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the socket address when the host is an IP literal; otherwise the host is a name.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        self.socket
    }

    /// Returns the health.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Returns the weight that counts in the present health: 0 while critical or drained.
    #[must_use]
    pub fn weight_effective(&self) -> u32 {
        match self.health {
            Health::Passing => self.weight,
            Health::Warning => self.weight_warning,
            Health::Critical => 0,
        }
    }

    /// Returns the zone, if the registry names one.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Returns the slot that the registry gave, if it gives slots.
    #[must_use]
    pub fn slot(&self) -> Option<u32> {
        self.slot
    }

    /// Returns when the instance's process started, in seconds since 1970, if it says so.
    #[must_use]
    pub fn started(&self) -> Option<u64> {
        self.started
    }

    /// Returns the UDP port on which the instance says how busy it is, if it does and the host is an IP literal: nobody
    /// resolves names for a probe.
    #[must_use]
    pub fn probe_port(&self) -> Option<u16> {
        self.probe_port.filter(|_| self.socket.is_some())
    }

    /// Returns the weight while passing, whatever the health.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns the tags.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Returns the metadata.
    #[must_use]
    pub fn meta(&self) -> &BTreeMap<String, String> {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_text_and_socket_where_it_can_be() {
        for (host, authority, literal) in [
            ("10.0.0.1", "10.0.0.1:80", true),
            ("::1", "[::1]:80", true),
            ("[::1]", "[::1]:80", true),
            ("web.internal", "web.internal:80", false),
        ] {
            let endpoint = Endpoint::new("a", host, 80);
            assert_eq!(endpoint.authority(), authority);
            assert_eq!(format!("{}:80", endpoint.host()), authority);
            assert_eq!(endpoint.socket().is_some(), literal, "{host}");
        }
    }

    #[test]
    fn the_weight_follows_the_health() {
        let endpoint = Endpoint::new("a", "h", 1).weighted(10, 2);
        assert_eq!(endpoint.weight_effective(), 10);
        let endpoint = endpoint.with_health(Health::Warning);
        assert_eq!(endpoint.weight_effective(), 2);
        let endpoint = endpoint.with_health(Health::Critical);
        assert_eq!(endpoint.weight_effective(), 0);
    }
}

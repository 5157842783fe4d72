//! What a name asks for.
//!
//! Names are read from the right: the domain, then an optional datacenter, then the word that says the kind of thing
//! (`node`, `service`, …), and before it the thing's own name, which may contain dots. Letter case never matters.
//! Whether the thing exists is for the caller to find out; whether the asked type of record makes sense is decided
//! in `answer`.

use std::net::IpAddr;

use super::name;

/// The namespace and partition that exist in a single-tenant registry; labels may name them.
const DEFAULT_TENANT: &str = "default";

/// The domains that names are read in, and the datacenter that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    domain: String,
    alt_domain: Option<String>,
    datacenter: String,
}

/// A name that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'z> {
    /// What it asks for.
    pub lookup: Lookup,
    /// The domain that the question used, without dots at its ends; answers use it too. The primary one if it used
    /// none.
    pub domain: &'z str,
}

/// What a name asks for. Names in it are in lower case; rows are to be compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The domain itself.
    Apex,
    /// `ns.<domain>`: the control nodes.
    NameServers,
    /// A node by name.
    Node {
        /// The node name.
        name: String,
    },
    /// The instances of a service.
    Service {
        /// The service name.
        service: String,
        /// The tag that instances must have.
        tag: Option<String>,
    },
    /// The mesh proxies and mesh-native instances of a service.
    Connect {
        /// The service name.
        service: String,
    },
    /// The ingress gateways of a service.
    Ingress {
        /// The service name.
        service: String,
    },
    /// The virtual address of a service.
    Virtual {
        /// The service name.
        service: String,
    },
    /// A prepared query by name or id.
    Query {
        /// The name or id.
        query: String,
    },
    /// An address written in hexadecimal, as in the targets of SRV records.
    Address(IpAddr),
    /// The names of an address.
    Reverse(IpAddr),
    /// Something in a datacenter that is not ours: there is no such name.
    ForeignDatacenter {
        /// The datacenter.
        datacenter: String,
    },
    /// Something in our domain that cannot exist.
    Unknown,
    /// A name that is not ours to answer: for the recursors, or to be refused.
    OutsideDomain,
}

impl Zone {
    /// Makes a zone; dots around domains are ignored, and an empty domain has no names.
    #[must_use]
    pub fn new(domain: &str, alt_domain: Option<&str>, datacenter: &str) -> Self {
        let clean = |domain: &str| domain.trim_matches('.').to_ascii_lowercase();
        Self {
            domain: clean(domain),
            alt_domain: alt_domain.map(clean).filter(|domain| !domain.is_empty()),
            datacenter: datacenter.to_ascii_lowercase(),
        }
    }

    /// Returns the primary domain, without dots at its ends.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the datacenter that is ours.
    #[must_use]
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    /// Reads a name: labels joined by dots, the last dot optional.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Asked<'_> {
        let outside = Asked { lookup: Lookup::OutsideDomain, domain: &self.domain };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > name::NAME_BYTES_MAX {
            return outside;
        }
        let name = name.to_ascii_lowercase();
        let domains = [Some(self.domain.as_str()), self.alt_domain.as_deref()];
        // One domain may end with the other; the longer one is meant then.
        let found = domains
            .into_iter()
            .flatten()
            .filter_map(|domain| before(&name, domain).map(|rest| (domain, rest)))
            .max_by_key(|(domain, _)| domain.len());
        match found {
            Some((domain, _)) if name == domain => Asked { lookup: Lookup::Apex, domain },
            Some((domain, rest)) => {
                let labels: Vec<&str> = rest.split('.').collect();
                Asked { lookup: self.within(&labels).unwrap_or(Lookup::Unknown), domain }
            }
            None => {
                let labels: Vec<&str> = name.split('.').collect();
                match name::reverse(&labels) {
                    Some(address) => Asked { lookup: Lookup::Reverse(address), ..outside },
                    None => outside,
                }
            }
        }
    }

    /// Reads the labels before the domain.
    fn within(&self, labels: &[&str]) -> Option<Lookup> {
        if labels.iter().any(|label| label.is_empty()) {
            return None;
        }
        if labels == ["ns"] {
            return Some(Lookup::NameServers);
        }
        let (parts, kind, place) = split(labels)?;
        let datacenter = datacenter(place)?;
        let lookup = thing(parts, kind)?;
        match datacenter {
            Some(other) if other != self.datacenter => Some(Lookup::ForeignDatacenter { datacenter: other.to_owned() }),
            _ => Some(lookup),
        }
    }
}

/// Returns what stands before a domain, without the dot between; nothing if the name is not in the domain.
fn before<'n>(name: &'n str, domain: &str) -> Option<&'n str> {
    if domain.is_empty() {
        return None;
    }
    let rest = name.strip_suffix(domain)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
}

/// Finds the word that says the kind of thing: what stands before it, the word, what stands after it.
fn split<'l, 'n>(labels: &'l [&'n str]) -> Option<(&'l [&'n str], &'n str, &'l [&'n str])> {
    for (place, label) in labels.iter().enumerate().rev() {
        if matches!(*label, "service" | "node" | "query" | "addr" | "connect" | "ingress" | "virtual") {
            return Some((&labels[..place], label, &labels[place + 1..]));
        }
        // In `_web._tcp.dc1` the word "service" is understood.
        if place > 0 && label.starts_with('_') {
            return Some((&labels[..=place], "service", &labels[place + 1..]));
        }
    }
    None
}

/// Reads the labels after the kind: nothing, a datacenter, or pairs of a value and what it is. The outer `None`
/// means that there cannot be such a place.
fn datacenter<'n>(labels: &[&'n str]) -> Option<Option<&'n str>> {
    match labels {
        [] => Some(None),
        [datacenter] => Some(Some(datacenter)),
        _ => {
            let (pairs, rest) = labels.as_chunks::<2>();
            let mut found = None;
            for [value, what] in pairs {
                match *what {
                    "dc" if found.is_none() => found = Some(*value),
                    "ns" | "ap" if *value == DEFAULT_TENANT => {}
                    // Peers and sameness groups do not exist here.
                    _ => return None,
                }
            }
            rest.is_empty().then_some(found)
        }
    }
}

/// Reads the labels before the kind.
fn thing(parts: &[&str], kind: &str) -> Option<Lookup> {
    let (last, front) = parts.split_last()?;
    let service = (*last).to_owned();
    Some(match kind {
        "service" => match underscored(parts) {
            Some((service, protocol)) => Lookup::Service {
                service: service.to_owned(),
                // RFC 2782 has the transport protocol here; only `_tcp` is read as one, like Consul does.
                tag: (protocol != "tcp").then(|| protocol.to_owned()),
            },
            None => Lookup::Service { service, tag: (!front.is_empty()).then(|| front.join(".")) },
        },
        "node" => Lookup::Node { name: parts.join(".") },
        "query" => match underscored(parts) {
            Some((query, _)) => Lookup::Query { query: query.to_owned() },
            None => Lookup::Query { query: parts.join(".") },
        },
        "addr" if front.is_empty() => Lookup::Address(name::from_hex(last)?),
        "connect" => Lookup::Connect { service },
        "ingress" => Lookup::Ingress { service },
        "virtual" => Lookup::Virtual { service },
        _ => return None,
    })
}

/// Reads `_<name>._<protocol>` (RFC 2782).
fn underscored<'n>(parts: &[&'n str]) -> Option<(&'n str, &'n str)> {
    let [name, protocol] = parts else { return None };
    let (name, protocol) = (name.strip_prefix('_')?, protocol.strip_prefix('_')?);
    (!name.is_empty() && !protocol.is_empty()).then_some((name, protocol))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone() -> Zone {
        Zone::new("consul.", Some("corp.example."), "dc1")
    }

    fn describe(lookup: Lookup) -> String {
        match lookup {
            Lookup::Apex => "apex".into(),
            Lookup::NameServers => "name servers".into(),
            Lookup::Node { name } => format!("node {name}"),
            Lookup::Service { service, tag: None } => format!("service {service}"),
            Lookup::Service { service, tag: Some(tag) } => format!("service {service} tag {tag}"),
            Lookup::Connect { service } => format!("connect {service}"),
            Lookup::Ingress { service } => format!("ingress {service}"),
            Lookup::Virtual { service } => format!("virtual {service}"),
            Lookup::Query { query } => format!("query {query}"),
            Lookup::Address(address) => format!("address {address}"),
            Lookup::Reverse(address) => format!("reverse {address}"),
            Lookup::ForeignDatacenter { datacenter } => format!("foreign {datacenter}"),
            Lookup::Unknown => "unknown".into(),
            Lookup::OutsideDomain => "outside".into(),
        }
    }

    #[track_caller]
    fn check(name: &str, expect: &str) {
        assert_eq!(describe(zone().lookup(name).lookup), expect, "{name}");
        assert_eq!(describe(zone().lookup(&format!("{name}.")).lookup), expect, "{name}.");
        assert_eq!(describe(zone().lookup(&name.to_ascii_uppercase()).lookup), expect, "{name} in upper case");
    }

    #[test]
    fn services() {
        check("web.service.consul", "service web");
        check("web.service.dc1.consul", "service web");
        check("web.service.dc1.dc.consul", "service web");
        check("web.service.default.ns.default.ap.dc1.dc.consul", "service web");
        check("web.service.corp.example", "service web");
        check("v1.web.service.consul", "service web tag v1");
        check("v1.2.3.web.service.dc1.consul", "service web tag v1.2.3");
        check("_web._tcp.service.consul", "service web");
        check("_web._v1.service.consul", "service web tag v1");
        check("_web._udp.service.dc1.consul", "service web tag udp");
        check("_web._tcp.consul", "service web");
        check("_web._v1.dc1.consul", "service web tag v1");
        check("_grpclb._tcp.web.service.consul", "service web tag _grpclb._tcp");
        check("_grpc_config.web.service.consul", "service web tag _grpc_config");
        check("a.node.service.consul", "service node tag a");
        check("service.service.consul", "service service");
    }

    #[test]
    fn other_things() {
        check("consul", "apex");
        check("corp.example", "apex");
        check("ns.consul", "name servers");
        check("n1.node.consul", "node n1");
        check("n1.node.dc1.consul", "node n1");
        check("n1.example.com.node.consul", "node n1.example.com");
        check("q.query.consul", "query q");
        check("a.b.query.dc1.consul", "query a.b");
        check("_q._tcp.query.consul", "query q");
        check("web.connect.consul", "connect web");
        check("web.ingress.consul", "ingress web");
        check("web.virtual.consul", "virtual web");
        check("7f000001.addr.consul", "address 127.0.0.1");
        check("0a000001.addr.dc1.consul", "address 10.0.0.1");
        check("20010db8000000000000000000000001.addr.consul", "address 2001:db8::1");
        check("1.0.0.127.in-addr.arpa", "reverse 127.0.0.1");
        check(&format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)), "reverse 2001:db8::1");
    }

    #[test]
    fn what_cannot_exist() {
        check("service.consul", "unknown");
        check("node.consul", "unknown");
        check("foo.consul", "unknown");
        check("web.bogus.consul", "unknown");
        check("zz.addr.consul", "unknown");
        check("7f000001.x.addr.consul", "unknown");
        check("web..service.consul", "unknown");
        check(".consul", "unknown");
        check("web.service.a.b.consul", "unknown");
        check("web.service.other.ns.consul", "unknown");
        check("web.service.p1.peer.consul", "unknown");
        check("web.service.a.b.c.consul", "unknown");
    }

    #[test]
    fn elsewhere() {
        check("web.service.dc2.consul", "foreign dc2");
        check("n1.node.dc2.dc.consul", "foreign dc2");
        check("_web._tcp.dc2.consul", "foreign dc2");
        check("example.com", "outside");
        check("notconsul", "outside");
        check("consul.example.com", "outside");
        check("", "outside");
        check("256.0.0.127.in-addr.arpa", "outside");
        check("0.0.127.in-addr.arpa", "outside");
        check("in-addr.arpa", "outside");
        assert_eq!(zone().lookup(&"x.".repeat(4000)).lookup, Lookup::OutsideDomain);
    }

    #[test]
    fn answers_use_the_domain_of_the_question() {
        assert_eq!(zone().lookup("Web.Service.Corp.Example.").domain, "corp.example");
        assert_eq!(zone().lookup("web.service.consul").domain, "consul");
        assert_eq!(zone().lookup("1.0.0.127.in-addr.arpa").domain, "consul");
        let nested = Zone::new("consul", Some("east.consul"), "dc1");
        assert_eq!(nested.lookup("web.service.east.consul").domain, "east.consul");
        assert_eq!(describe(nested.lookup("web.service.east.consul").lookup), "service web");
        assert_eq!(Zone::new("", None, "dc1").lookup("web.service").lookup, Lookup::OutsideDomain);
    }

    proptest! {
        #[test]
        fn random_names_never_panic(name in any::<String>()) {
            let _ = zone().lookup(&name);
            let _ = zone().lookup(&format!("{name}.consul"));
            let _ = zone().lookup(&format!("{name}.ip6.arpa"));
        }

        #[test]
        fn random_labels_never_panic(labels in prop::collection::vec(prop::sample::select(vec![
            "web", "service", "node", "query", "addr", "virtual", "_a", "_", "tcp", "_tcp", "dc1", "dc", "ns", "", "é",
            "consul", "arpa",
        ]), 0..8)) {
            let _ = zone().lookup(&labels.join("."));
            let _ = zone().lookup(&format!("{}.consul", labels.join(".")));
        }
    }
}

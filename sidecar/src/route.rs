//! PURE: reads the authority of a request on the shared outbound port: which service does
//! `payments.service.consul:8080` mean?
//!
//! Decides only the meaning of the name. Whether such a service exists, and which instance gets the
//! request, is the SDK's business. Called by `outbound`, once per authority and worker.

use callboard_proto::name::ServiceName;

/// Why an authority names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    /// There is nothing to route by.
    #[error("the request names no host; send a Host header or an absolute URI such as http://NAME.service.{domain}/")]
    Missing {
        /// The domain that is served.
        domain: String,
    },
    /// The name lies outside the domain, so it is not ours to resolve.
    #[error(
        "host {host:?} is not a name of the catalog; expected NAME.service.{domain} \
         (put other hosts into no_proxy)"
    )]
    Foreign {
        /// What was asked for, cut to a printable length.
        host: String,
        /// The domain that is served.
        domain: String,
    },
    /// The name is in the domain but has not the form of a service name.
    #[error("host {host:?} is not of the form [TAG.]NAME.service[.DATACENTER].{domain}")]
    Malformed {
        /// What was asked for, cut to a printable length.
        host: String,
        /// The domain that is served.
        domain: String,
    },
}

/// What an authority asks for; borrowed from it, lower case is the caller's to make.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// The service, lower case.
    pub(crate) service: ServiceName,
    /// The tag an instance must carry.
    pub(crate) tag: Option<String>,
    /// The datacenter to ask, when the name says one.
    pub(crate) datacenter: Option<String>,
}

/// Longest host that is looked at: the longest name DNS can carry.
const HOST_MAX: usize = 253;

/// Reads an authority: `[TAG.]NAME.service[.DATACENTER].DOMAIN[.][:PORT]`, letters in any case.
///
/// The port is not used: the catalog says where an instance listens.
///
/// # Errors
/// When the host is missing, outside `domain`, or not of that form.
pub(crate) fn route(authority: &str, domain: &str) -> Result<Route, RouteError> {
    let host = host_of(authority);
    if host.is_empty() {
        return Err(RouteError::Missing { domain: domain.to_owned() });
    }
    let shown = || host.chars().take(100).collect::<String>();
    let foreign = || RouteError::Foreign { host: shown(), domain: domain.to_owned() };
    let malformed = || RouteError::Malformed { host: shown(), domain: domain.to_owned() };
    if host.len() > HOST_MAX {
        return Err(foreign());
    }
    let lower = host.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let inside = lower.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).ok_or_else(foreign)?;

    let labels: Vec<&str> = inside.split('.').collect();
    if labels.iter().any(|label| label.is_empty()) {
        return Err(malformed());
    }
    let (front, datacenter) = match labels.as_slice() {
        [front @ .., "service"] => (front, None),
        [front @ .., "service", datacenter] => (front, Some((*datacenter).to_owned())),
        _ => return Err(malformed()),
    };
    let (name, tag) = match front {
        [name] => (*name, None),
        // RFC 2782's form: `_name._tag`, where `_tcp` stands for any tag.
        [name, tag] if name.starts_with('_') && tag.starts_with('_') => {
            (&name[1..], Some(&tag[1..]).filter(|tag| *tag != "tcp"))
        }
        [tag, name] => (*name, Some(*tag)),
        _ => return Err(malformed()),
    };
    let service = ServiceName::parse(name).map_err(|_| malformed())?;
    Ok(Route { service, tag: tag.map(str::to_owned), datacenter })
}

/// Cuts the port off an authority.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(authority: &str) -> String {
        match route(authority, "consul") {
            Ok(route) => format!(
                "{} tag={} dc={}",
                route.service.as_str(),
                route.tag.as_deref().unwrap_or("-"),
                route.datacenter.as_deref().unwrap_or("-")
            ),
            Err(RouteError::Missing { .. }) => "missing".into(),
            Err(RouteError::Foreign { .. }) => "foreign".into(),
            Err(RouteError::Malformed { .. }) => "malformed".into(),
        }
    }

    #[test]
    fn names_are_read_as_dns_reads_them() {
        for (authority, expected) in [
            ("payments.service.consul", "payments tag=- dc=-"),
            ("payments.service.consul:8080", "payments tag=- dc=-"),
            ("payments.service.consul.", "payments tag=- dc=-"),
            ("PayMents.Service.Consul:80", "payments tag=- dc=-"),
            ("payments.service.dc1.consul", "payments tag=- dc=dc1"),
            ("v1.payments.service.consul", "payments tag=v1 dc=-"),
            ("v1.payments.service.dc1.consul:1", "payments tag=v1 dc=dc1"),
            ("_payments._tcp.service.consul", "payments tag=- dc=-"),
            ("_payments._v1.service.consul", "payments tag=v1 dc=-"),
            ("", "missing"),
            (":80", "missing"),
            ("example.com", "foreign"),
            ("localhost:9100", "foreign"),
            ("127.0.0.1:9100", "foreign"),
            ("[::1]:9100", "foreign"),
            ("notconsul", "foreign"),
            ("consul", "foreign"),
            (".consul", "malformed"),
            ("service.consul", "malformed"),
            ("payments.consul", "malformed"),
            ("payments.node.consul", "malformed"),
            ("a.b.c.service.consul", "malformed"),
            ("payments..service.consul", "malformed"),
            ("payments.service.a.b.consul", "malformed"),
        ] {
            assert_eq!(shown(authority), expected, "{authority}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(authority in ".{0,300}") {
            let _ = route(&authority, "consul");
        }

        #[test]
        fn a_service_name_comes_back(name in "[a-z][a-z0-9-]{0,30}[a-z0-9]", port in any::<u16>()) {
            let read = route(&format!("{name}.service.consul:{port}"), "consul").unwrap();
            prop_assert_eq!(read.service.as_str(), name);
            prop_assert_eq!(read.tag, None);
        }
    }
}

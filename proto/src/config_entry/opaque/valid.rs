//! What can be seen to be wrong with an entry that nobody here follows.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::EntryKind;
use super::super::rules::{InvalidEntry, Rules};

/// The most listeners, services or members of one entry.
const ITEMS_MAX: usize = 1000;

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(fields: &'a Map<String, Value>, field: &str) -> &'a [Value] {
    fields.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Checks an entry in canonical spelling.
///
/// # Errors
/// Names the field and the rule.
pub(in super::super) fn validate(kind: EntryKind, fields: &Map<String, Value>) -> Result<(), InvalidEntry> {
    let rules = Rules("");
    let given = Value::Object(fields.clone());
    rules.only_default("Namespace", text(&given, "Namespace"))?;
    rules.only_default("Partition", text(&given, "Partition"))?;
    for field in ["Listeners", "Services"] {
        if list(fields, field).len() > ITEMS_MAX {
            return rules.broken(format!("{field} lists more than {ITEMS_MAX}"));
        }
    }
    match kind {
        EntryKind::IngressGateway => ingress(fields),
        EntryKind::TerminatingGateway => terminating(fields),
        EntryKind::ExportedServices => exported(fields),
        EntryKind::ProxyDefaults => {
            let mode = fields.get("MeshGateway").map_or("", |gateway| text(gateway, "Mode"));
            rules.require(
                matches!(mode, "" | "none" | "local" | "remote"),
                "MeshGateway.Mode must be none, local or remote",
            )?;
            let mode = text(&given, "Mode");
            rules.require(matches!(mode, "" | "direct" | "transparent"), "Mode must be direct or transparent")
        }
        EntryKind::ApiGateway => api_gateway(fields),
        EntryKind::HttpRoute | EntryKind::TcpRoute => route(fields),
        EntryKind::InlineCertificate | EntryKind::FileSystemCertificate => {
            rules.require(!text(&given, "Certificate").is_empty(), "Certificate must be given")?;
            rules.require(!text(&given, "PrivateKey").is_empty(), "PrivateKey must be given")
        }
        EntryKind::JwtProvider => {
            let keys = fields.get("JSONWebKeySet");
            let set = |source| keys.and_then(|keys| keys.get(source)).is_some_and(|keys| !keys.is_null());
            rules.require(set("Local") != set("Remote"), "JSONWebKeySet must have either Local or Remote")
        }
        EntryKind::ControlPlaneRequestLimit => {
            let mode = text(&given, "Mode");
            let known = matches!(mode, "" | "disabled" | "permissive" | "enforcing");
            rules.require(known, "Mode must be disabled, permissive or enforcing")?;
            let rates = fields.iter().flat_map(|(family, value)| match value {
                Value::Object(rates) => rates.iter().map(|(name, rate)| (format!("{family}.{name}"), rate)).collect(),
                rate => vec![(family.clone(), rate)],
            });
            for (name, rate) in rates.filter(|(name, _)| name.ends_with("Rate")) {
                let right = rate.as_f64().is_some_and(|rate| rate >= 0.0);
                rules.require(right, &format!("{name} must be a number that is not negative"))?;
            }
            Ok(())
        }
        EntryKind::Mesh | EntryKind::BoundApiGateway => Ok(()),
        // These are typed.
        EntryKind::ServiceDefaults
        | EntryKind::ServiceResolver
        | EntryKind::ServiceSplitter
        | EntryKind::ServiceRouter
        | EntryKind::ServiceIntentions => Ok(()),
    }
}

fn ingress(fields: &Map<String, Value>) -> Result<(), InvalidEntry> {
    let mut ports = BTreeSet::new();
    for (number, listener) in list(fields, "Listeners").iter().enumerate() {
        let place = format!("Listeners[{number}]");
        let rules = Rules(&place);
        let port = listener.get("Port").and_then(Value::as_u64).filter(|port| (1..=65_535).contains(port));
        let Some(port) = port else { return rules.broken("Port must be 1 to 65535") };
        rules.require(ports.insert(port), "port is listened on more than once")?;
        let protocol = text(listener, "Protocol");
        let known = matches!(protocol, "" | "tcp" | "http" | "http2" | "grpc");
        rules.require(known, "Protocol must be tcp, http, http2 or grpc")?;
        let services = listener.get("Services").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        rules.require(!services.is_empty(), "no service declared for listener")?;
        let plain = matches!(protocol, "" | "tcp");
        rules.require(!plain || services.len() == 1, "a tcp listener has one service")?;
        let mut names = BTreeSet::new();
        for service in services {
            let name = text(service, "Name");
            rules.require(!name.is_empty(), "Service name cannot be blank")?;
            rules.require(!plain || name != "*", "Wildcard service name is only valid for protocol = 'http'")?;
            rules.require(names.insert(name), "a service is declared more than once")?;
            let hosts = service.get("Hosts").and_then(Value::as_array).is_some_and(|hosts| !hosts.is_empty());
            rules.require(!hosts || !plain, "Hosts are only valid for listeners that speak HTTP")?;
            rules.require(!hosts || name != "*", "Hosts cannot be given with the wildcard service")?;
        }
    }
    Ok(())
}

fn terminating(fields: &Map<String, Value>) -> Result<(), InvalidEntry> {
    let mut names = BTreeSet::new();
    for (number, service) in list(fields, "Services").iter().enumerate() {
        let place = format!("Services[{number}]");
        let rules = Rules(&place);
        let name = text(service, "Name");
        rules.require(!name.is_empty(), "Service name cannot be blank")?;
        rules.require(names.insert(name), "a service is listed more than once")?;
        let (ca, cert, key) = (
            !text(service, "CAFile").is_empty(),
            !text(service, "CertFile").is_empty(),
            !text(service, "KeyFile").is_empty(),
        );
        rules.require(cert == key, "CertFile and KeyFile must be given together")?;
        rules.require(!cert || ca, "CertFile needs a CAFile")?;
    }
    Ok(())
}

fn exported(fields: &Map<String, Value>) -> Result<(), InvalidEntry> {
    for (number, service) in list(fields, "Services").iter().enumerate() {
        let place = format!("Services[{number}]");
        let rules = Rules(&place);
        rules.require(!text(service, "Name").is_empty(), "Service name cannot be empty")?;
        let consumers = service.get("Consumers").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        rules.require(consumers, "must have at least one consumer")?;
    }
    Ok(())
}

fn api_gateway(fields: &Map<String, Value>) -> Result<(), InvalidEntry> {
    let mut names = BTreeSet::new();
    for (number, listener) in list(fields, "Listeners").iter().enumerate() {
        let place = format!("Listeners[{number}]");
        let rules = Rules(&place);
        let port = listener.get("Port").and_then(Value::as_u64);
        rules.require(port.is_some_and(|port| (1..=65_535).contains(&port)), "Port must be 1 to 65535")?;
        let known = matches!(text(listener, "Protocol"), "tcp" | "http" | "http2" | "grpc");
        rules.require(known, "Protocol must be tcp, http, http2 or grpc")?;
        rules.require(names.insert(text(listener, "Name")), "a name is given to more than one listener")?;
    }
    Ok(())
}

/// The gateways that a route hangs on.
fn route(fields: &Map<String, Value>) -> Result<(), InvalidEntry> {
    for (number, parent) in list(fields, "Parents").iter().enumerate() {
        let place = format!("Parents[{number}]");
        let rules = Rules(&place);
        rules.require(matches!(text(parent, "Kind"), "" | "api-gateway"), "Kind must be api-gateway")?;
        rules.require(!text(parent, "Name").is_empty(), "Name cannot be empty")?;
    }
    Ok(())
}

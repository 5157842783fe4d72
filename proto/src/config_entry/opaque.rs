//! The kinds of entries that nobody here follows, but that are kept, shown and judged: gateways, the mesh as a whole, what
//! is exported, what holds for all proxies.
//!
//! Known fields are brought into the spelling that answers have, unknown ones are refused, and what can be seen to be wrong
//! is named. What a field holds beyond that is kept as it was written.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::EntryKind;
use super::rules::{InvalidEntry, Rules};
use crate::api::decode::is_same_field;

/// The most listeners, services or members of one entry.
const ITEMS_MAX: usize = 1000;

/// What may stand in a field.
enum Shape {
    /// Anything, kept as it is.
    Any,
    /// A text.
    Text,
    /// An object with these fields.
    Object(&'static [Field]),
    /// A list of such objects.
    List(&'static [Field]),
}

type Field = (&'static str, Shape);

use Shape::{Any, List, Object, Text};

/// What every entry may have.
const COMMON: &[Field] = &[("Namespace", Text), ("Partition", Text), ("Meta", Any)];

const PROXY_DEFAULTS: &[Field] = &[
    ("Config", Any),
    ("Mode", Text),
    ("TransparentProxy", Any),
    ("MutualTLSMode", Text),
    ("MeshGateway", Object(&[("Mode", Text)])),
    ("Expose", Any),
    ("AccessLogs", Any),
    ("EnvoyExtensions", Any),
    ("FailoverPolicy", Any),
    ("PrioritizeByLocality", Any),
];
const INGRESS_SERVICE: &[Field] = &[
    ("Name", Text),
    ("Namespace", Text),
    ("Partition", Text),
    ("Hosts", Any),
    ("TLS", Any),
    ("RequestHeaders", Any),
    ("ResponseHeaders", Any),
    ("MaxConnections", Any),
    ("MaxPendingRequests", Any),
    ("MaxConcurrentRequests", Any),
    ("PassiveHealthCheck", Any),
];
const INGRESS: &[Field] = &[
    ("TLS", Any),
    ("Defaults", Any),
    ("Listeners", List(&[("Port", Any), ("Protocol", Text), ("TLS", Any), ("Services", List(INGRESS_SERVICE))])),
];
const TERMINATING: &[Field] = &[(
    "Services",
    List(&[
        ("Name", Text),
        ("Namespace", Text),
        ("CAFile", Text),
        ("CertFile", Text),
        ("KeyFile", Text),
        ("SNI", Text),
        ("DisableAutoHostRewrite", Any),
    ]),
)];
const MESH: &[Field] = &[
    ("TransparentProxy", Object(&[("MeshDestinationsOnly", Any)])),
    ("AllowEnablingPermissiveMutualTLS", Any),
    ("ValidateClusters", Any),
    ("TLS", Any),
    ("HTTP", Any),
    ("Peering", Any),
];
const EXPORTED: &[Field] = &[(
    "Services",
    List(&[
        ("Name", Text),
        ("Namespace", Text),
        ("Consumers", List(&[("Partition", Text), ("Peer", Text), ("SamenessGroup", Text)])),
    ]),
)];

fn fields(kind: EntryKind) -> &'static [Field] {
    match kind {
        EntryKind::ProxyDefaults => PROXY_DEFAULTS,
        EntryKind::IngressGateway => INGRESS,
        EntryKind::TerminatingGateway => TERMINATING,
        EntryKind::Mesh => MESH,
        EntryKind::ExportedServices => EXPORTED,
        // These are typed.
        EntryKind::ServiceDefaults
        | EntryKind::ServiceResolver
        | EntryKind::ServiceSplitter
        | EntryKind::ServiceRouter
        | EntryKind::ServiceIntentions => &[],
    }
}

/// Brings the fields of an entry into the spelling that answers have.
///
/// # Errors
/// Names the field that nobody knows, or that has the wrong type.
pub(super) fn canonical(kind: EntryKind, given: Map<String, Value>) -> Result<Map<String, Value>, String> {
    object("", given, &[COMMON, fields(kind)])
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

fn object(place: &str, given: Map<String, Value>, known: &[&'static [Field]]) -> Result<Map<String, Value>, String> {
    let mut kept = Map::new();
    for (spelt, value) in given {
        let spelt: String = spelt.chars().take(64).collect();
        let mut all = known.iter().copied().flatten();
        let Some((name, shape)) = all.find(|(name, _)| is_same_field(&spelt, name)) else {
            return Err(format!("unknown field {:?}", join(place, &spelt)));
        };
        let place = join(place, name);
        let value = match (shape, value) {
            // What is not set is as if it were not there.
            (_, Value::Null) => continue,
            (Any, value) => value,
            (Text, value @ Value::String(_)) => value,
            (Text, _) => return Err(format!("{place}: expected a string")),
            (Object(fields), Value::Object(inner)) => Value::Object(object(&place, inner, &[*fields])?),
            (Object(_), _) => return Err(format!("{place}: expected an object")),
            (List(fields), Value::Array(list)) => {
                let mut items = Vec::with_capacity(list.len());
                for (number, item) in list.into_iter().enumerate() {
                    let place = format!("{place}[{number}]");
                    let Value::Object(inner) = item else { return Err(format!("{place}: expected an object")) };
                    items.push(Value::Object(object(&place, inner, &[*fields])?));
                }
                Value::Array(items)
            }
            (List(_), _) => return Err(format!("{place}: expected a list")),
        };
        kept.insert((*name).to_owned(), value);
    }
    Ok(kept)
}

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
pub(super) fn validate(kind: EntryKind, fields: &Map<String, Value>) -> Result<(), InvalidEntry> {
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
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ConfigEntry;
    use super::*;

    fn parse(entry: Value) -> Result<Value, String> {
        let entry = ConfigEntry::parse(entry.to_string().as_bytes()).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(&entry).unwrap())
    }

    #[test]
    fn fields_are_kept_in_the_spelling_of_answers() {
        let written = json!({"kind": "ingress-gateway", "name": "in", "listeners": [
            {"port": 8080, "protocol": "http", "services": [{"name": "web", "hosts": ["a.b"], "max_connections": 7}]}]});
        let shown = json!({"Kind": "ingress-gateway", "Name": "in", "Listeners": [
            {"Port": 8080, "Protocol": "http", "Services": [{"Name": "web", "Hosts": ["a.b"], "MaxConnections": 7}]}]});
        assert_eq!(parse(written), Ok(shown.clone()));
        assert_eq!(parse(shown.clone()), Ok(shown));
        let free = json!({"Kind": "proxy-defaults", "Name": "global", "config": {"local_connect_timeout_ms": 1}});
        assert_eq!(parse(free).unwrap()["Config"], json!({"local_connect_timeout_ms": 1}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |entry: Value, part: &str| {
            let error = parse(entry).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        let ingress = |listener: Value| json!({"Kind": "ingress-gateway", "Name": "in", "Listeners": [listener]});
        check(ingress(json!({"Services": [{"Name": "a"}]})), "Listeners[0]: Port must be");
        check(ingress(json!({"Port": 1})), "no service declared");
        check(ingress(json!({"Port": 1, "Protocol": "udp", "Services": [{"Name": "a"}]})), "Protocol must be");
        check(ingress(json!({"Port": 1, "Services": [{"Name": "*"}]})), "Wildcard");
        check(ingress(json!({"Port": 1, "Services": [{"Name": "a", "Nope": 1}]})), "Listeners[0].Services[0].Nope");
        check(ingress(json!({"Port": 1, "Services": {}})), "Listeners[0].Services: expected a list");
        let terminating = |service: Value| json!({"Kind": "terminating-gateway", "Name": "out", "Services": [service]});
        check(terminating(json!({"Name": "a", "CertFile": "c"})), "CertFile and KeyFile");
        check(json!({"Kind": "exported-services", "Services": [{"Name": "a"}]}), "at least one consumer");
        check(json!({"Kind": "mesh", "Name": "other"}), "only \"mesh\"");
        check(json!({"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": "odd"}}), "MeshGateway.Mode");
        check(json!({"Kind": "mesh", "nope": 1}), "unknown field");
    }
}

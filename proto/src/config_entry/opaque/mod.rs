//! The kinds of entries that nobody here follows, but that are kept, shown and judged: gateways and their routes,
//! certificates and keys, the mesh as a whole, what is exported, what holds for all proxies.
//!
//! Known fields are brought into the spelling that answers have, unknown ones are refused, and what can be seen to be wrong
//! is named. What a field holds beyond that is kept as it was written. `fields` has the fields, `valid` the rules.

mod fields;
mod valid;

use serde_json::{Map, Value};

use super::EntryKind;
use crate::api::decode::is_same_field;
use fields::{COMMON, Field, Shape, fields};

pub(super) use valid::validate;

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
            (Shape::Any, value) => value,
            (Shape::Text, value @ Value::String(_)) => value,
            (Shape::Text, _) => return Err(format!("{place}: expected a string")),
            (Shape::Object(fields), Value::Object(inner)) => Value::Object(object(&place, inner, &[*fields])?),
            (Shape::Object(_), _) => return Err(format!("{place}: expected an object")),
            (Shape::List(fields), Value::Array(list)) => {
                let mut items = Vec::with_capacity(list.len());
                for (number, item) in list.into_iter().enumerate() {
                    let place = format!("{place}[{number}]");
                    let Value::Object(inner) = item else { return Err(format!("{place}: expected an object")) };
                    items.push(Value::Object(object(&place, inner, &[*fields])?));
                }
                Value::Array(items)
            }
            (Shape::List(_), _) => return Err(format!("{place}: expected a list")),
        };
        kept.insert((*name).to_owned(), value);
    }
    Ok(kept)
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
        let route = json!({"kind": "http-route", "name": "r", "parents": [{"kind": "api-gateway", "name": "in"}],
            "rules": [{"services": [{"Name": "web"}]}], "hostnames": ["a.b"]});
        let shown = json!({"Kind": "http-route", "Name": "r", "Parents": [{"Kind": "api-gateway", "Name": "in"}],
            "Rules": [{"Services": [{"Name": "web"}]}], "Hostnames": ["a.b"]});
        assert_eq!(parse(route), Ok(shown));
        let limit =
            json!({"kind": "control-plane-request-limit", "name": "l", "mode": "permissive", "kv": {"read_rate": 5}});
        assert_eq!(parse(limit).unwrap()["KV"], json!({"ReadRate": 5}));
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
        let gateway = |listener: Value| json!({"Kind": "api-gateway", "Name": "in", "Listeners": [listener]});
        check(gateway(json!({"Port": 0, "Protocol": "http"})), "Listeners[0]: Port must be");
        check(gateway(json!({"Port": 1})), "Listeners[0]: Protocol must be");
        check(json!({"Kind": "tcp-route", "Name": "r", "Parents": [{"Kind": "mesh", "Name": "in"}]}), "api-gateway");
        check(json!({"Kind": "inline-certificate", "Name": "c", "Certificate": "x"}), "PrivateKey must be given");
        check(json!({"Kind": "jwt-provider", "Name": "j"}), "either Local or Remote");
        let limit =
            |field: &str, value: Value| json!({"Kind": "control-plane-request-limit", "Name": "l", field: value});
        check(limit("Mode", json!("odd")), "Mode must be");
        check(limit("KV", json!({"ReadRate": -1})), "KV.ReadRate must be");
        check(limit("kv", json!({"rate": 1})), "KV.rate");
    }
}

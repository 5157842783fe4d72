//! What config entries add to the settings of a proxy.
//!
//! For all proxies there is the entry `proxy-defaults`, for those of one service its `service-defaults`. What is nearer
//! counts: the proxy's own registration before its service, and that before all proxies. Called for readers who ask for
//! proxies as they are to be (`?merge-central-config`).

use serde_json::{Map, Value};

/// Settings of which the nearest is taken as a whole, by what says that there is one: a field of it, or the text itself.
const WHOLE: [(&str, Option<&str>); 5] = [
    ("Mode", None),
    ("MutualTLSMode", None),
    ("MeshGateway", Some("Mode")),
    ("TransparentProxy", None),
    ("Expose", None),
];

/// Fields of `service-defaults`, and what a proxy calls them in its free settings.
const NAMED: [(&str, &str); 5] = [
    ("Protocol", "protocol"),
    ("MaxInboundConnections", "max_inbound_connections"),
    ("LocalConnectTimeoutMs", "local_connect_timeout_ms"),
    ("LocalRequestTimeoutMs", "local_request_timeout_ms"),
    ("BalanceInboundConnections", "balance_inbound_connections"),
];

/// Adds to the settings of a proxy what the entries say: `proxies` is the one of all proxies, `service` that of the service
/// which the proxy stands for, both as they are shown.
pub fn merge(proxy: &mut Value, proxies: Option<&Value>, service: Option<&Value>) {
    let Value::Object(proxy) = proxy else { return };
    let (proxies, service) = (proxies.unwrap_or(&Value::Null), service.unwrap_or(&Value::Null));
    merge_config(proxy, proxies, service);
    for (name, said_by) in WHOLE {
        let is_said = |value: &Value| match said_by {
            Some(field) => value.get(field).is_some_and(is_set),
            None => is_set(value),
        };
        if proxy.get(name).is_some_and(is_said) {
            continue;
        }
        if let Some(value) = [service, proxies].iter().filter_map(|entry| entry.get(name)).find(|value| is_said(value))
        {
            proxy.insert(name.to_owned(), value.clone());
        }
    }
    if !proxy.get("AccessLogs").is_some_and(is_set)
        && let Some(logs) = proxies.get("AccessLogs").filter(|logs| is_set(logs))
    {
        proxy.insert("AccessLogs".to_owned(), logs.clone());
    }
    let extensions =
        |entry: &Value| entry.get("EnvoyExtensions").and_then(Value::as_array).cloned().unwrap_or_default();
    let extensions = [extensions(proxies), extensions(service)].concat();
    if !extensions.is_empty() && !proxy.get("EnvoyExtensions").is_some_and(is_set) {
        proxy.insert("EnvoyExtensions".to_owned(), extensions.into());
    }
    merge_upstreams(proxy, service);
}

/// The free settings, key by key.
fn merge_config(proxy: &mut Map<String, Value>, proxies: &Value, service: &Value) {
    let mut config = proxies.get("Config").and_then(Value::as_object).cloned().unwrap_or_default();
    for (field, name) in NAMED {
        if let Some(value) = service.get(field).filter(|value| is_set(value)) {
            config.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(Value::Object(own)) = proxy.get("Config") {
        config.extend(own.clone());
    }
    if !config.is_empty() {
        proxy.insert("Config".to_owned(), config.into());
    }
}

/// What the service says of those that it calls: of all of them, and of one by name before that.
fn merge_upstreams(proxy: &mut Map<String, Value>, service: &Value) {
    let Some(said) = service.get("UpstreamConfig") else { return };
    let overrides = said.get("Overrides").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let Some(Value::Array(upstreams)) = proxy.get_mut("Upstreams") else { return };
    for upstream in upstreams {
        if upstream.get("DestinationType").and_then(Value::as_str).is_some_and(|kind| kind == "prepared_query") {
            continue;
        }
        let name = upstream.get("DestinationName").and_then(Value::as_str).unwrap_or_default();
        let named = overrides.iter().find(|one| one.get("Name").and_then(Value::as_str) == Some(name));
        let mut config = Map::new();
        for settings in [said.get("Defaults"), named].into_iter().flatten().filter_map(Value::as_object) {
            let settings = settings.iter().filter(|(field, value)| *field != "Name" && is_set(value));
            config.extend(settings.map(|(field, value)| (snake(field), value.clone())));
        }
        if let Some(Value::Object(own)) = upstream.get("Config") {
            config.extend(own.clone());
        }
        if let (Value::Object(upstream), false) = (upstream, config.is_empty()) {
            upstream.insert("Config".to_owned(), config.into());
        }
    }
}

/// `ConnectTimeoutMs` as `connect_timeout_ms`, which is how the free settings of a proxy are written.
fn snake(field: &str) -> String {
    let mut out = String::with_capacity(field.len() + 4);
    for letter in field.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Whether there is anything in it.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => map.values().any(is_set),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut proxy: Value, proxies: Value, service: Value) -> Value {
        merge(&mut proxy, Some(&proxies), Some(&service));
        proxy
    }

    #[test]
    fn what_is_nearer_counts() {
        let proxies = json!({"Config": {"a": 1, "b": 1, "protocol": "tcp"}, "Mode": "direct", "MeshGateway": {"Mode": "local"},
            "AccessLogs": {"Enabled": true}, "Expose": {"Checks": true}});
        let service = json!({"Protocol": "http", "MaxInboundConnections": 5, "Mode": "transparent", "Expose": {}});
        let own = json!({"Config": {"b": 2}, "MeshGateway": {}, "Expose": {}});
        let expect = json!({"Config": {"a": 1, "b": 2, "protocol": "http", "max_inbound_connections": 5},
            "Mode": "transparent", "MeshGateway": {"Mode": "local"}, "Expose": {"Checks": true},
            "AccessLogs": {"Enabled": true}});
        assert_eq!(merged(own, proxies.clone(), service.clone()), expect);
        let own = json!({"Config": {"protocol": "grpc"}, "Mode": "direct", "MeshGateway": {"Mode": "remote"}});
        let found = merged(own, proxies, service);
        assert_eq!((&found["Config"]["protocol"], &found["Mode"]), (&json!("grpc"), &json!("direct")));
        assert_eq!(found["MeshGateway"]["Mode"], "remote");
    }

    #[test]
    fn without_entries_nothing_changes() {
        for proxy in [json!({"Config": null, "MeshGateway": {}}), json!(null)] {
            let mut found = proxy.clone();
            merge(&mut found, None, None);
            assert_eq!(found, proxy);
        }
    }

    #[test]
    fn upstreams_are_told_by_name_or_all() {
        let service = json!({"UpstreamConfig": {"Defaults": {"ConnectTimeoutMs": 1, "Protocol": "http"},
            "Overrides": [{"Name": "db", "ConnectTimeoutMs": 2}]}});
        let own = json!({"Upstreams": [
            {"DestinationName": "db", "Config": {"protocol": "tcp"}}, {"DestinationName": "web"},
            {"DestinationName": "web", "DestinationType": "prepared_query"}]});
        let expect = json!({"Upstreams": [
            {"DestinationName": "db", "Config": {"connect_timeout_ms": 2, "protocol": "tcp"}},
            {"DestinationName": "web", "Config": {"connect_timeout_ms": 1, "protocol": "http"}},
            {"DestinationName": "web", "DestinationType": "prepared_query"}]});
        assert_eq!(merged(own, json!({}), service), expect);
    }
}

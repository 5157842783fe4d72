//! Gateways: which services they carry, as their config entries say.
//!
//! Reads what of an entry matters for that; entries are stored as they were written. PURE.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decode::{Unknown, from_value};
use crate::config_entry::{ConfigEntry, EntryKind};
use crate::index::Index;

/// Stands for every service.
pub const WILDCARD: &str = "*";

/// A name in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct Named {
    /// The name.
    pub name: String,
}

/// A service that a gateway carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct GatewayService {
    /// The gateway.
    pub gateway: Named,
    /// The service.
    pub service: Named,
    /// `ingress-gateway` or `terminating-gateway`.
    pub gateway_kind: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    /// The port that an ingress gateway listens on.
    pub port: u16,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    /// The protocol that it speaks there.
    pub protocol: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    /// The host names that mean the service there.
    pub hosts: Vec<String>,
    #[serde(rename = "CAFile", default, skip_serializing_if = "String::is_empty")]
    /// Whom a terminating gateway trusts.
    pub ca_file: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    /// What it shows.
    pub cert_file: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    /// The key of that.
    pub key_file: String,
    #[serde(rename = "SNI", default, skip_serializing_if = "String::is_empty")]
    /// The name that it asks for.
    pub sni: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    /// Whether every service is meant.
    pub from_wildcard: bool,
    /// When the entry was made.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(port: &u16) -> bool {
    *port == 0
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    listeners: Vec<Listener>,
    services: Vec<Carried>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listener {
    port: u16,
    protocol: String,
    services: Vec<Carried>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Carried {
    name: String,
    hosts: Vec<String>,
    cafile: String,
    certfile: String,
    keyfile: String,
    sni: String,
}

/// What a gateway's entry carries, in its order; nothing for an entry of another kind, or one that cannot be read.
#[must_use]
pub fn carried(entry: &ConfigEntry, created: Index, modified: Index) -> Vec<GatewayService> {
    let ConfigEntry::Opaque(entry) = entry else { return Vec::new() };
    if !matches!(entry.kind, EntryKind::IngressGateway | EntryKind::TerminatingGateway) {
        return Vec::new();
    }
    let written: Written = from_value(Value::Object(entry.fields.clone()), Unknown::Ignore).unwrap_or_default();
    let row = |carried: Carried, port: u16, protocol: &str| GatewayService {
        gateway: Named { name: entry.name.clone() },
        from_wildcard: carried.name == WILDCARD,
        service: Named { name: carried.name },
        gateway_kind: entry.kind.as_str().to_owned(),
        port,
        protocol: protocol.to_owned(),
        hosts: carried.hosts,
        ca_file: carried.cafile,
        cert_file: carried.certfile,
        key_file: carried.keyfile,
        sni: carried.sni,
        create_index: created,
        modify_index: modified,
    };
    let listened = written.listeners.into_iter().flat_map(|listener| {
        let protocol = if listener.protocol.is_empty() { "tcp".to_owned() } else { listener.protocol };
        listener.services.into_iter().map(move |carried| (carried, listener.port, protocol.clone()))
    });
    match entry.kind {
        EntryKind::IngressGateway => listened.map(|(carried, port, protocol)| row(carried, port, &protocol)).collect(),
        _ => written.services.into_iter().map(|carried| row(carried, 0, "")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_entry_carries() {
        let body = r#"{"Kind":"ingress-gateway","Name":"in","Listeners":[
            {"Port":8080,"Protocol":"http","Services":[{"Name":"web","Hosts":["a.example"]},{"Name":"*"}]},
            {"port":9000,"services":[{"name":"db"}]}]}"#;
        let entry = ConfigEntry::parse(body.as_bytes()).unwrap();
        let rows = carried(&entry, Index(3), Index(4));
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.service.name.as_str(), row.port, row.protocol.as_str(), row.from_wildcard))
            .collect();
        assert_eq!(rows, [("web", 8080, "http", false), ("*", 8080, "http", true), ("db", 9000, "tcp", false)]);
        let body =
            r#"{"Kind":"terminating-gateway","Name":"out","Services":[{"Name":"legacy","CAFile":"/ca","SNI":"x"}]}"#;
        let rows = carried(&ConfigEntry::parse(body.as_bytes()).unwrap(), Index(3), Index(4));
        assert_eq!(
            (rows[0].service.name.as_str(), rows[0].ca_file.as_str(), rows[0].sni.as_str()),
            ("legacy", "/ca", "x")
        );
    }
}

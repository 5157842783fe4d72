//! `/v1/agent/…`: what applications tell the node beside them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::{CheckRequest, NewCheck};
use super::decode::{Ignored, Unknown};
use super::health::HealthCheck;
use super::proxy::{Owner, ProxyRequest, validate_kind};
use super::valid::{InvalidRequest, text, validate_meta};
use crate::index::Index;
use crate::instance::{Instance, ServiceAddress, Weights};
use crate::name::{InstanceId, NodeName, ServiceName};
use crate::text::{Map, Meta, Tags, Text};

/// The query parameter by which a process names the node it signs in on.
pub const NODE_PARAM: &str = "node";
/// The query parameter with that node's address.
pub const NODE_ADDRESS_PARAM: &str = "node-address";

/// An address in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AddressRequest {
    #[serde(rename(serialize = "Address", deserialize = "address"))]
    /// IP or host name.
    pub address: String,
    #[serde(rename(serialize = "Port", deserialize = "port"))]
    /// Port.
    pub port: u16,
}

/// Weights in a request, before they are known to be in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WeightsRequest {
    #[serde(rename(serialize = "Passing", deserialize = "passing"))]
    /// While all checks pass.
    pub passing: i64,
    #[serde(rename(serialize = "Warning", deserialize = "warning"))]
    /// While a check warns.
    pub warning: i64,
}

impl Default for WeightsRequest {
    fn default() -> WeightsRequest {
        WeightsRequest { passing: 1, warning: 1 }
    }
}

impl WeightsRequest {
    /// The weights, if they are in range.
    ///
    /// # Errors
    /// Names the range.
    pub fn validate(self) -> Result<Weights, InvalidRequest> {
        match (u16::try_from(self.passing), u16::try_from(self.warning)) {
            (Ok(passing @ 1..), Ok(warning)) => Ok(Weights { passing, warning }),
            _ => Err(InvalidRequest("Invalid Weights: Passing must be 1 to 65535 and Warning 0 to 65535".to_owned())),
        }
    }
}

/// Mesh settings in a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ConnectRequest {
    #[serde(rename(serialize = "Native", deserialize = "native"))]
    /// Whether it speaks mesh TLS itself.
    pub native: bool,
    #[serde(rename(deserialize = "sidecarservice"), skip_serializing)]
    /// A proxy to be registered along, as [`super::sidecar`] reads it.
    pub sidecar_service: Option<serde_json::Value>,
}

/// Body of `PUT /v1/agent/service/register`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServiceRequest {
    #[serde(rename(serialize = "ID", deserialize = "id"), skip_serializing_if = "String::is_empty")]
    /// Unique on the node; the name when empty.
    pub id: String,
    #[serde(rename(serialize = "Name", deserialize = "name"))]
    /// The name callers ask for.
    pub name: String,
    #[serde(rename(serialize = "Tags", deserialize = "tags"), skip_serializing_if = "Vec::is_empty")]
    /// Labels.
    pub tags: Vec<String>,
    #[serde(rename(serialize = "Address", deserialize = "address"), skip_serializing_if = "String::is_empty")]
    /// IP or host name; the node's when empty.
    pub address: String,
    #[serde(
        rename(serialize = "TaggedAddresses", deserialize = "taggedaddresses"),
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    /// Addresses by network.
    pub tagged_addresses: BTreeMap<String, AddressRequest>,
    #[serde(rename(serialize = "Meta", deserialize = "meta"), skip_serializing_if = "BTreeMap::is_empty")]
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
    #[serde(rename(serialize = "Port", deserialize = "port"))]
    /// Port, 0 for none.
    pub port: u16,
    #[serde(rename(serialize = "SocketPath", deserialize = "socketpath"), skip_serializing_if = "String::is_empty")]
    /// A Unix socket instead.
    pub socket_path: String,
    #[serde(rename(serialize = "Check", deserialize = "check"), skip_serializing_if = "Option::is_none")]
    /// One check.
    pub check: Option<CheckRequest>,
    #[serde(rename(serialize = "Checks", deserialize = "checks"), skip_serializing_if = "Vec::is_empty")]
    /// More checks.
    pub checks: Vec<CheckRequest>,
    #[serde(rename(serialize = "Weights", deserialize = "weights"), skip_serializing_if = "Option::is_none")]
    /// How often it is chosen.
    pub weights: Option<WeightsRequest>,
    #[serde(
        rename(serialize = "EnableTagOverride", deserialize = "enabletagoverride"),
        skip_serializing_if = "std::ops::Not::not"
    )]
    /// Whether others may change the tags.
    pub enable_tag_override: bool,
    #[serde(rename(serialize = "Kind", deserialize = "kind"), skip_serializing_if = "String::is_empty")]
    /// Empty for a plain service.
    pub kind: String,
    #[serde(rename(serialize = "Proxy", deserialize = "proxy"), skip_serializing_if = "Option::is_none")]
    /// Proxy settings; stored as they are.
    pub proxy: Option<serde_json::Value>,
    #[serde(rename(serialize = "Connect", deserialize = "connect"), skip_serializing_if = "Option::is_none")]
    /// Mesh settings.
    pub connect: Option<ConnectRequest>,
    #[serde(rename(deserialize = "token"), skip_serializing)]
    /// Taken, and of no use while there are no rules.
    pub token: Ignored,
    #[serde(
        rename(deserialize = "namespace"),
        alias = "partition",
        alias = "locality",
        alias = "ports",
        alias = "peername",
        skip_serializing
    )]
    /// Taken and passed over.
    pub ignored: Ignored,
}

/// The most checks of one instance.
pub const CHECKS_MAX: usize = 64;
/// The most tags of one instance.
pub const TAGS_MAX: usize = 256;

impl ServiceRequest {
    /// Turns the request into rows, or says what is wrong with it.
    ///
    /// # Errors
    /// Names the field and what would be accepted, in the words that clients match on.
    pub fn validate(mut self, node: &NodeName) -> Result<(Instance, Vec<NewCheck>), InvalidRequest> {
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| !proxy.is_null()) {
            ProxyRequest::read(proxy, Unknown::Refuse)?;
        }
        let checks: Vec<CheckRequest> = self.check.take().into_iter().chain(std::mem::take(&mut self.checks)).collect();
        if checks.len() > CHECKS_MAX {
            return Err(InvalidRequest(format!(
                "Invalid check: {} checks given; at most {CHECKS_MAX} are accepted",
                checks.len()
            )));
        }
        let mut instance = self.instance()?;
        instance.tagged_addresses = with_own_address(&instance);
        let several = checks.len() > 1;
        let name = format!("Service '{}' check", instance.service);
        let rows = checks.into_iter().enumerate().map(|(place, check)| {
            let id = match several {
                true => format!("service:{}:{}", instance.id, place + 1),
                false => format!("service:{}", instance.id),
            };
            let mut new = check.validate(node, instance.id.clone(), Some(&id), Some(&name))?;
            new.check.service = instance.service.clone();
            new.check.service_tags = instance.tags.clone();
            Ok(new)
        });
        let rows = rows.collect::<Result<_, _>>()?;
        Ok((instance, rows))
    }

    /// The instance alone, as it is stated.
    ///
    /// # Errors
    /// Names the field and what would be accepted.
    pub fn instance(self) -> Result<Instance, InvalidRequest> {
        if self.name.is_empty() {
            return Err(InvalidRequest("Missing service name".to_owned()));
        }
        let service =
            ServiceName::parse(&self.name).map_err(|error| InvalidRequest(format!("Invalid service name: {error}")))?;
        let id = if self.id.is_empty() { &self.name } else { &self.id };
        let id = InstanceId::parse(id).map_err(|error| InvalidRequest(format!("Invalid service ID: {error}")))?;
        if self.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some()) {
            return Err(InvalidRequest(
                "Invalid SidecarService: a proxy is registered along by the agent's own route only".to_owned(),
            ));
        }
        let mut tagged = BTreeMap::new();
        for (tag, address) in &self.tagged_addresses {
            let literal = address.address.parse::<std::net::IpAddr>();
            let fits = match tag.as_str() {
                "lan_ipv4" | "wan_ipv4" => literal.is_ok_and(|ip| ip.is_ipv4()),
                "lan_ipv6" | "wan_ipv6" => literal.is_ok_and(|ip| ip.is_ipv6()),
                _ => true,
            };
            if !fits {
                return Err(InvalidRequest(format!(
                    "Invalid TaggedAddresses: {tag:?} must hold an IP address of that family"
                )));
            }
            text("TaggedAddresses", &address.address, 512)?;
            tagged.insert(
                Text::from(tag.as_str()),
                ServiceAddress { address: address.address.as_str().into(), port: address.port },
            );
        }
        if matches!(self.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err(InvalidRequest(format!(
                "Invalid service address: Address {:?} is the wildcard; give one that callers can reach",
                self.address
            )));
        }
        if self.tags.len() > TAGS_MAX {
            return Err(InvalidRequest(format!(
                "Invalid Tags: {} given; at most {TAGS_MAX} are accepted",
                self.tags.len()
            )));
        }
        let read = match &self.proxy {
            None | Some(serde_json::Value::Null) => None,
            Some(value) => Some(ProxyRequest::read(value, Unknown::Ignore)?),
        };
        let native = self.connect.as_ref().is_some_and(|connect| connect.native);
        let owner = Owner { kind: &self.kind, port: self.port, socket_path: &self.socket_path, native };
        validate_kind(owner, read.as_ref())?;
        let proxy = match &read {
            None => Text::default(),
            Some(read) => {
                let canonical =
                    serde_json::to_string(read).map_err(|error| InvalidRequest(format!("Proxy: {error}")))?;
                text("Proxy", &canonical, 64 * 1024)?
            }
        };
        Ok(Instance {
            service,
            id,
            kind: text("Kind", &self.kind, 64)?,
            tags: self
                .tags
                .iter()
                .map(|tag| text("Tags", tag, 1024))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .collect(),
            address: text("Address", &self.address, 512)?,
            tagged_addresses: tagged.into(),
            meta: validate_meta("Service Meta", &self.meta)?,
            port: self.port,
            socket_path: text("SocketPath", &self.socket_path, 1024)?,
            weights: self.weights.unwrap_or_default().validate()?,
            enable_tag_override: self.enable_tag_override,
            proxy,
            connect_native: native,
            created: Index::ZERO,
            modified: Index::ZERO,
        })
    }
}

/// An agent also lists a literal address of an instance under its family, in both networks.
fn with_own_address(instance: &Instance) -> Map<ServiceAddress> {
    let Ok(ip) = instance.address.parse::<std::net::IpAddr>() else { return instance.tagged_addresses.clone() };
    let own = ServiceAddress { address: instance.address.clone(), port: instance.port };
    let networks = if ip.is_ipv4() { ["lan_ipv4", "wan_ipv4"] } else { ["lan_ipv6", "wan_ipv6"] };
    let own = networks.into_iter().map(|network| (Text::from(network), own.clone()));
    let stated = instance.tagged_addresses.iter().map(|(network, address)| (network.clone(), address.clone()));
    own.chain(stated).collect()
}

/// A value of `GET /v1/agent/services`. An absent key is part of the format: clients compare whole objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct AgentService {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    /// Empty for a plain service.
    pub kind: Text,
    #[serde(rename = "ID")]
    /// Unique on the node.
    pub id: InstanceId,
    /// The name callers ask for.
    pub service: ServiceName,
    /// Labels.
    pub tags: Tags,
    /// Free key-value pairs.
    pub meta: Meta,
    /// Port, 0 for none.
    pub port: u16,
    /// IP or host name; the node's when empty.
    pub address: Text,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    /// A Unix socket instead.
    pub socket_path: Text,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    /// Addresses by network.
    pub tagged_addresses: Map<ServiceAddress>,
    /// How often it is chosen.
    pub weights: Weights,
    /// Whether others may change the tags.
    pub enable_tag_override: bool,
    #[serde(default)]
    /// Where it runs.
    pub datacenter: Text,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    /// Changes with any field; only when one service is asked for.
    pub content_hash: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Proxy settings, of proxies.
    pub proxy: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Mesh settings, if it speaks mesh TLS itself.
    pub connect: Option<serde_json::Value>,
}

impl AgentService {
    /// Shows a row.
    #[must_use]
    pub fn of(instance: &Instance, datacenter: &Text) -> AgentService {
        AgentService {
            kind: instance.kind.clone(),
            id: instance.id.clone(),
            service: instance.service.clone(),
            tags: instance.tags.clone(),
            meta: instance.meta.clone(),
            port: instance.port,
            address: instance.address.clone(),
            socket_path: instance.socket_path.clone(),
            tagged_addresses: instance.tagged_addresses.clone(),
            weights: instance.weights,
            enable_tag_override: instance.enable_tag_override,
            datacenter: datacenter.clone(),
            content_hash: Text::default(),
            proxy: serde_json::from_str(&instance.proxy).ok(),
            connect: instance.connect_native.then(|| serde_json::json!({"Native": true})),
        }
    }
}

/// An answer of `GET /v1/agent/health/service/…`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct AgentServiceHealth {
    /// `passing`, `warning`, `critical` or `maintenance`.
    pub aggregated_status: Text,
    /// The instance; null when unknown.
    pub service: Option<AgentService>,
    /// Its checks and those of the node; null when unknown.
    pub checks: Option<Vec<HealthCheck>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode::{Unknown, from_slice};

    fn read(body: &str) -> Result<(Instance, Vec<NewCheck>), String> {
        let request: ServiceRequest =
            from_slice(body.as_bytes(), Unknown::Refuse).map_err(|error| error.to_string())?;
        request.validate(&NodeName::parse("n1").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn check_ids_follow_the_service() {
        let ids =
            |body: &str| -> Vec<String> { read(body).unwrap().1.iter().map(|new| new.check.id.to_string()).collect() };
        assert_eq!(ids(r#"{"name":"web","check":{"ttl":"10s"}}"#), ["service:web"]);
        assert_eq!(
            ids(r#"{"name":"web","id":"w1","checks":[{"ttl":"10s"},{"ttl":"5s"}]}"#),
            ["service:w1:1", "service:w1:2"]
        );
        assert_eq!(
            ids(r#"{"name":"web","check":{"ttl":"1s"},"checks":[{"ttl":"10s","CheckID":"x"}]}"#),
            ["service:web:1", "x"]
        );
    }

    #[test]
    fn nulls_as_spring_sends_them() {
        let (instance, checks) = read(r#"{"ID":"a","Name":"web","Tags":null,"Meta":null,"Check":{"TTL":"30s","Header":null},"Checks":null,"Weights":null}"#).unwrap();
        assert_eq!(instance.weights, Weights::default());
        assert_eq!(checks.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |body: &str, part: &str| {
            let error = read(body).unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        };
        check(r#"{}"#, "Missing service name");
        check(r#"{"name":"a","address":"0.0.0.0"}"#, "Invalid service address");
        check(r#"{"name":"a","weights":{"passing":0}}"#, "Invalid Weights");
        check(r#"{"name":"a","meta":{"a b":"c"}}"#, "Invalid Service Meta");
        check(r#"{"name":"a","meta":{"consul-x":"c"}}"#, "reserved");
        check(r#"{"name":"a","port":"80"}"#, "port: ");
        check(
            r#"{"name":"a","check":{"ttl":"1s","status":"x"}}"#,
            "Status for checks must 'passing', 'warning', 'critical'",
        );
        check(r#"{"name":"a","tagged_addresses":{"lan_ipv4":{"address":"::1"}}}"#, "lan_ipv4");
        check(r#"{"name":"a","x":1}"#, "unknown field \"x\"");
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(600));
        check(&long, "at most 512");
    }

    #[test]
    fn an_agent_service_has_no_additional_key() {
        let (instance, _) = read(r#"{"name":"foo"}"#).unwrap();
        let shown = serde_json::to_value(AgentService::of(&instance, &"dc1".into())).unwrap();
        let expected = serde_json::json!({"Address":"","Datacenter":"dc1","EnableTagOverride":false,"ID":"foo","Meta":{},
            "Port":0,"Service":"foo","Tags":[],"Weights":{"Passing":1,"Warning":1}});
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_literal_address_is_listed_by_family_unless_stated_otherwise() {
        let (instance, _) = read(
            r#"{"name":"a","address":"10.0.0.1","port":80,"tagged_addresses":{"wan_ipv4":{"address":"1.2.3.4","port":9}}}"#,
        )
        .unwrap();
        let listed = |network: &str| instance.tagged_addresses.get(network).map(|own| (&*own.address, own.port));
        assert_eq!(listed("lan_ipv4"), Some(("10.0.0.1", 80)));
        assert_eq!(listed("wan_ipv4"), Some(("1.2.3.4", 9)));
        assert_eq!(listed("lan_ipv6"), None);
    }

    #[test]
    fn what_is_sent_is_understood() {
        let request = ServiceRequest {
            name: "web".into(),
            port: 80,
            tags: vec!["a".into()],
            check: Some(CheckRequest { ttl: crate::duration::GoDuration(1_000_000_000), ..CheckRequest::default() }),
            weights: Some(WeightsRequest { passing: 2, warning: 1 }),
            ..ServiceRequest::default()
        };
        let body = serde_json::to_vec(&request).unwrap();
        assert_eq!(from_slice::<ServiceRequest>(&body, Unknown::Refuse), Ok(request));
    }
}

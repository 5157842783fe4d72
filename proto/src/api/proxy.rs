//! The `Proxy` of a registration: for which service a mesh proxy stands, and whom it reaches for it.
//!
//! Read in any spelling, judged, and kept as the canonical JSON that answers show. What only a proxy interprets
//! (`Config`, gateways, access logs) is kept as it was written. Called by `agent` for every registration with a proxy.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::decode::{Unknown, from_value};
use super::valid::InvalidRequest;

/// The most upstreams of one proxy.
pub const UPSTREAMS_MAX: usize = 1024;

/// The longest kind of an instance, in bytes. Which kinds there are is not asked: Consul takes any.
pub const KIND_MAX: usize = 64;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn object() -> Value {
    Value::Object(Map::new())
}

/// For which service a proxy stands, and whom it reaches for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProxyRequest {
    #[serde(skip_serializing_if = "is_default")]
    /// The service.
    pub destination_service_name: String,
    #[serde(rename = "DestinationServiceID", skip_serializing_if = "is_default")]
    /// Its instance on the same node.
    pub destination_service_id: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Where that listens.
    pub local_service_address: String,
    #[serde(skip_serializing_if = "is_default")]
    /// At which port.
    pub local_service_port: u16,
    #[serde(skip_serializing_if = "is_default")]
    /// At which Unix socket instead.
    pub local_service_socket_path: String,
    /// Empty, `transparent` or `direct`.
    pub mode: String,
    #[serde(skip_serializing_if = "is_absent")]
    /// For the proxy.
    pub config: Value,
    #[serde(skip_serializing_if = "is_default")]
    /// Whom it reaches.
    pub upstreams: Vec<Upstream>,
    /// How it reaches other datacenters.
    pub mesh_gateway: Value,
    /// What it lets through without the mesh.
    pub expose: Value,
    #[serde(skip_serializing_if = "is_absent")]
    /// For the proxy.
    pub transparent_proxy: Value,
    #[serde(skip_serializing_if = "is_absent")]
    /// For the proxy.
    pub access_logs: Value,
    #[serde(skip_serializing_if = "is_absent")]
    /// For the proxy.
    pub envoy_extensions: Value,
    #[serde(rename = "MutualTLSMode", skip_serializing_if = "is_default")]
    /// For the proxy.
    pub mutual_tls_mode: String,
}

impl Default for ProxyRequest {
    fn default() -> ProxyRequest {
        ProxyRequest {
            destination_service_name: String::new(),
            destination_service_id: String::new(),
            local_service_address: String::new(),
            local_service_port: 0,
            local_service_socket_path: String::new(),
            mode: String::new(),
            config: Value::Null,
            upstreams: Vec::new(),
            mesh_gateway: object(),
            expose: object(),
            transparent_proxy: Value::Null,
            access_logs: Value::Null,
            envoy_extensions: Value::Null,
            mutual_tls_mode: String::new(),
        }
    }
}

/// A service that a proxy reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Upstream {
    #[serde(skip_serializing_if = "is_default")]
    /// `service`, `prepared_query` or empty.
    pub destination_type: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub destination_namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub destination_partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no peer clusters.
    pub destination_peer: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The service or query.
    pub destination_name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its datacenter; empty for this one.
    pub datacenter: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Where the application finds it.
    pub local_bind_address: String,
    #[serde(skip_serializing_if = "is_default")]
    /// At which port.
    pub local_bind_port: u16,
    #[serde(skip_serializing_if = "is_default")]
    /// At which Unix socket instead.
    pub local_bind_socket_path: String,
    #[serde(skip_serializing_if = "is_default")]
    /// With which rights.
    pub local_bind_socket_mode: String,
    #[serde(skip_serializing_if = "is_absent")]
    /// For the proxy.
    pub config: Value,
    /// How it is reached in another datacenter.
    pub mesh_gateway: Value,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether it stands in config entries.
    pub centrally_configured: bool,
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            destination_type: String::new(),
            destination_namespace: String::new(),
            destination_partition: String::new(),
            destination_peer: String::new(),
            destination_name: String::new(),
            datacenter: String::new(),
            local_bind_address: String::new(),
            local_bind_port: 0,
            local_bind_socket_path: String::new(),
            local_bind_socket_mode: String::new(),
            config: Value::Null,
            mesh_gateway: object(),
            centrally_configured: false,
        }
    }
}

/// The instance that a proxy belongs to, as far as it decides what the proxy must say.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its port.
    pub port: u16,
    /// Its Unix socket.
    pub socket_path: &'a str,
    /// Whether it speaks mesh TLS itself.
    pub native: bool,
}

fn broken<T>(text: impl std::fmt::Display) -> Result<T, InvalidRequest> {
    Err(InvalidRequest(format!("Validation failed: {text}")))
}

impl ProxyRequest {
    /// Reads the settings, in any spelling.
    ///
    /// # Errors
    /// Names the field that has the wrong type, or (with [`Unknown::Refuse`]) that nobody knows.
    pub fn read(value: &Value, unknown: Unknown) -> Result<ProxyRequest, InvalidRequest> {
        if !value.is_object() {
            return Err(InvalidRequest("Invalid Proxy: it must be an object".to_owned()));
        }
        from_value(value.clone(), unknown)
            .map_err(|error| InvalidRequest(format!("Request decode failed: Proxy: {}", error.detail())))
    }

    /// Checks the settings for the instance that they belong to.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self, owner: Owner<'_>) -> Result<(), InvalidRequest> {
        if !matches!(self.mode.as_str(), "" | "transparent" | "direct") {
            return broken("Proxy.Mode must be transparent, direct or empty");
        }
        if owner.kind == "connect-proxy" {
            if self.destination_service_name.trim().is_empty() {
                return broken("Proxy.DestinationServiceName must be non-empty for Connect proxy services");
            }
            if self.destination_service_name.contains('*') {
                return broken("Proxy.DestinationServiceName must not be a wildcard for Connect proxy services");
            }
            if owner.port == 0 && owner.socket_path.is_empty() {
                return broken("Port or SocketPath must be set for a Connect proxy");
            }
            if owner.native {
                return broken("A Proxy cannot also be Connect Native, only typical services");
            }
        }
        if self.upstreams.len() > UPSTREAMS_MAX {
            return broken(format_args!("Proxy.Upstreams: {} are more than {UPSTREAMS_MAX}", self.upstreams.len()));
        }
        for (number, upstream) in self.upstreams.iter().enumerate() {
            upstream.validate(number)?;
        }
        Ok(())
    }
}

impl Upstream {
    fn validate(&self, number: usize) -> Result<(), InvalidRequest> {
        let place = format!("Proxy.Upstreams[{number}]");
        if !matches!(self.destination_type.as_str(), "" | "service" | "prepared_query") {
            return broken(format_args!("{place}.DestinationType must be service or prepared_query"));
        }
        if self.destination_name.is_empty() {
            return broken(format_args!("{place}: upstream destination name cannot be empty"));
        }
        for (field, value) in [
            ("DestinationNamespace", &self.destination_namespace),
            ("DestinationPartition", &self.destination_partition),
        ] {
            if !matches!(value.as_str(), "" | "default") {
                return broken(format_args!("{place}.{field} must be \"default\"; there is only that one"));
            }
        }
        if !self.destination_peer.is_empty() {
            return broken(format_args!("{place}.DestinationPeer: there are no cluster peers"));
        }
        let somewhere = self.local_bind_port != 0 || !self.local_bind_socket_path.is_empty();
        if !somewhere && !self.centrally_configured {
            return broken(format_args!("{place}: upstream local bind port or local socket path must be defined"));
        }
        Ok(())
    }
}

/// Checks the kind of an instance, and what that asks of the rest of it.
///
/// # Errors
/// Names the field and the rule.
pub fn validate_kind(owner: Owner<'_>, proxy: Option<&ProxyRequest>) -> Result<(), InvalidRequest> {
    if owner.kind.len() > KIND_MAX {
        return broken(format_args!("Kind is longer than {KIND_MAX} bytes"));
    }
    if owner.kind == "mesh-gateway" && owner.port == 0 {
        return broken("Port must be non-zero for a mesh-gateway");
    }
    match proxy {
        Some(proxy) => proxy.validate(owner),
        None if owner.kind == "connect-proxy" => ProxyRequest::default().validate(owner),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROXY: Owner<'_> = Owner { kind: "connect-proxy", port: 1, socket_path: "", native: false };

    #[test]
    fn any_spelling_is_kept_as_answers_show_it() {
        let written = json!({"destination_service_name": "web", "local_service_port": 80, "config": {"a_b": 1},
            "upstreams": [{"destination_name": "db", "local_bind_port": 9000}]});
        let read = ProxyRequest::read(&written, Unknown::Refuse).unwrap();
        read.validate(PROXY).unwrap();
        let shown = json!({"DestinationServiceName": "web", "LocalServicePort": 80, "Mode": "", "Config": {"a_b": 1},
            "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9000, "MeshGateway": {}}],
            "MeshGateway": {}, "Expose": {}});
        assert_eq!(serde_json::to_value(&read).unwrap(), shown);
        assert_eq!(ProxyRequest::read(&shown, Unknown::Refuse).unwrap(), read);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |proxy: Value, owner: Owner<'_>, part: &str| {
            let read = ProxyRequest::read(&proxy, Unknown::Refuse);
            let error = read.and_then(|read| validate_kind(owner, Some(&read))).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let web = || json!({"DestinationServiceName": "web"});
        check(json!({}), PROXY, "DestinationServiceName must be non-empty");
        check(web(), Owner { port: 0, ..PROXY }, "Port or SocketPath");
        check(web(), Owner { native: true, ..PROXY }, "Native");
        check(web(), Owner { kind: &"k".repeat(KIND_MAX + 1), ..PROXY }, "longer than 64");
        check(web(), Owner { kind: "mesh-gateway", port: 0, ..PROXY }, "non-zero");
        check(json!({"Nope": 1}), PROXY, "Nope");
        check(json!([]), PROXY, "object");
        check(json!({"DestinationServiceName": "web", "Upstreams": [{"LocalBindPort": 1}]}), PROXY, "Upstreams[0]");
        check(json!({"DestinationServiceName": "web", "Mode": "odd"}), PROXY, "Mode");
        assert!(validate_kind(PROXY, None).is_err());
        validate_kind(Owner { kind: "", port: 0, ..PROXY }, None).unwrap();
    }
}

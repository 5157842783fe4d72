//! The certificate authority of the mesh, and what holds where no intention does.

use callboard_proto::acl::Fallback;
use serde_json::{Map, Value};

use super::acl::fallback;
use super::file::FileConfig;
use super::keys::keys;
use super::{ConfigError, invalid};

keys! {
    pub(super) struct ConnectKeys {
        pub(super) enabled: Option<bool>,
        pub(super) ca_provider: Option<String>,
        pub(super) ca_config: Option<Value>,
    }
    unneeded {
        enable_mesh_gateway_wan_federation: "there is one datacenter, so nothing is joined over the wide area",
        enable_serverless_plugin: "it belongs to the commercial product",
        virtual_ip_cidr_v4: "virtual addresses are taken from 240.0.0.0/4",
        virtual_ip_cidr_v6: "virtual addresses are taken from 240.0.0.0/4",
    }
}

/// The certificate authority.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// How it is set up at first, with the keys of the endpoint that changes it. May hold a private key: never shown.
    pub ca_config: CaConfig,
    /// What holds where no intention does; none takes over the default policy of access control.
    pub default_intention_policy: Option<Fallback>,
}

/// The first settings of the certificate authority.
#[derive(Clone, Default, PartialEq)]
pub struct CaConfig(pub Map<String, Value>);

impl std::fmt::Debug for CaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be keys.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ConnectSettings {
    pub(super) fn resolve(file: &FileConfig) -> Result<ConnectSettings, ConfigError> {
        let keys = &file.connect;
        match keys.ca_provider.as_deref() {
            None | Some("consul" | "") => {}
            Some(other) => {
                let reason = format!("{other:?} is not supported; only \"consul\", the built-in authority, is");
                return Err(invalid("connect.ca_provider", reason));
            }
        }
        let ca_config = match &keys.ca_config {
            None => Map::new(),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => return Err(invalid("connect.ca_config", "must be an object")),
        };
        Ok(ConnectSettings {
            enabled: keys.enabled.unwrap_or(true),
            ca_config: CaConfig(ca_config),
            default_intention_policy: fallback("default_intention_policy", file.default_intention_policy.as_deref())?,
        })
    }
}

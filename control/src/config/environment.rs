//! The variables that Consul's container image is steered by; ours (`CALLBOARD_…`) belong to the flags.
//!
//! They stand between files and flags.

use std::path::PathBuf;

use serde_json::{Value, json};

/// What the environment says.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// `CONSUL_LOCAL_CONFIG`: a piece of configuration, JSON or HCL.
    pub(super) local_config: Option<String>,
    /// `CONSUL_BIND_INTERFACE`: the interface for other nodes.
    pub(super) bind_interface: Option<String>,
    /// `CONSUL_CLIENT_INTERFACE`: the interface for clients.
    pub(super) client_interface: Option<String>,
    /// `CONSUL_DATA_DIR`.
    pub(super) data_dir: Option<String>,
    /// `CONSUL_CONFIG_DIR`: read before the folders that flags name.
    pub(super) config_dir: Option<PathBuf>,
    /// `CONSUL_ALLOW_PRIVILEGED_PORTS`: the right to low ports is the image's to give.
    pub(super) privileged_ports: bool,
}

impl Environment {
    /// Reads the process's own.
    pub(super) fn read() -> Environment {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
        Environment {
            local_config: variable("CONSUL_LOCAL_CONFIG"),
            bind_interface: variable("CONSUL_BIND_INTERFACE"),
            client_interface: variable("CONSUL_CLIENT_INTERFACE"),
            data_dir: variable("CONSUL_DATA_DIR"),
            config_dir: variable("CONSUL_CONFIG_DIR").map(PathBuf::from),
            privileged_ports: variable("CONSUL_ALLOW_PRIVILEGED_PORTS").is_some(),
        }
    }

    /// What it says, as a file would.
    pub(super) fn tree(&self) -> Value {
        let of =
            |interface: &Option<String>| interface.as_ref().map(|name| format!("{{{{ GetInterfaceIP \"{name}\" }}}}"));
        json!({
            "bind_addr": of(&self.bind_interface), "client_addr": of(&self.client_interface),
            "data_dir": self.data_dir,
        })
    }
}

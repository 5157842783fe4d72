//! How this node finds the others, and what part it plays among them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callboard_proto::duration::GoDuration;

use super::acl::positive;
use super::file::FileConfig;
use super::keys::keys;
use super::{ConfigError, invalid};
use crate::acl::Secret;
use crate::registry::AutopilotSettings;

/// How often joining is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// When a failed node is given up.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(72 * 3600);
/// The shortest that may be asked for.
const RECONNECT_TIMEOUT_MIN: Duration = Duration::from_secs(8 * 3600);

keys! {
    pub(super) struct AutopilotKeys {
        pub(super) cleanup_dead_servers: Option<bool>,
        pub(super) last_contact_threshold: Option<GoDuration>,
        pub(super) max_trailing_logs: Option<u64>,
        pub(super) min_quorum: Option<u64>,
        pub(super) server_stabilization_time: Option<GoDuration>,
    }
    unneeded {
        redundancy_zone_tag: "it belongs to the commercial product",
        disable_upgrade_migration: "it belongs to the commercial product",
        upgrade_version_tag: "it belongs to the commercial product",
    }
}

keys! {
    pub(super) struct PerformanceKeys {
        pub(super) raft_multiplier: Option<u64>,
        pub(super) rpc_hold_timeout: Option<GoDuration>,
    }
    unneeded {
        leave_drain_time: "a node that leaves ends once the others have heard of it and open requests are answered",
        grpc_keepalive_interval: "gRPC is not served",
        grpc_keepalive_timeout: "gRPC is not served",
    }
}

/// The part of this node in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Whether it holds a vote, or may. Nodes that do not hold the registry all the same.
    pub server: bool,
    /// Whether it is a cluster of one from the start.
    pub bootstrap: bool,
    /// Begin when so many servers know each other.
    pub bootstrap_expect: Option<u64>,
    /// Whom to join; starting fails when none answers. Hosts, with or without a port.
    pub join: Vec<String>,
    /// Whom to join, again and again until one answers.
    pub retry_join: Vec<String>,
    /// How often.
    pub retry_interval: Duration,
    /// Give up, and end, after so many tries; none never does.
    pub retry_max: Option<u64>,
    /// Whether it is found out where nodes are in the network.
    pub coordinates: bool,
    /// When a failed node is given up.
    pub reconnect_timeout: Duration,
    /// Whether SIGTERM means leaving the cluster.
    pub leave_on_terminate: bool,
    /// Whether SIGINT does not.
    pub skip_leave_on_interrupt: bool,
    /// Whether a server never votes.
    pub read_replica: bool,
    /// What gossip is sealed with: base64 of 16, 24 or 32 bytes.
    pub encrypt: Option<Secret>,
    /// Whether gossip that is not sealed is refused.
    pub encrypt_verify_incoming: bool,
    /// Whether gossip is sent sealed.
    pub encrypt_verify_outgoing: bool,
    /// Whether the ring of keys is kept out of the data folder.
    pub keyring_in_memory: bool,
    /// How servers are kept in good order.
    pub autopilot: AutopilotSettings,
    /// Elections take so many times as long.
    pub raft_multiplier: u64,
    /// How long a request waits for somebody to lead.
    pub leader_wait: Duration,
}

impl ClusterSettings {
    pub(super) fn resolve(file: &FileConfig, dev: bool) -> Result<ClusterSettings, ConfigError> {
        let bootstrap = file.bootstrap.unwrap_or(false);
        let bootstrap_expect = file.bootstrap_expect.filter(|count| *count > 0);
        let server = file.server.unwrap_or(dev);
        match bootstrap_expect {
            Some(_) if bootstrap => {
                return Err(invalid("bootstrap_expect", "cannot be given together with bootstrap"));
            }
            Some(_) if dev => return Err(invalid("bootstrap_expect", "cannot be given together with -dev")),
            Some(_) if !server => return Err(invalid("bootstrap_expect", "is only of use with server = true")),
            Some(count) if count > 64 => return Err(invalid("bootstrap_expect", "must be at most 64")),
            _ => {}
        }
        if bootstrap && !server {
            return Err(invalid("bootstrap", "is only of use with server = true"));
        }
        let performance = &file.performance;
        let raft_multiplier = performance.raft_multiplier.unwrap_or(1);
        if !(1..=10).contains(&raft_multiplier) {
            return Err(invalid("performance.raft_multiplier", "must be 1 to 10"));
        }
        let reconnect_timeout = positive("reconnect_timeout", file.reconnect_timeout, RECONNECT_TIMEOUT)?;
        if reconnect_timeout < RECONNECT_TIMEOUT_MIN {
            return Err(invalid("reconnect_timeout", "must be at least 8h"));
        }
        Ok(ClusterSettings {
            server,
            bootstrap,
            bootstrap_expect,
            join: file.start_join.clone(),
            retry_join: file.retry_join.clone(),
            retry_interval: positive("retry_interval", file.retry_interval, RETRY_INTERVAL)?,
            retry_max: file.retry_max.filter(|tries| *tries > 0),
            coordinates: !file.disable_coordinates.unwrap_or(false),
            reconnect_timeout,
            leave_on_terminate: file.leave_on_terminate.unwrap_or(!server),
            skip_leave_on_interrupt: file.skip_leave_on_interrupt.unwrap_or(server),
            read_replica: file.read_replica.or(file.non_voting_server).unwrap_or(false),
            encrypt: encrypt(file.encrypt.as_deref().unwrap_or(""))?,
            encrypt_verify_incoming: file.encrypt_verify_incoming.unwrap_or(true),
            encrypt_verify_outgoing: file.encrypt_verify_outgoing.unwrap_or(true),
            keyring_in_memory: file.disable_keyring_file.unwrap_or(false),
            autopilot: autopilot(&file.autopilot)?,
            raft_multiplier,
            leader_wait: performance.rpc_hold_timeout.map_or(Duration::from_secs(7), GoDuration::to_std),
        })
    }
}

fn encrypt(text: &str) -> Result<Option<Secret>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    match STANDARD.decode(text).map(|key| key.len()) {
        Ok(16 | 24 | 32) => Ok(Some(Secret::new(text))),
        // The key itself is not shown, however wrong it is.
        Ok(length) => Err(invalid("encrypt", format!("the key has {length} bytes; it must have 16, 24 or 32"))),
        Err(_) => Err(invalid("encrypt", "the key must be base64 of 16, 24 or 32 bytes, as `callboard keygen` prints")),
    }
}

fn autopilot(keys: &AutopilotKeys) -> Result<AutopilotSettings, ConfigError> {
    let default = AutopilotSettings::default();
    let time = |key: &str, given, default| positive(&format!("autopilot.{key}"), given, default);
    Ok(AutopilotSettings {
        cleanup: keys.cleanup_dead_servers.unwrap_or(default.cleanup),
        contact_max: time("last_contact_threshold", keys.last_contact_threshold, default.contact_max)?,
        trailing_max: keys.max_trailing_logs.unwrap_or(default.trailing_max),
        voters_min: keys.min_quorum.unwrap_or(default.voters_min),
        stabilization: time("server_stabilization_time", keys.server_stabilization_time, default.stabilization)?,
        ..default
    })
}

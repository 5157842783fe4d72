//! Consul's HTTP interface.
//!
//! `describe` has the words in which routes state what they take and give, `openapi` makes a document of them.
//! `routes` says what a path means, `dispatch` hands it to one file per family of paths, `blocking` holds the one wait
//! loop, `reply` turns an error into a status, `serve` owns the sockets. Nothing here writes state except
//! by proposing a command.

mod acl;
mod acl_boot;
mod acl_method;
mod acl_policy;
mod acl_read;
mod acl_role;
mod acl_token;
mod acl_token_write;
mod agent;
mod agent_checks;
mod agent_node;
mod answers;
mod autopilot;
mod blocking;
mod catalog;
mod catalog_write;
mod central;
mod config;
mod connect;
mod connect_agent;
mod coordinate;
mod describe;
mod discovery_chain;
mod dispatch;
mod event;
mod gateway;
mod health;
mod intention;
mod intention_write;
mod kv;
mod linger;
mod members;
mod openapi;
mod operator;
mod payload;
mod permit;
mod query;
mod reply;
mod request;
mod routes;
mod rules;
mod select;
mod serve;
mod session;
mod sidecar;
mod snapshot;
mod status;
mod txn;
mod ui;
mod usage;
mod zip;

use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use callboard_proto::text::Text;
use tokio_util::sync::CancellationToken;

pub use routes::names as routes;
pub use rules::{HttpRules, Rate, RateMode};
pub use serve::{Door, serve};

use crate::acl::Acl;
use crate::check::Checks;
use crate::cluster::Cluster;
use crate::connect::Authority;
use crate::event::Events;
use crate::identity::Identity;
use crate::monitor::Monitor;
use crate::session::Sessions;
use crate::telemetry::Telemetry;

/// Reads the configuration again; answers with why it was not taken over.
pub type Reload = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What the interface stands in front of.
pub struct Parts {
    /// The registry.
    pub cluster: Cluster,
    /// The checks that are run or beaten here.
    pub checks: Checks,
    /// The sessions that are renewed here.
    pub sessions: Sessions,
    /// Who signs for the services of the mesh.
    pub authority: Authority,
    /// The events that are heard here.
    pub events: Events,
    /// Who may do what.
    pub acl: Arc<Acl>,
    /// This node.
    pub identity: Arc<Identity>,
    /// Its numbers.
    pub telemetry: Arc<Telemetry>,
    /// The first and the last port of proxies that are registered along with services.
    pub sidecar_ports: (u16, u16),
    /// What is let in.
    pub rules: Arc<ArcSwap<HttpRules>>,
    /// The log of the program.
    pub monitor: Monitor,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Ends answers that would go on for ever.
    pub stop: CancellationToken,
    /// Cancelling it has the node leave and stop.
    pub leave: CancellationToken,
}

/// Everything that answering needs; shared by all connections.
pub struct Api {
    cluster: Cluster,
    checks: Checks,
    sessions: Sessions,
    authority: Authority,
    events: Events,
    acl: Arc<Acl>,
    identity: Arc<Identity>,
    telemetry: Arc<Telemetry>,
    sidecar_ports: (u16, u16),
    /// Whose turn it is to look for a port among them.
    sidecar_turn: tokio::sync::Mutex<()>,
    rules: Arc<ArcSwap<HttpRules>>,
    monitor: Monitor,
    reload: Reload,
    stop: CancellationToken,
    answers: answers::Answers,
    zipped: zip::Zipped,
    leave: CancellationToken,
}

impl Api {
    /// Puts the interface in front of a cluster.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Api> {
        let Parts { cluster, checks, sessions, authority, events, acl, identity, telemetry, .. } = parts;
        let Parts { sidecar_ports, rules, monitor, reload, stop, leave, .. } = parts;
        Arc::new(Api {
            cluster,
            checks,
            sessions,
            authority,
            events,
            acl,
            identity,
            telemetry,
            sidecar_ports,
            sidecar_turn: tokio::sync::Mutex::default(),
            rules,
            monitor,
            reload,
            stop,
            answers: answers::Answers::default(),
            zipped: zip::Zipped::default(),
            leave,
        })
    }

    fn datacenter(&self) -> &Text {
        &self.identity.datacenter
    }
}

//! Builds everything once, in order, and takes it down again.
//!
//! Sockets first (so that a taken port is an error at once), then the registry, then what reads it. The
//! only module that sees the settings, with its parts: `options` makes of them what others begin with, `hooks` hands on what
//! changed, `sign_in` keeps the node's own rows.

mod hooks;
mod options;
mod sign_in;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use callboard_proto::{CheckId, NodeName};
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use self::hooks::{
    definition_rows, tell_certificates, tell_definitions, tell_identity, tell_log, tell_rules, tell_tokens,
};
use self::options::{acl_settings, authority_options, cluster_options, dns_options, identity, tls_settings};
use self::sign_in::sign_in;
use crate::acl::{self, Acl};
use crate::check::{CheckSettings, Checks, watch};
use crate::cluster::{Beaten, Cluster, LeaderMemory, RpcTls, retry_join};
use crate::config::{AgentFlags, ClusterSettings, Config};
use crate::connect::{self, Authority};
use crate::definitions::Keeper;
use crate::dns;
use crate::error::Error;
use crate::event::{self, Events};
use crate::exec::{self, Exec};
use crate::http::{Api, Door, Parts, routes, serve};
use crate::listen::Listeners;
use crate::monitor::Monitor;
use crate::registry::Topic;
use crate::reload::Reloader;
use crate::session::{self, SessionSettings, Sessions};
use crate::settings;
use crate::telemetry::Telemetry;
use crate::tls::{self, Purpose, Tls};

/// What the process brings: where its settings come from, and its log.
pub struct Process {
    /// The command line, which says what is read again.
    pub flags: AgentFlags,
    /// The log, for those who listen.
    pub monitor: Monitor,
    /// Changes how much is logged.
    pub log_level: LogLevel,
}

/// Changes how much is logged, or says why it cannot.
pub type LogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// A running control node.
pub struct Server {
    /// Where HTTP is served, first of all; none when it is not, or only on Unix sockets.
    pub http: Option<SocketAddr>,
    /// Where HTTPS is served, first of all.
    pub https: Option<SocketAddr>,
    /// Where DNS is served.
    pub dns: Option<SocketAddr>,
    /// Reads its configuration again.
    pub reloader: Arc<Reloader>,
    node_name: NodeName,
    cluster: Cluster,
    tasks: TaskTracker,
    stop: CancellationToken,
    leave: CancellationToken,
    /// Held for the cluster, which only points to it.
    _memory: Arc<dyn LeaderMemory>,
}

/// What only the leader's memory knows, and who keeps it.
struct Memory {
    checks: Checks,
    sessions: Sessions,
}

impl LeaderMemory for Memory {
    fn renew(&self, session: &str) -> bool {
        self.sessions.start_afresh(session).is_some()
    }

    fn beat(&self, node: &NodeName, check: &CheckId) -> Beaten {
        self.checks.start_afresh(&(node.folded(), check.clone()))
    }

    fn registered(&self, node: &NodeName, checks: &[CheckId]) {
        self.checks.start_deadlines(node, checks);
    }
}

impl Server {
    /// Starts a control node; it serves when this returns.
    ///
    /// # Errors
    /// When the data folder cannot be used or a socket is broken. Nothing is left running.
    pub async fn start(
        config: Config,
        listeners: Listeners,
        process: Process,
        stop: CancellationToken,
    ) -> Result<Server, Error> {
        let config = Arc::new(config);
        let http = listeners.http_address().map_err(|source| Error::Socket { what: "HTTP", source })?;
        let https = listeners.https_address().map_err(|source| Error::Socket { what: "HTTPS", source })?;
        let tls = match https {
            None => None,
            Some(_) => Some(Tls::load(Purpose::Https, tls_settings(&config.tls.https))?),
        };
        let dns_address = listeners.dns_address().map_err(|source| Error::Socket { what: "DNS", source })?;
        let acl = Arc::new(Acl::new(acl_settings(&config))?);
        let between = options::between_nodes(&config)?;
        let rpc_tls = between.clone().map(|tls| RpcTls::new(tls, &options::server_name(&config))).transpose();
        let rpc_tls = rpc_tls.map_err(Error::ServerName)?;
        let options = cluster_options(&config, listeners.rpc, listeners.gossip, rpc_tls)?;
        let cluster = Cluster::start(options).await?;
        let identity = Arc::new(identity(&config, &cluster, http, dns_address));
        let telemetry = Telemetry::new(routes(), settings::naming(&config));
        let check_settings = CheckSettings {
            scripts: config.scripts,
            scripts_local: config.scripts_local,
            update_interval: config.check_update_interval,
            output_max: config.check_output_max,
            ..CheckSettings::default()
        };
        let checks = Checks::new(cluster.clone(), check_settings);
        let sessions = Sessions::new(cluster.clone(), SessionSettings { ttl_min: config.session_ttl_min });
        let authority = Authority::new(cluster.clone(), authority_options(&config, &identity));
        let (call, calls) = Exec::calls();
        let events = Events::new(cluster.clone(), identity.node_name.clone(), config.remote_exec.then_some(call));
        let memory: Arc<dyn LeaderMemory> = Arc::new(Memory { checks: checks.clone(), sessions: sessions.clone() });
        cluster.remember(&memory);
        let rules = Arc::new(ArcSwap::from_pointee(settings::http_rules(&config)));
        let folder = config.data_dir.as_ref().filter(|_| !config.dev);
        let list = folder.map(|folder| folder.join("definitions.json"));
        let keeper = Arc::new(Keeper::open(cluster.clone(), checks.clone(), identity.clone(), list)?);
        let mut reloader = Reloader::new(process.flags, config.clone());
        tell_log(&mut reloader, process.log_level);
        tell_rules(&mut reloader, rules.clone());
        tell_identity(&mut reloader, identity.clone(), cluster.clone());
        tell_tokens(&mut reloader, acl.clone(), config.clone());
        let certificates: Vec<Arc<Tls>> = tls.iter().cloned().chain(between).collect();
        tell_certificates(&mut reloader, certificates.clone());
        tell_definitions(&mut reloader, keeper.clone());
        let reloader = Arc::new(reloader);
        let reload = {
            let reloader = reloader.clone();
            move || {
                let reloader = reloader.clone();
                Box::pin(async move { reloader.reload().await.map(|_| ()).map_err(|error| error.to_string()) }) as _
            }
        };
        let leave = CancellationToken::new();
        let api = Api::new(Parts {
            cluster: cluster.clone(),
            checks: checks.clone(),
            sessions: sessions.clone(),
            authority: authority.clone(),
            events: events.clone(),
            acl: acl.clone(),
            identity: identity.clone(),
            telemetry: telemetry.clone(),
            sidecar_ports: (config.net.sidecar_ports.first, config.net.sidecar_ports.last),
            rules,
            monitor: process.monitor,
            reload: Arc::new(reload),
            stop: stop.clone(),
            leave: leave.clone(),
        });
        for address in &config.cluster.join {
            if let Err(error) = cluster.gossip().join(address).await {
                cluster.shutdown().await;
                return Err(Error::Join(error));
            }
        }
        let tasks = TaskTracker::new();
        if !config.cluster.retry_join.is_empty() {
            tasks.spawn(join_or_stop(cluster.clone(), config.cluster.clone(), stop.clone()));
        }
        tasks.spawn(sign_in(cluster.clone(), identity, acl.clone(), config.config_entries.clone(), stop.clone()));
        let (defined, stopped) = (definition_rows(&config), stop.clone());
        tasks.spawn(async move {
            match defined {
                Ok(rows) => keeper.apply_first(rows, stopped).await,
                Err(reason) => error!(reason, "what files define is not registered"),
            }
        });
        if config.auto_reload {
            tasks.spawn(reloader.clone().follow_files(stop.clone()));
        }
        if acl.is_enabled() {
            tasks.spawn(acl::keep(cluster.clone(), acl::now, stop.clone()));
        }
        tasks.spawn(watch(checks, stop.clone()));
        tasks.spawn(event::listen(events, stop.clone()));
        if config.remote_exec {
            let exec = Exec::new(cluster.clone(), acl.clone(), config.node_name.clone());
            tasks.spawn(exec::listen(exec, calls, stop.clone()));
        }
        tasks.spawn(session::watch(sessions, stop.clone()));
        tasks.spawn(connect::watch(authority, stop.clone()));
        let mut doors = listeners.http;
        if let Some(tls) = tls {
            doors.extend(listeners.https.into_iter().map(|listener| Door::Tls(listener, tls.clone())));
        }
        if !certificates.is_empty() {
            tasks.spawn(tls::watch(certificates, stop.clone()));
        }
        tasks.spawn(serve(api, doors, stop.clone()));
        if !listeners.dns.is_empty() {
            let counters = telemetry.dns().clone();
            let (udp, tcp) = listeners.dns.into_iter().unzip();
            tasks.spawn(dns::serve(
                cluster.clone(),
                acl.clone(),
                dns_options(&config),
                counters,
                udp,
                tcp,
                stop.clone(),
            ));
        }
        info!(?http, ?https, dns = ?dns_address, "serving");
        let node_name = config.node_name.clone();
        Ok(Server { http, https, dns: dns_address, reloader, node_name, cluster, tasks, stop, leave, _memory: memory })
    }

    /// Cancelling it has the node leave the cluster, and then stop.
    #[must_use]
    pub fn leaving(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// Whether somebody leads, or is bound to: a node that waits to be admitted may wait for long.
    #[must_use]
    pub fn expects_leader(&self) -> bool {
        !self.cluster.status().voters.is_empty()
    }

    /// Waits until the node's own rows are written, as they are once somebody leads.
    ///
    /// # Errors
    /// When that takes longer than allowed; the node goes on serving and trying.
    pub async fn signed_in(&self, within: Duration) -> Result<(), Elapsed> {
        let mut subscription = self.cluster.hub().subscribe(&[Topic::Nodes]);
        let written = async {
            while self.cluster.registry().node(&self.node_name).is_none() {
                subscription.changed().await;
            }
        };
        tokio::time::timeout(within, written).await
    }

    /// Runs until told to stop, or until the log cannot be written any more.
    ///
    /// # Errors
    /// [`Error::LogFailed`] in the latter case: nothing that was not written was acknowledged.
    pub async fn run(self) -> Result<(), Error> {
        let mut status = self.cluster.subscribe();
        let failed = tokio::select! {
            () = self.stop.cancelled() => None,
            () = self.leave.cancelled() => {
                self.cluster.leave().await;
                None
            }
            failed = status.wait_for(|status| status.fatal.is_some()) => {
                failed.ok().and_then(|status| status.fatal.clone())
            }
        };
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.cluster.shutdown().await;
        match failed {
            None => Ok(()),
            Some(reason) => Err(Error::LogFailed { reason }),
        }
    }
}

/// Joins the members that are to be joined, and stops the node when it is to give up.
async fn join_or_stop(cluster: Cluster, settings: ClusterSettings, stop: CancellationToken) {
    let ClusterSettings { retry_join: addresses, retry_interval, retry_max, .. } = settings;
    if !retry_join(cluster, addresses, retry_interval, retry_max, stop.clone()).await {
        error!(tries = retry_max, "no member could be joined; stopping");
        stop.cancel();
    }
}

/// The address to tell people, when the bound one is a wildcard.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()) } else { address }
}

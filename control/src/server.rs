//! Builds everything once, in order, and takes it down again.
//!
//! Sockets first (so that a taken port is an error at once), then the registry, then what reads it. The
//! only module that sees the settings.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::NodeName;
use callboard_proto::dns::Zone;
use callboard_proto::duration::GoDuration;
use callboard_proto::text::Text;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::acl::{self, Acl, AclSettings};
use crate::check::{CheckSettings, Checks, watch};
use crate::cluster::{Cluster, ClusterOptions};
use crate::config::Config;
use crate::dns::{self, DnsOptions, RecursorStrategy};
use crate::error::Error;
use crate::http::{Api, HttpLimits, Parts, routes, serve};
use crate::identity::Identity;
use crate::registry::{Command, Topic};
use crate::session::{self, SessionSettings, Sessions};
use crate::telemetry::Telemetry;

/// Connections that may wait to be accepted. Beyond it the system drops them and they try again a second later:
/// with the usual 128, five thousand watchers took half a minute to come back.
const BACKLOG: u32 = 4096;

/// The sockets of a control node; tests bring their own.
pub struct Listeners {
    /// HTTP.
    pub http: TcpListener,
    /// DNS over UDP and TCP, on one port.
    pub dns: Option<(UdpSocket, TcpListener)>,
}

impl Listeners {
    /// Binds what the settings say.
    ///
    /// # Errors
    /// When an address is taken or not ours.
    pub async fn bind(config: &Config) -> Result<Listeners, Error> {
        let http = SocketAddr::new(config.client, config.http_port);
        let http = listen(http).map_err(|source| Error::Bind { what: "HTTP", address: http, source })?;
        let dns = match config.dns_port {
            None => None,
            Some(port) => Some(bind_dns(SocketAddr::new(config.client, port)).await?),
        };
        Ok(Listeners { http, dns })
    }
}

/// A running control node.
pub struct Server {
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where DNS is served.
    pub dns: Option<SocketAddr>,
    node_name: NodeName,
    cluster: Cluster,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// Starts a control node; it serves when this returns.
    ///
    /// # Errors
    /// When the data folder cannot be used or a socket is broken. Nothing is left running.
    pub async fn start(config: Config, listeners: Listeners, stop: CancellationToken) -> Result<Server, Error> {
        let http = listeners.http.local_addr().map_err(|source| Error::Socket { what: "HTTP", source })?;
        let dns_address = match &listeners.dns {
            None => None,
            Some((_, tcp)) => Some(tcp.local_addr().map_err(|source| Error::Socket { what: "DNS", source })?),
        };
        let acl = Arc::new(Acl::new(acl_settings(&config))?);
        let address = SocketAddr::new(config.advertise, config.server_port).to_string();
        let cluster =
            Cluster::start(ClusterOptions { data_dir: config.data_dir.clone().filter(|_| !config.dev), address })
                .await?;
        let identity = Arc::new(identity(&config, &cluster, http.port(), dns_address));
        let telemetry = Telemetry::new(routes());
        let settings = CheckSettings {
            scripts: config.scripts,
            update_interval: config.check_update_interval,
            ..CheckSettings::default()
        };
        let checks = Checks::new(cluster.clone(), settings);
        let sessions = Sessions::new(cluster.clone(), SessionSettings { ttl_min: config.session_ttl_min });
        let limits = HttpLimits { connections_per_client: config.connections_per_client };
        let api = Api::new(Parts {
            cluster: cluster.clone(),
            checks: checks.clone(),
            sessions: sessions.clone(),
            acl: acl.clone(),
            identity: identity.clone(),
            telemetry: telemetry.clone(),
            limits,
        });
        let tasks = TaskTracker::new();
        tasks.spawn(sign_in(cluster.clone(), identity, acl.clone(), stop.clone()));
        if acl.is_enabled() {
            tasks.spawn(acl::keep(cluster.clone(), acl::now, stop.clone()));
        }
        tasks.spawn(watch(checks, stop.clone()));
        tasks.spawn(session::watch(sessions, stop.clone()));
        tasks.spawn(serve(api, listeners.http, stop.clone()));
        if let Some((udp, tcp)) = listeners.dns {
            let counters = telemetry.dns().clone();
            tasks.spawn(dns::serve(
                cluster.clone(),
                acl.clone(),
                dns_options(&config),
                counters,
                vec![udp],
                vec![tcp],
                stop.clone(),
            ));
        }
        info!(%http, dns = ?dns_address, "serving");
        Ok(Server { http, dns: dns_address, node_name: config.node_name, cluster, tasks, stop })
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

fn identity(config: &Config, cluster: &Cluster, http_port: u16, dns: Option<SocketAddr>) -> Identity {
    // The log's identity is 64 random bits made once; the UUID that clients expect is derived from it.
    let word = |seed| twox_hash::XxHash3_64::oneshot_with_seed(seed, &cluster.node_id().to_be_bytes());
    let node_id = uuid::Uuid::from_u64_pair(word(0), word(1));
    let node_id = uuid::Builder::from_random_bytes(node_id.into_bytes()).into_uuid();
    Identity {
        node_name: config.node_name.clone(),
        node_id: Text::from(node_id.to_string()),
        datacenter: Text::from(config.datacenter.as_str()),
        domain: config.domain.clone(),
        advertise: config.advertise,
        bind: config.bind,
        client: config.client,
        http_port,
        dns_port: dns.map_or(-1, |address| i32::from(address.port())),
        server_port: config.server_port,
        serf_port: config.serf_port,
        serf_wan_port: config.serf_wan_port,
        node_meta: config.node_meta.clone(),
        dev: config.dev,
        console: config.console,
    }
}

fn acl_settings(config: &Config) -> AclSettings {
    let acl = &config.acl;
    let folder = config.data_dir.as_ref().filter(|_| !config.dev);
    AclSettings {
        enabled: acl.enabled,
        fallback: acl.fallback,
        key_list_policy: acl.key_list_policy,
        datacenter: config.datacenter.as_str().into(),
        node_name: config.node_name.as_str().into(),
        initial_management: acl.initial_management.clone(),
        tokens: acl.tokens.clone(),
        tokens_file: folder.filter(|_| acl.token_persistence).map(|folder| folder.join("acl-tokens.json")),
        reset_file: folder.map(|folder| folder.join("acl-bootstrap-reset")),
        expiration: None,
    }
}

/// Listens, with room for everyone who comes back at once.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As usual for servers: the port is free again at once after a restart.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Binds DNS over UDP and TCP to one port. With port 0 the system picks it for TCP, and it may be taken for UDP.
async fn bind_dns(address: SocketAddr) -> Result<(UdpSocket, TcpListener), Error> {
    let failed = |source| Error::Bind { what: "DNS", address, source };
    let mut tries = 16;
    loop {
        let tcp = listen(address).map_err(failed)?;
        let bound = tcp.local_addr().map_err(failed)?;
        match UdpSocket::bind(bound).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(_) if address.port() == 0 && tries > 0 => tries -= 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

fn dns_options(config: &Config) -> DnsOptions {
    let dns = &config.dns;
    let seconds = |duration: GoDuration| u32::try_from(duration.to_std().as_secs()).unwrap_or(u32::MAX);
    let zone = Zone::new(&config.domain, config.alt_domain.as_deref(), &config.datacenter);
    let mut options = DnsOptions::new(zone);
    let settings = &mut options.settings;
    settings.node_ttl = dns.node_ttl.map_or(settings.node_ttl, seconds);
    settings.service_ttl = dns.service_ttl.iter().map(|(rule, ttl)| (rule, seconds(*ttl))).collect();
    settings.udp_answer_limit = dns.udp_answer_limit.unwrap_or(settings.udp_answer_limit);
    settings.a_record_limit = dns.a_record_limit.unwrap_or(settings.a_record_limit);
    settings.enable_truncate = dns.enable_truncate.unwrap_or(settings.enable_truncate);
    settings.node_meta_txt = dns.enable_additional_node_meta_txt.unwrap_or(settings.node_meta_txt);
    settings.soa.refresh = dns.soa.refresh.unwrap_or(settings.soa.refresh);
    settings.soa.retry = dns.soa.retry.unwrap_or(settings.soa.retry);
    settings.soa.expire = dns.soa.expire.unwrap_or(settings.soa.expire);
    settings.soa.min_ttl = dns.soa.min_ttl.unwrap_or(settings.soa.min_ttl);
    options.only_passing = dns.only_passing.unwrap_or(options.only_passing);
    options.compress = !dns.disable_compression.unwrap_or(!options.compress);
    options.recursors = config.recursors.clone();
    options.recursor_timeout = dns.recursor_timeout.map_or(options.recursor_timeout, GoDuration::to_std);
    options.recursor_strategy = match config.recursors_at_random {
        true => RecursorStrategy::Random,
        false => RecursorStrategy::Sequential,
    };
    options
}

/// Writes the node's own rows each time it begins to lead.
async fn sign_in(cluster: Cluster, identity: Arc<Identity>, acl: Arc<Acl>, stop: CancellationToken) {
    let mut status = cluster.subscribe();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            ready = status.wait_for(|status| status.ready) => if ready.is_err() { return },
        }
        if acl.is_enabled() {
            // Before the node's own row, so that whoever finds that finds the tokens too.
            let seed = acl::seed::command(acl.settings().initial_management.as_ref(), acl::now());
            if let Err(error) = cluster.propose(Command::Acl(seed)).await {
                error!(error = &error as &dyn std::error::Error, "writing the first tokens failed");
            }
        }
        let registration = Command::Register(Box::new(identity.registration()));
        if let Err(error) = cluster.propose(registration).await {
            error!(error = &error as &dyn std::error::Error, "writing the node's own rows failed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            lost = status.wait_for(|status| !status.ready) => if lost.is_err() { return },
        }
    }
}

/// The address to tell people, when the bound one is a wildcard.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()) } else { address }
}

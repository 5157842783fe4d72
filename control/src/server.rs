//! Builds everything once, in order, and takes it down again.
//!
//! Sockets first (so that a taken port is an error at once), then the registry, then what reads it. The
//! only module that sees the settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use callboard_proto::acl::Fallback;
use callboard_proto::config_entry::Action;
use callboard_proto::dns::Zone;
use callboard_proto::duration::GoDuration;
use callboard_proto::text::Text;
use callboard_proto::{CheckId, NodeName};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::acl::{self, Acl, AclSettings};
use crate::check::{CheckSettings, Checks, watch};
use crate::cluster::{
    Autopilot, Beaten, Begin, Cluster, ClusterOptions, GossipSockets, Keyring, KeyringOptions, LeaderMemory, Network,
    retry_join,
};
use crate::config::{AgentFlags, ClusterSettings, Config, TlsInterface};
use crate::connect::{self, Authority, AuthorityOptions};
use crate::definitions::Keeper;
use crate::dns::{self, DnsOptions, RecursorStrategy};
use crate::error::Error;
use crate::http::{Api, Door, HttpRules, Parts, routes, serve};
use crate::identity::Identity;
use crate::listen::Listeners;
use crate::monitor::Monitor;
use crate::registry::{Command, NodeUpdate, Registration, Topic};
use crate::reload::Reloader;
use crate::session::{self, SessionSettings, Sessions};
use crate::settings;
use crate::telemetry::Telemetry;
use crate::tls::{self, Purpose, Tls, TlsSettings, TlsVersion};

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
        let cluster = Cluster::start(cluster_options(&config, listeners.rpc, listeners.gossip)?).await?;
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
        tell_certificates(&mut reloader, tls.iter().cloned().collect());
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
        tasks.spawn(sign_in(cluster.clone(), identity, acl.clone(), stop.clone()));
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
        tasks.spawn(session::watch(sessions, stop.clone()));
        tasks.spawn(connect::watch(authority, stop.clone()));
        let mut doors = listeners.http;
        if let Some(tls) = tls {
            doors.extend(listeners.https.into_iter().map(|listener| Door::Tls(listener, tls.clone())));
            tasks.spawn(tls::watch(vec![tls], stop.clone()));
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

fn identity(config: &Config, cluster: &Cluster, http: Option<SocketAddr>, dns: Option<SocketAddr>) -> Identity {
    let card = cluster.card();
    let port = |address: Option<SocketAddr>| address.map_or(-1, |address| i32::from(address.port()));
    let net = &config.net;
    Identity {
        node_name: config.node_name.clone(),
        node_id: Text::from(card.node_id.as_str()),
        datacenter: Text::from(config.datacenter.as_str()),
        domain: config.domain.clone(),
        advertise: net.advertise,
        advertise_wan: net.advertise_wan,
        bind: net.bind,
        client: net.client.clone(),
        http_port: port(http),
        dns_port: port(dns),
        server_port: card.rpc.port(),
        serf_port: card.gossip.port(),
        serf_wan_port: net.serf_wan_port,
        node_meta: ArcSwap::from_pointee(config.node_meta.clone()),
        settings: ArcSwap::from_pointee(settings::shown(config)),
        dev: config.dev,
        console: config.console,
        server: config.cluster.server,
        bootstrap: begin(config) == Begin::Alone,
    }
}

/// How a node without a history comes to be in a cluster.
fn begin(config: &Config) -> Begin {
    let cluster = &config.cluster;
    match cluster.bootstrap_expect {
        Some(1) => Begin::Alone,
        Some(servers) => Begin::Together(u32::try_from(servers).unwrap_or(u32::MAX)),
        None if cluster.server && (cluster.bootstrap || config.dev) => Begin::Alone,
        None => Begin::Wait,
    }
}

fn cluster_options(
    config: &Config,
    rpc: TcpListener,
    gossip: (UdpSocket, TcpListener),
) -> Result<ClusterOptions, Error> {
    let cluster = &config.cluster;
    let data_dir = config.data_dir.clone().filter(|_| !config.dev);
    let keyring = Keyring::open(KeyringOptions {
        given: cluster.encrypt.as_ref().map(|key| &**key.reveal()),
        folder: data_dir.as_deref().filter(|_| !cluster.keyring_in_memory),
        plain_heard: !cluster.encrypt_verify_incoming,
        plain_said: !cluster.encrypt_verify_outgoing,
    })?;
    let network = Network {
        rpc,
        gossip: GossipSockets { udp: gossip.0, tcp: gossip.1 },
        keyring,
        advertise: config.net.advertise,
        name: config.node_name.clone(),
        node_id: config.node_id.clone(),
        datacenter: config.datacenter.clone(),
        wan_port: config.net.serf_wan_port,
        server: cluster.server && !cluster.read_replica,
        failed_kept: cluster.reconnect_timeout,
    };
    let slowness = u32::try_from(cluster.raft_multiplier).unwrap_or(1);
    let pilot = &cluster.autopilot;
    let autopilot = Autopilot {
        cleanup: pilot.cleanup_dead_servers,
        stabilization: pilot.server_stabilization,
        trailing_max: pilot.trailing_logs_max,
        voters_min: pilot.quorum_min,
    };
    let leader_wait = cluster.leader_wait;
    Ok(ClusterOptions { data_dir, begin: begin(config), network, leader_wait, slowness, autopilot })
}

/// Joins the members that are to be joined, and stops the node when it is to give up.
async fn join_or_stop(cluster: Cluster, settings: ClusterSettings, stop: CancellationToken) {
    let ClusterSettings { retry_join: addresses, retry_interval, retry_max, .. } = settings;
    if !retry_join(cluster, addresses, retry_interval, retry_max, stop.clone()).await {
        error!(tries = retry_max, "no member could be joined; stopping");
        stop.cancel();
    }
}

/// What files define, as rows of this node.
fn definition_rows(config: &Config) -> Result<Vec<crate::definitions::Defined>, String> {
    config.definitions.rows(&config.node_name)
}

fn tell_log(reloader: &mut Reloader, log_level: LogLevel) {
    reloader.tell("log_level", move |config| Box::pin(std::future::ready(log_level(config.log.level))));
}

fn tell_rules(reloader: &mut Reloader, rules: Arc<ArcSwap<HttpRules>>) {
    reloader.tell("limits, http_config", move |config| {
        rules.store(Arc::new(settings::http_rules(&config)));
        Box::pin(std::future::ready(Ok(())))
    });
}

/// The node's pairs change in its row, too, if they did.
fn tell_identity(reloader: &mut Reloader, identity: Arc<Identity>, cluster: Cluster) {
    reloader.tell("node_meta", move |config| {
        let (identity, cluster) = (identity.clone(), cluster.clone());
        Box::pin(async move {
            identity.settings.store(Arc::new(settings::shown(&config)));
            if **identity.node_meta.load() == config.node_meta {
                return Ok(());
            }
            identity.node_meta.store(Arc::new(config.node_meta.clone()));
            let registration = Registration {
                node: identity.node(),
                node_update: NodeUpdate::Put,
                instance: None,
                checks: Vec::new(),
                checks_replace: false,
            };
            let written = cluster.propose(Command::Register(Box::new(registration))).await;
            written.map(|_| ()).map_err(|error| error.to_string())
        })
    });
}

/// Tokens that changed in files replace those that are in use; others stay as they were set.
fn tell_tokens(reloader: &mut Reloader, acl: Arc<Acl>, started: Arc<Config>) {
    let seen = parking_lot::Mutex::new(started.acl.tokens.clone());
    reloader.tell("acl.tokens", move |config| {
        let before = std::mem::replace(&mut *seen.lock(), config.acl.tokens.clone());
        let mut taken = Ok(());
        for token_use in acl::TokenUse::ALL {
            let now = config.acl.tokens.get(token_use);
            if before.get(token_use) != now {
                let text = now.map(|token| token.reveal().to_string()).unwrap_or_default();
                if let Err(error) = acl.set_token(token_use, &text) {
                    taken = Err(error.to_string());
                }
            }
        }
        Box::pin(std::future::ready(taken))
    });
}

/// Certificates are read from their files again, under the settings that the node was started with.
fn tell_certificates(reloader: &mut Reloader, all: Vec<Arc<Tls>>) {
    reloader.tell("certificates", move |_| Box::pin(std::future::ready(tls::reload_all(&all))));
}

fn tell_definitions(reloader: &mut Reloader, keeper: Arc<Keeper>) {
    reloader.tell("services, checks", move |config| {
        let keeper = keeper.clone();
        Box::pin(async move {
            let rows = definition_rows(&config)?;
            keeper.apply(rows).await.map_err(|error| error.to_string())
        })
    });
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

fn tls_settings(interface: &TlsInterface) -> TlsSettings {
    TlsSettings {
        ca_file: interface.ca_file.clone(),
        ca_path: interface.ca_path.clone(),
        cert_file: interface.cert_file.clone(),
        key_file: interface.key_file.clone(),
        min_version: match interface.version_min {
            crate::config::TlsVersion::V1_2 => TlsVersion::V1_2,
            crate::config::TlsVersion::V1_3 => TlsVersion::V1_3,
        },
        verify_incoming: interface.verify_incoming,
        verify_outgoing: interface.verify_outgoing,
        verify_server_hostname: interface.verify_server_hostname,
    }
}

fn authority_options(config: &Config, identity: &Identity) -> AuthorityOptions {
    // What no intention fits is decided as what no rule fits, unless it has a policy of its own.
    let ruled = if config.acl.enabled { config.acl.fallback } else { Fallback::Allow };
    let fallback = config.connect.default_intention_policy.unwrap_or(ruled);
    AuthorityOptions {
        datacenter: identity.datacenter.clone(),
        enabled: config.connect.enabled,
        default_action: match fallback {
            Fallback::Allow => Action::Allow,
            Fallback::Deny => Action::Deny,
        },
        first: config.connect.ca_config.0.clone(),
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

/// How often the node's own row is looked after, whatever happens.
const SIGN_IN_EVERY: Duration = Duration::from_secs(60);

/// Keeps the node's own row in the catalog as this node knows it. Whoever leads writes its health as well; that of the
/// others is written by the leader.
async fn sign_in(cluster: Cluster, identity: Arc<Identity>, acl: Arc<Acl>, stop: CancellationToken) {
    let mut status = cluster.subscribe();
    let mut subscription = cluster.hub().subscribe(&[Topic::Nodes]);
    let mut led = false;
    loop {
        let (leads, known, stopped) = {
            let status = status.borrow_and_update();
            (status.ready, status.leader.is_some(), status.fatal.is_some())
        };
        if stopped || cluster.is_leaving() {
            return;
        }
        if leads && !led && acl.is_enabled() {
            // Before the node's own row, so that whoever finds that finds the tokens too.
            let seed = acl::seed::command(acl.settings().initial_management.as_ref(), acl::now());
            if let Err(error) = cluster.propose(Command::Acl(seed)).await {
                error!(error = &error as &dyn std::error::Error, "writing the first tokens failed");
            }
        }
        let registration = if leads && !led && identity.server {
            Some(identity.registration())
        } else if known && !written(&cluster, &identity) {
            let (node, node_update) = (identity.node(), NodeUpdate::Put);
            Some(Registration { node, node_update, instance: None, checks: Vec::new(), checks_replace: false })
        } else {
            None
        };
        led = leads;
        if let Some(registration) = registration
            && let Err(error) = cluster.propose(Command::Register(Box::new(registration))).await
        {
            error!(error = &error as &dyn std::error::Error, "writing the node's own rows failed");
            led = false;
        }
        let (mut changes, leader) = (status.clone(), status.borrow().leader.clone());
        tokio::select! {
            () = stop.cancelled() => return,
            () = subscription.changed() => {}
            changed = changes.wait_for(|status| status.ready != leads || status.leader != leader) => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(SIGN_IN_EVERY) => {}
        }
    }
}

/// Whether the catalog knows this node as it is.
fn written(cluster: &Cluster, identity: &Identity) -> bool {
    let wanted = identity.node();
    cluster.registry().node(&identity.node_name).is_some_and(|row| {
        (&row.id, &row.address, &row.meta, &row.tagged_addresses)
            == (&wanted.id, &wanted.address, &wanted.meta, &wanted.tagged_addresses)
    })
}

/// The address to tell people, when the bound one is a wildcard.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()) } else { address }
}

//! From the settings of the node to the options of its parts, as they are when it starts.
//!
//! Nothing is decided here that a part decides itself; called by `server` once.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use callboard_proto::acl::Fallback;
use callboard_proto::config_entry::Action;
use callboard_proto::dns::Zone;
use callboard_proto::duration::GoDuration;
use callboard_proto::text::Text;
use tokio::net::{TcpListener, UdpSocket};

use crate::acl::AclSettings;
use crate::cluster::{
    Begin, Cluster, ClusterOptions, GossipOptions, GossipSockets, Keyring, KeyringOptions, Network, RpcTls,
};
use crate::config::{Config, TlsInterface};
use crate::connect::AuthorityOptions;
use crate::dns::{DnsOptions, RecursorStrategy};
use crate::error::Error;
use crate::identity::Identity;
use crate::settings;
use crate::tls::{Purpose, Tls, TlsError, TlsSettings, TlsVersion};

pub(super) fn identity(
    config: &Config,
    cluster: &Cluster,
    http: Option<SocketAddr>,
    dns: Option<SocketAddr>,
) -> Identity {
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

pub(super) fn cluster_options(
    config: &Config,
    rpc: TcpListener,
    gossip: (UdpSocket, TcpListener),
    tls: Option<RpcTls>,
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
        tls,
        gossip: GossipSockets { udp: gossip.0, tcp: gossip.1 },
        keyring,
        advertise: config.net.advertise,
        name: config.node_name.clone(),
        node_id: config.node_id.clone(),
        datacenter: config.datacenter.clone(),
        wan_port: config.net.serf_wan_port,
        server: cluster.server && !cluster.read_replica,
        membership: GossipOptions { failed_kept: cluster.reconnect_timeout, locates: cluster.coordinates },
    };
    let slowness = u32::try_from(cluster.raft_multiplier).unwrap_or(1);
    let (leader_wait, autopilot) = (cluster.leader_wait, cluster.autopilot.clone());
    Ok(ClusterOptions { data_dir, begin: begin(config), network, leader_wait, slowness, autopilot })
}

pub(super) fn acl_settings(config: &Config) -> AclSettings {
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

pub(super) fn tls_settings(interface: &TlsInterface) -> TlsSettings {
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

pub(super) fn authority_options(config: &Config, identity: &Identity) -> AuthorityOptions {
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

pub(super) fn dns_options(config: &Config) -> DnsOptions {
    let dns = &config.dns;
    let seconds = |duration: GoDuration| u32::try_from(duration.to_std().as_secs()).unwrap_or(u32::MAX);
    let zone = Zone::new(&config.domain, config.alt_domain.as_deref(), &config.datacenter);
    let mut options = DnsOptions::new(zone);
    options.node = Some(config.node_name.clone());
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

/// The certificates that nodes show one another; none when none are given, and then what they say is plain.
///
/// # Errors
/// When a file is broken, or something is to be verified and there is no certificate to go with it.
pub(super) fn between_nodes(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
    let settings = tls_settings(&config.tls.internal_rpc);
    // Whoever asks for it to be verified must not get it plain.
    let is_wanted = settings.has_certificate() || settings.verify_incoming || settings.verify_outgoing;
    is_wanted.then(|| Tls::load(Purpose::InternalRpc, settings)).transpose()
}

/// The name that the certificates of servers are for, as `callboard tls cert create -server` makes them.
pub(super) fn server_name(config: &Config) -> String {
    let given = config.tls.internal_rpc.server_name.clone();
    given.unwrap_or_else(|| format!("server.{}.{}", config.datacenter, config.domain))
}

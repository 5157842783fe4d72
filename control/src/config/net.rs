//! Addresses and ports: where each interface is served, and under which address others find it.
//!
//! A text may hold several addresses, templates that ask the host ([`super::template`]), and for HTTP the path of a
//! Unix socket. Sockets are bound elsewhere.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::file::FileConfig;
use super::keys::keys;
use super::template::{self, Host};
use super::{ConfigError, invalid};

/// The most addresses of one interface.
const ADDRESSES_MAX: usize = 64;

const NO_EXPOSE: &str = "checks reach a service beside its proxy, not through it";
const NO_GRPC: &str = "gRPC, which Envoy is configured over, is not served";

keys! {
    pub(super) struct AddressKeys {
        pub(super) dns: Option<String>,
        pub(super) http: Option<String>,
        pub(super) https: Option<String>,
    }
    unneeded {
        grpc: NO_GRPC,
        grpc_tls: NO_GRPC,
    }
}

keys! {
    pub(super) struct PortKeys {
        pub(super) http: Option<i64>,
        pub(super) https: Option<i64>,
        pub(super) dns: Option<i64>,
        pub(super) server: Option<i64>,
        pub(super) serf_lan: Option<i64>,
        pub(super) serf_wan: Option<i64>,
        pub(super) sidecar_min_port: Option<i64>,
        pub(super) sidecar_max_port: Option<i64>,
    }
    unneeded {
        expose_min_port: NO_EXPOSE,
        expose_max_port: NO_EXPOSE,
        grpc: NO_GRPC,
        grpc_tls: NO_GRPC,
    }
}

impl PortKeys {
    /// Whether a port is turned off, as -1 does.
    pub(super) fn is_off(&self, port: Option<i64>) -> bool {
        port.is_some_and(|port| port < 0)
    }
}

keys! {
    pub(super) struct SocketKeys {
        pub(super) user: Option<String>,
        pub(super) group: Option<String>,
        pub(super) mode: Option<String>,
    }
}

/// Where something is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On a TCP port; 0 takes any free one.
    Ip(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Who may open the Unix sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketRights {
    /// The number of the user who owns them.
    pub user: Option<u32>,
    /// The number of the group that owns them.
    pub group: Option<u32>,
    /// Their permissions.
    pub mode: Option<u32>,
}

/// Ports that are handed out to proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// Addresses and ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetSettings {
    /// The address for other nodes.
    pub bind: IpAddr,
    /// The address for gossip.
    pub bind_gossip: IpAddr,
    /// The address this node is found under.
    pub advertise: IpAddr,
    /// The same, from other datacenters.
    pub advertise_wan: IpAddr,
    /// The addresses for clients.
    pub client: Vec<IpAddr>,
    /// Where HTTP is served; empty turns it off.
    pub http: Vec<Address>,
    /// Where HTTPS is served; empty turns it off.
    pub https: Vec<Address>,
    /// Where DNS is served, over UDP and TCP; empty turns it off.
    pub dns: Vec<SocketAddr>,
    /// The port for other control nodes.
    pub server_port: u16,
    /// The gossip port.
    pub serf_port: u16,
    /// The wide-area gossip port, as it is shown.
    pub serf_wan_port: u16,
    /// Ports for sidecar proxies.
    pub sidecar_ports: PortRange,
    /// Who may open the Unix sockets.
    pub sockets: SocketRights,
}

impl NetSettings {
    pub(super) fn resolve(file: &FileConfig, dev: bool, host: &Host) -> Result<NetSettings, ConfigError> {
        let ports = &file.ports;
        let bind_default = if dev { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let bind = one("bind_addr", file.bind_addr.as_deref(), bind_default.into(), host)?;
        let advertise_default = if bind.is_unspecified() { host.outward } else { bind };
        let advertise = one("advertise_addr", file.advertise_addr.as_deref(), advertise_default, host)?;
        if advertise.is_unspecified() {
            return Err(invalid(
                "advertise_addr",
                format!("{advertise} is the wildcard; give one that others can reach"),
            ));
        }
        let client = ips("client_addr", file.client_addr.as_deref().unwrap_or("127.0.0.1"), host)?;
        let serve = |name: &str, own: &Option<String>, port: Option<u16>| match (own, port) {
            (_, None) => Ok(Vec::new()),
            (None, Some(port)) => Ok(client.iter().map(|ip| Address::Ip(SocketAddr::new(*ip, port))).collect()),
            (Some(text), Some(port)) => addresses(&format!("addresses.{name}"), text, port, host),
        };
        let dns = serve("dns", &file.addresses.dns, port("ports.dns", ports.dns, Some(8600))?)?;
        let dns = dns.into_iter().map(|address| match address {
            Address::Ip(address) => Ok(address),
            Address::Unix(_) => Err(invalid("addresses.dns", "DNS is not served on a Unix socket; give IP addresses")),
        });
        Ok(NetSettings {
            bind,
            bind_gossip: one("serf_lan", file.serf_lan.as_deref(), bind, host)?,
            advertise,
            advertise_wan: one("advertise_addr_wan", file.advertise_addr_wan.as_deref(), advertise, host)?,
            http: serve("http", &file.addresses.http, port("ports.http", ports.http, Some(8500))?)?,
            https: serve("https", &file.addresses.https, port("ports.https", ports.https, None)?)?,
            dns: dns.collect::<Result<_, _>>()?,
            client: client.clone(),
            server_port: needed("ports.server", ports.server, 8300)?,
            serf_port: needed("ports.serf_lan", ports.serf_lan, 8301)?,
            serf_wan_port: port("ports.serf_wan", ports.serf_wan, Some(8302))?.unwrap_or(0),
            sidecar_ports: range("sidecar", ports.sidecar_min_port, ports.sidecar_max_port, 21000, 21255)?,
            sockets: rights(&file.unix_sockets)?,
        })
    }
}

/// A port that may be turned off.
fn port(key: &str, given: Option<i64>, default: Option<u16>) -> Result<Option<u16>, ConfigError> {
    match given {
        None => Ok(default),
        Some(-1) => Ok(None),
        Some(port) => {
            u16::try_from(port).map(Some).map_err(|_| invalid(key, format!("{port} is not -1 (off) or 0 to 65535")))
        }
    }
}

/// A port that may not.
fn needed(key: &str, given: Option<i64>, default: u16) -> Result<u16, ConfigError> {
    port(key, given, Some(default))?.ok_or_else(|| invalid(key, "cannot be turned off; give 0 to 65535"))
}

fn range(
    name: &str,
    first: Option<i64>,
    last: Option<i64>,
    first_default: u16,
    last_default: u16,
) -> Result<PortRange, ConfigError> {
    let first = needed(&format!("ports.{name}_min_port"), first, first_default)?;
    let last = needed(&format!("ports.{name}_max_port"), last, last_default)?;
    if first > last {
        let reason = format!("{last} is below ports.{name}_min_port, {first}");
        return Err(invalid(&format!("ports.{name}_max_port"), reason));
    }
    Ok(PortRange { first, last })
}

fn one(key: &str, text: Option<&str>, default: IpAddr, host: &Host) -> Result<IpAddr, ConfigError> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(default) };
    match ips(key, text, host)?[..] {
        [ip] => Ok(ip),
        ref several => Err(invalid(key, format!("{text:?} stands for {} addresses; one is wanted", several.len()))),
    }
}

fn ips(key: &str, text: &str, host: &Host) -> Result<Vec<IpAddr>, ConfigError> {
    let addresses = addresses(key, text, 0, host)?.into_iter().map(|address| match address {
        Address::Ip(address) => Ok(address.ip()),
        Address::Unix(path) => Err(invalid(key, format!("unix://{} is not an IP address", path.display()))),
    });
    addresses.collect()
}

/// Reads addresses with blanks between them, in which templates may stand for some.
fn addresses(key: &str, text: &str, port: u16, host: &Host) -> Result<Vec<Address>, ConfigError> {
    let expanded = template::expand(text, host).map_err(|reason| invalid(key, reason))?;
    let mut found = Vec::new();
    for word in expanded.split_whitespace() {
        let address = match word.strip_prefix("unix://") {
            Some("") => return Err(invalid(key, "unix:// must be followed by a path")),
            Some(path) => Address::Unix(path.into()),
            None => {
                let plain = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
                let ip = plain.parse().map_err(|_| invalid(key, format!("{word:?} is not an IP address")))?;
                Address::Ip(SocketAddr::new(ip, port))
            }
        };
        if !found.contains(&address) {
            found.push(address);
        }
    }
    match found.len() {
        0 => Err(invalid(key, format!("{text:?} names no address"))),
        count if count > ADDRESSES_MAX => {
            Err(invalid(key, format!("{count} addresses given; at most {ADDRESSES_MAX} are served")))
        }
        _ => Ok(found),
    }
}

fn rights(keys: &SocketKeys) -> Result<SocketRights, ConfigError> {
    let number = |key: &str, given: &Option<String>| match given.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| invalid(key, format!("{text:?} is not a number as `id` prints it")))
        }
    };
    let mode = match keys.mode.as_deref() {
        None | Some("") => None,
        Some(text) => match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Some(mode),
            _ => return Err(invalid("unix_sockets.mode", format!("{text:?} is not an octal mode such as \"0660\""))),
        },
    };
    Ok(SocketRights {
        user: number("unix_sockets.user", &keys.user)?,
        group: number("unix_sockets.group", &keys.group)?,
        mode,
    })
}

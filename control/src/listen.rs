//! The sockets of a control node, bound before anything else, so that a taken port is an error at once.
//!
//! TCP, UDP and Unix sockets; what is said on them is others' business. `server` hands them out; tests bring their
//! own.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{TcpListener, TcpSocket, UdpSocket, UnixListener};
use tracing::warn;

use crate::config::{Address, Config, SocketRights};
use crate::error::Error;
use crate::http::Door;

/// Connections that may wait to be accepted. Beyond it the system drops them and they try again a second later:
/// with the usual 128, five thousand watchers took half a minute to come back.
const BACKLOG: u32 = 4096;

/// The sockets of a control node; tests bring their own.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP.
    pub http: Vec<Door>,
    /// HTTPS.
    pub https: Vec<TcpListener>,
    /// DNS over UDP and TCP, on one port each.
    pub dns: Vec<(UdpSocket, TcpListener)>,
    /// Requests of other control nodes.
    pub rpc: TcpListener,
    /// Gossip over UDP and TCP, on one port.
    pub gossip: (UdpSocket, TcpListener),
}

impl Listeners {
    /// Binds what the settings say.
    ///
    /// # Errors
    /// When an address is taken or not ours. Nothing stays bound.
    pub async fn bind(config: &Config) -> Result<Listeners, Error> {
        let net = &config.net;
        let address = SocketAddr::new(net.bind, net.server_port);
        let rpc = listen(address).or_else(|source| match or_any(config, address, &source) {
            Some(any) => listen(any),
            None => Err(source),
        });
        let what = "the server port";
        let rpc = rpc.map_err(|source| Error::Bind { what, address: Address::Ip(address), source })?;
        let address = SocketAddr::new(net.bind_gossip, net.serf_port);
        let gossip = match bind_both("gossip", address).await {
            Err(Error::Bind { what, address: Address::Ip(address), source }) => {
                match or_any(config, address, &source) {
                    Some(any) => bind_both(what, any).await?,
                    None => return Err(Error::Bind { what, address: Address::Ip(address), source }),
                }
            }
            bound => bound?,
        };
        let mut listeners = Listeners { http: Vec::new(), https: Vec::new(), dns: Vec::new(), rpc, gossip };
        for address in &config.net.http {
            let failed = |source| Error::Bind { what: "HTTP", address: address.clone(), source };
            listeners.http.push(match address {
                Address::Ip(address) => Door::Tcp(listen(*address).map_err(failed)?),
                Address::Unix(path) => Door::Unix(listen_unix(path, &config.net.sockets).map_err(failed)?),
            });
        }
        for address in &config.net.https {
            let failed = |source| Error::Bind { what: "HTTPS", address: address.clone(), source };
            listeners.https.push(match address {
                Address::Ip(address) => listen(*address).map_err(failed)?,
                Address::Unix(_) => {
                    let reason = "HTTPS is served on TCP ports only; HTTP may have a Unix socket";
                    return Err(failed(io::Error::new(io::ErrorKind::Unsupported, reason)));
                }
            });
        }
        for address in &config.net.dns {
            listeners.dns.push(bind_both("DNS", *address).await?);
        }
        Ok(listeners)
    }

    /// The first TCP address of HTTP.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn http_address(&self) -> io::Result<Option<SocketAddr>> {
        let tcp = self.http.iter().find_map(|door| match door {
            Door::Tcp(listener) => Some(listener),
            Door::Tls(..) | Door::Unix(_) => None,
        });
        tcp.map(TcpListener::local_addr).transpose()
    }

    /// The first address of HTTPS.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn https_address(&self) -> io::Result<Option<SocketAddr>> {
        self.https.first().map(TcpListener::local_addr).transpose()
    }

    /// The first address of DNS.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn dns_address(&self) -> io::Result<Option<SocketAddr>> {
        self.dns.first().map(|(_, tcp)| tcp.local_addr()).transpose()
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

/// Listens on a Unix socket. One that a dead process left behind is replaced; anything else there is left alone.
fn listen_unix(path: &Path, rights: &SocketRights) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
        }
    }
    let listener = UnixListener::bind(path)?;
    if rights.user.is_some() || rights.group.is_some() {
        std::os::unix::fs::chown(path, rights.user, rights.group)?;
    }
    if let Some(mode) = rights.mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(listener)
}

/// Another address when a port is taken by another developer's node: nobody joins those by their usual ports.
fn or_any(config: &Config, address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let any = (config.dev && error.kind() == io::ErrorKind::AddrInUse).then(|| SocketAddr::new(address.ip(), 0))?;
    warn!(%address, "the port is taken, so any free one will do");
    Some(any)
}

/// Binds UDP and TCP to one port. With port 0 the system picks it for TCP, and it may be taken for UDP.
async fn bind_both(what: &'static str, address: SocketAddr) -> Result<(UdpSocket, TcpListener), Error> {
    let failed = |source| Error::Bind { what, address: Address::Ip(address), source };
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

//! The settings of a client, and where they come from.
//!
//! A [`ClientBuilder`] holds them; [`ClientBuilder::from_env`] reads the environment first. Nothing
//! below [`crate::Client`] sees this type: modules are given what they need.

use std::collections::BTreeMap;
#[cfg(feature = "dns")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use callboard_proto::NodeName;

use crate::backoff::Backoff;
use crate::endpoint::{Ejection, Endpoint};
use crate::error::Error;
use crate::http::{Address, Dialer, TlsOptions};
use crate::peers::SharedEjection;
use crate::watch::DoubtSettings;

/// The server that is asked when none is named.
pub const SERVER_DEFAULT: &str = "http://127.0.0.1:8500";

/// Collects the settings of a client.
#[derive(Clone)]
pub struct ClientBuilder {
    pub(crate) servers: Vec<String>,
    pub(crate) token: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) datacenter: Option<String>,
    pub(crate) node: Option<(String, String)>,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) stale_reads: bool,
    pub(crate) follow_rules: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) wait: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) audit_every: Duration,
    pub(crate) watches_max: usize,
    pub(crate) ejection: Ejection,
    pub(crate) shared_ejection: Option<SharedEjection>,
    pub(crate) zone: Option<String>,
    pub(crate) dialer: Dialer,
    pub(crate) tls: TlsOptions,
    pub(crate) multiplex_waits: bool,
    pub(crate) beat_thread: Option<bool>,
    pub(crate) statics: BTreeMap<String, Vec<Endpoint>>,
    #[cfg(feature = "dns")]
    pub(crate) dns: Option<(String, Option<SocketAddr>)>,
    #[cfg(feature = "dns")]
    pub(crate) name_server: Option<SocketAddr>,
    pub(crate) doubt: DoubtSettings,
    pub(crate) doubt_dialer: Option<Dialer>,
    /// Why what the environment says cannot be used.
    pub(crate) environment: Option<String>,
}

impl std::fmt::Debug for ClientBuilder {
    // The token must not reach a log by way of a derived Debug.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("servers", &self.servers)
            .field("datacenter", &self.datacenter)
            .field("node", &self.node)
            .field("cache_dir", &self.cache_dir)
            .field("stale_reads", &self.stale_reads)
            .finish_non_exhaustive()
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            token: None,
            authorization: None,
            datacenter: None,
            node: None,
            cache_dir: None,
            stale_reads: true,
            follow_rules: true,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            wait: Duration::from_secs(60),
            backoff: Backoff::default(),
            audit_every: Duration::from_secs(30),
            watches_max: 1024,
            ejection: Ejection::default(),
            shared_ejection: None,
            zone: None,
            dialer: Dialer::Tcp,
            tls: TlsOptions::default(),
            multiplex_waits: true,
            beat_thread: None,
            statics: BTreeMap::new(),
            #[cfg(feature = "dns")]
            dns: None,
            #[cfg(feature = "dns")]
            name_server: None,
            doubt: DoubtSettings::default(),
            doubt_dialer: None,
            environment: None,
        }
    }
}

impl ClientBuilder {
    /// Sets how TLS is spoken to servers that are named as `https://host:port`. Needs the feature `tls`.
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = options;
        self
    }

    /// Adds a server: `http://host:port`, `https://host:port`, `host:port` or `unix:///path`; a name stands for all its addresses. The first is asked until
    /// another is known to be clearly faster, and the others take over while it does not answer.
    #[must_use]
    pub fn server(mut self, address: impl Into<String>) -> Self {
        self.servers.push(address.into());
        self
    }

    /// Adds several servers.
    #[must_use]
    pub fn servers(mut self, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.servers.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Sets the ACL token that is sent with each request.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets what the `Authorization` header says, for a proxy before the servers: `Basic …`, say.
    #[must_use]
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Sets the datacenter that is asked; the server's own when unset.
    #[must_use]
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.datacenter = Some(name.into());
        self
    }

    /// Names the node that this process signs in on, with the address at which it is called. Sent as
    /// `?node=&node-address=` on agent routes; a real Consul agent ignores both and uses its own node.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>, address: impl Into<String>) -> Self {
        self.node = Some((name.into(), address.into()));
        self
    }

    /// Sets the folder in which the last good answer of each watched service is kept, for a start
    /// while no server answers. Unset: nothing is kept on disk.
    #[must_use]
    pub fn cache_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(path.into());
        self
    }

    /// Sets whether watches take an answer from any server instead of the leader. On by default: it
    /// spares the leader and works while there is none.
    #[must_use]
    pub fn stale_reads(mut self, on: bool) -> Self {
        self.stale_reads = on;
        self
    }

    /// Sets whether calls over HTTP go where the registry's config entries lead them, on by default: see
    /// [`crate::route`].
    #[must_use]
    pub fn follow_rules(mut self, on: bool) -> Self {
        self.follow_rules = on;
        self
    }

    /// Sets the time for a connection to a server, 2 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// Sets the time for a request that does not wait on the server, 10 s by default.
    #[must_use]
    pub fn request_timeout(mut self, time: Duration) -> Self {
        self.request_timeout = time;
        self
    }

    /// Sets how long a watch asks the server to wait for news, 60 s by default, at most 10 minutes. It
    /// is also how long a connection that died without a trace stays unnoticed.
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = time;
        self
    }

    /// Sets the waits between tries after failures.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how often a registration compares its own row with what it should be, 30 s by default.
    #[must_use]
    pub fn audit_every(mut self, time: Duration) -> Self {
        self.audit_every = time;
        self
    }

    /// Sets how many services may be watched at once, 1024 by default.
    #[must_use]
    pub fn watches_max(mut self, max: usize) -> Self {
        self.watches_max = max;
        self
    }

    /// Sets when and for how long a failing endpoint is set aside.
    #[must_use]
    pub fn ejection(mut self, ejection: Ejection) -> Self {
        self.ejection = ejection;
        self
    }

    /// Lets clients tell one another, through keys of the registry, whom they set aside: what a quorum of them reports
    /// is set aside by all. Off by default; every client that is to take part needs it.
    #[must_use]
    pub fn shared_ejection(mut self, shared: SharedEjection) -> Self {
        self.shared_ejection = Some(shared);
        self
    }

    /// Names the zone of this process, for balancers whose settings name none.
    #[must_use]
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        self.zone = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Sets how connections to the servers are opened: tests of whole programs need no socket.
    #[must_use]
    pub fn dialer(mut self, dialer: Dialer) -> Self {
        self.dialer = dialer;
        self
    }

    /// Sets whether registrations are kept up by a thread of their own, so that no beat is late because the application
    /// computes on its runtime, and so that it is told when that runtime is stuck. On by default; behind
    /// [`Dialer::Memory`] off, since a test that pauses time pauses one runtime.
    #[must_use]
    pub fn beat_thread(mut self, on: bool) -> Self {
        self.beat_thread = Some(on);
        self
    }

    /// Sets whether all reads that wait share one connection where a server speaks HTTP/2 in clear text. On by default;
    /// each server is asked once, on a connection of its own, and one that does not speak it is asked as ever.
    #[must_use]
    pub fn multiplex_waits(mut self, on: bool) -> Self {
        self.multiplex_waits = on;
        self
    }

    /// Lets DNS stand in for a service that no server has answered for since the start, and no last-good file knows:
    /// the SRV records of `service.domain` (`service.consul` with Consul and with a control node) are asked of `server`,
    /// or of the system's servers. Asked again every few seconds until the registry answers.
    #[cfg(feature = "dns")]
    #[must_use]
    pub fn dns_fallback(mut self, domain: impl Into<String>, server: Option<SocketAddr>) -> Self {
        self.dns = Some((domain.into(), server));
        self
    }

    /// Sets the DNS server that knows the names of the control nodes; those of the system when unset.
    #[cfg(feature = "dns")]
    #[must_use]
    pub fn name_server(mut self, server: SocketAddr) -> Self {
        self.name_server = Some(server);
        self
    }

    /// Adds endpoints of a service that are used when neither a server, nor a last-good file, nor DNS names any.
    #[must_use]
    pub fn static_endpoints(mut self, service: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.statics.entry(service.to_ascii_lowercase()).or_default().extend(endpoints);
        self
    }

    /// Sets when an answer that takes nearly every endpoint of a service away is not believed at once.
    #[must_use]
    pub fn doubt(mut self, doubt: DoubtSettings) -> Self {
        self.doubt = doubt;
        self
    }

    /// Sets how endpoints are dialled that the registry suddenly misses. By TCP unless said otherwise; behind
    /// [`Dialer::Memory`] nobody is dialled, and the word of the leader is enough.
    #[must_use]
    pub fn doubt_dialer(mut self, dialer: Dialer) -> Self {
        self.doubt_dialer = Some(dialer);
        self
    }

    /// Says how connections to the servers are opened.
    #[cfg(feature = "tls")]
    pub(crate) fn dialer_to(&self, servers: &[Address]) -> Result<Dialer, Error> {
        match servers.iter().any(Address::is_https) && matches!(self.dialer, Dialer::Tcp) {
            true => Ok(Dialer::Tls(self.tls.load()?)),
            false => Ok(self.dialer.clone()),
        }
    }

    /// Says how connections to the servers are opened.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn dialer_to(&self, servers: &[Address]) -> Result<Dialer, Error> {
        match servers.iter().any(Address::is_https) && matches!(self.dialer, Dialer::Tcp) {
            true => match self.tls.load()? {},
            false => Ok(self.dialer.clone()),
        }
    }

    /// Checks the settings; returns the addresses of the servers.
    pub(crate) fn check(&self) -> Result<Vec<Address>, Error> {
        let config = |setting, reason: &str| Err(Error::Config { setting, reason: reason.to_owned() });
        if let Some(reason) = &self.environment {
            return config("environment", reason);
        }
        if let Some((name, _)) = &self.node {
            NodeName::parse(name).map_err(|error| Error::Config { setting: "node", reason: error.to_string() })?;
        }
        let zero = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("wait", self.wait),
            ("audit_every", self.audit_every),
            ("backoff.base", self.backoff.base),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, time)| time.is_zero()) {
            return config(setting, "must be more than 0");
        }
        if self.wait > callboard_proto::index::WAIT_MAX {
            return config("wait", "must be at most 10m: servers wait no longer");
        }
        if !(0.0..=1.0).contains(&self.doubt.share) {
            return config("doubt.share", "must be between 0 and 1");
        }
        let shared = self.shared_ejection.as_ref().map_or(Ok(()), SharedEjection::check);
        self.ejection.check().and(shared).map_err(|(setting, reason)| Error::Config { setting, reason })?;
        match self.servers.is_empty() {
            true => Ok(vec![Address::parse(SERVER_DEFAULT)?]),
            false => {
                let servers: Vec<Address> =
                    self.servers.iter().map(|text| Address::parse(text)).collect::<Result<_, _>>()?;
                if servers.iter().any(Address::is_https) && !servers.iter().all(Address::is_https) {
                    // A token must not leave in the clear because one of several servers is asked so.
                    return config("servers", "either all of them are https:// or none is");
                }
                Ok(servers)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        let check = |builder: ClientBuilder, part: &str| {
            let text = builder.check().unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        };
        check(ClientBuilder::default().server("ftp://a:1"), "ftp");
        check(ClientBuilder::default().server("https://a:1").server("b:1"), "https");
        check(ClientBuilder::default().server("unix://x"), "unix");
        check(ClientBuilder::default().server("a:x"), "port");
        check(ClientBuilder::default().wait(Duration::from_secs(3600)), "wait");
        check(ClientBuilder::default().node("", "x"), "node");
        assert_eq!(ClientBuilder::default().check().unwrap()[0].authority(), "127.0.0.1:8500");
    }
}

//! From names to addresses, and from a service's DNS name to its endpoints.
//!
//! With the feature `dns` the resolver is hickory's, which this file alone names: it asks all servers of the system, or
//! one that is named, and knows SRV records. Without it the system's own `getaddrinfo` answers for hosts. Nothing is kept
//! here. Called by `http` for the control nodes, and by `watch` while no control node answers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "dns")]
use hickory_resolver::TokioResolver;

#[cfg(feature = "dns")]
use crate::endpoint::Endpoint;

/// The time for one question, and for what follows from it. A server that is far away takes a tenth of it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks for names.
#[derive(Clone)]
pub(crate) struct Resolver {
    #[cfg(feature = "dns")]
    hickory: Option<TokioResolver>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// Builds one that asks the servers the system names. Without a readable `/etc/resolv.conf` it asks by
    /// `getaddrinfo`.
    pub(crate) fn system() -> Self {
        Self {
            #[cfg(feature = "dns")]
            hickory: hickory::system(),
        }
    }

    /// Builds one that asks a server of the caller's choice.
    #[cfg(feature = "dns")]
    pub(crate) fn at(server: SocketAddr) -> Self {
        Self { hickory: hickory::at(server) }
    }

    /// Returns all addresses of a host, IPv4 first, each once.
    ///
    /// # Errors
    /// When there is none, or nobody answered in time.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let looked = tokio::time::timeout(TIMEOUT, self.look_up(host, port)).await;
        let mut found = looked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
        }
        Ok(found)
    }

    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        #[cfg(feature = "dns")]
        if let Some(hickory) = &self.hickory {
            return hickory::addresses(hickory, host, port).await;
        }
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    /// Returns the endpoints that the SRV records of a name list, those of the best priority, by their first address.
    ///
    /// # Errors
    /// When the name has none that can be called, or nobody answered in time.
    #[cfg(feature = "dns")]
    pub(crate) async fn endpoints(&self, name: &str) -> io::Result<Vec<Endpoint>> {
        let Some(hickory) = &self.hickory else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "no DNS server is known"));
        };
        let looked = tokio::time::timeout(TIMEOUT, hickory::endpoints(hickory, name)).await;
        looked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(feature = "dns")]
mod hickory {
    //! What is asked of hickory.

    use std::collections::HashMap;
    use std::io;
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::rr::RData;
    use hickory_resolver::{Resolver, TokioResolver};

    use crate::endpoint::Endpoint;

    /// One question to one server; the whole is bounded by the caller.
    fn options(options: &mut ResolverOpts) {
        options.timeout = Duration::from_millis(700);
        // Answers are asked for again when something failed: what was kept would be the reason.
        options.cache_size = 0;
    }

    pub(super) fn system() -> Option<TokioResolver> {
        let mut builder = TokioResolver::builder_tokio().ok()?;
        options(builder.options_mut());
        builder.build().ok()
    }

    pub(super) fn at(server: SocketAddr) -> Option<TokioResolver> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        options(builder.options_mut());
        builder.build().ok()
    }

    pub(super) async fn addresses(resolver: &TokioResolver, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
        Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    pub(super) async fn endpoints(resolver: &TokioResolver, name: &str) -> io::Result<Vec<Endpoint>> {
        let answer = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
        let mut targets = Vec::new();
        let mut addresses: HashMap<String, IpAddr> = HashMap::new();
        for record in answer.answers().iter().chain(answer.additionals()) {
            match &record.data {
                RData::SRV(srv) => targets.push(srv),
                RData::A(a) => drop(addresses.insert(record.name.to_string(), a.0.into())),
                RData::AAAA(a) => drop(addresses.entry(record.name.to_string()).or_insert(a.0.into())),
                _ => {}
            }
        }
        let best = targets.iter().map(|srv| srv.priority).min();
        let mut found = Vec::new();
        for srv in targets.into_iter().filter(|srv| Some(srv.priority) == best) {
            let target = srv.target.to_string();
            let ip = match addresses.get(&target) {
                Some(ip) => Some(*ip),
                // One target that cannot be found must not hide the others.
                None => resolver.lookup_ip(&*target).await.ok().and_then(|found| found.iter().next()),
            };
            let Some(ip) = ip else { continue };
            let weight = u32::from(srv.weight.max(1));
            let endpoint = Endpoint::new(&format!("{target}:{}", srv.port), &ip.to_string(), srv.port);
            found.push(endpoint.weighted(weight, weight));
        }
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} lists nobody")));
        }
        Ok(found)
    }
}

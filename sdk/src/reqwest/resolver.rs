//! Addresses for reqwest: the endpoints of a service in the order in which the policy would pick them.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::balance::{Ask, Balancer};
use crate::directory::Directory;
use crate::endpoint::EndpointKey;
use crate::error::Cause;

/// How many endpoints are offered for one connection.
const OFFERED_MAX: usize = 8;

/// Resolves hosts that mean a service by the catalog, and all others by the system.
///
/// The port of an endpoint counts only when the URL names none: `http://users/` goes to the endpoint's port, while
/// `http://users:80/` goes to port 80 of the endpoint's address, which is hardly ever meant. reqwest tries the
/// addresses in turn, so that a dead endpoint costs a refused connection and no call. It keeps connections per host: a
/// busy client talks to few endpoints.
///
/// ```
/// use callboard::catalog::Catalog;
/// use callboard::endpoint::Endpoint;
/// use callboard::reqwest::Resolver;
///
/// let catalog = Catalog::fixed([("users", [Endpoint::new("users-1", "127.0.0.1", 8080)])]);
/// let client = reqwest::Client::builder().dns_resolver(Resolver::new(&catalog)).build().unwrap();
/// let call = client.get("http://users/7").send();
/// # drop(call);
/// ```
#[derive(Debug, Clone)]
pub struct Resolver {
    directory: Arc<Directory>,
}

impl Resolver {
    /// Builds a resolver over a client's registry, a fixed catalog or a directory.
    #[must_use]
    pub fn new(directory: impl Into<Directory>) -> Self {
        Self { directory: Arc::new(directory.into()) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let directory = Arc::clone(&self.directory);
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = match Directory::service_of(host) {
                Some(service) => offer(&directory.balancer(service)?).await?,
                None => tokio::net::lookup_host((host, 0)).await?.collect(),
            };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Picks again and again, each time without those picked before.
async fn offer(balancer: &Balancer) -> Result<Vec<SocketAddr>, Cause> {
    let mut offered: Vec<EndpointKey> = Vec::new();
    let mut found = Vec::new();
    let mut failure: Option<Cause> = None;
    while offered.len() < OFFERED_MAX {
        let chosen = balancer.choose(&Ask::any().without(&offered), Arc::clone);
        let member = match chosen {
            Ok(member) => member,
            Err(nobody) => {
                failure.get_or_insert(nobody.into());
                break;
            }
        };
        offered.push(member.stats().key());
        let endpoint = member.endpoint();
        match endpoint.socket() {
            Some(socket) => found.push(socket),
            None => match tokio::net::lookup_host(endpoint.authority()).await {
                Ok(sockets) => found.extend(sockets),
                // The name of one endpoint being unknown leaves the others.
                Err(error) => failure = Some(error.into()),
            },
        }
    }
    match failure {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found),
    }
}

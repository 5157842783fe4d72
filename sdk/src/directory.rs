//! Which service a host name means: what turns `http://users/7` into a pick among the instances of `users`.
//!
//! Decides by the name alone, and with which settings. For adapters of clients that know only URLs; everything else
//! names its service directly.

use std::collections::HashMap;

use crate::Client;
use crate::balance::{Balancer, BalancerSettings};
use crate::catalog::{Catalog, Snapshot};
use crate::error::Error;

/// What the registry's DNS appends to the names of services.
const SUFFIX: &str = ".service.consul";

/// Finds balancers by host name.
///
/// A host is a service when it is one label (`users`), `localhost` excepted, or one label before `.service.consul`.
/// All other hosts are none of ours.
///
/// ```
/// use callboard::directory::Directory;
///
/// assert_eq!(Directory::service_of("users"), Some("users"));
/// assert_eq!(Directory::service_of("users.service.consul"), Some("users"));
/// for other in ["localhost", "127.0.0.1", "[::1]", "example.com", "v2.users.service.consul"] {
///     assert_eq!(Directory::service_of(other), None);
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Directory {
    source: Source,
    settings: BalancerSettings,
    // Of services that have their own, by folded name.
    own: HashMap<String, BalancerSettings>,
}

#[derive(Debug, Clone)]
enum Source {
    Client(Client),
    Fixed(Catalog),
}

impl From<&Client> for Directory {
    /// Takes services from the registry; each is watched from the first time it is asked for.
    fn from(client: &Client) -> Self {
        Self::new(Source::Client(client.clone()))
    }
}

impl From<&Catalog> for Directory {
    /// Takes services from a catalog that the program fills.
    fn from(catalog: &Catalog) -> Self {
        Self::new(Source::Fixed(catalog.clone()))
    }
}

impl Directory {
    fn new(source: Source) -> Self {
        Self { source, settings: BalancerSettings::default(), own: HashMap::new() }
    }

    /// Sets the policy, or the whole settings, of services that have none of their own.
    #[must_use]
    pub fn settings(mut self, settings: impl Into<BalancerSettings>) -> Self {
        self.settings = settings.into();
        self
    }

    /// Sets the policy, or the whole settings, of one service.
    #[must_use]
    pub fn settings_of(mut self, service: &str, settings: impl Into<BalancerSettings>) -> Self {
        self.own.insert(service.to_ascii_lowercase(), settings.into());
        self
    }

    /// Returns the service that a host means, if it means one.
    #[must_use]
    pub fn service_of(host: &str) -> Option<&str> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let label = host.strip_suffix(SUFFIX).unwrap_or(host);
        let single = !label.is_empty() && !label.contains(['.', ':', '[']);
        (single && !label.eq_ignore_ascii_case("localhost")).then_some(label)
    }

    /// Returns the balancer of a service. One that nobody knows has a balancer too, which says so when it is asked.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub fn balancer(&self, service: &str) -> Result<Balancer, Error> {
        let settings = self.own.get(&service.to_ascii_lowercase()).unwrap_or(&self.settings);
        match &self.source {
            Source::Client(client) => client.balancer(service, settings.clone()),
            Source::Fixed(catalog) => Ok(catalog
                .find(service, settings)
                // Not kept: names that come from URLs must not fill the catalog.
                .unwrap_or_else(|| Balancer::new(settings.clone(), Snapshot::empty(service).into()))),
        }
    }
}

//! A catalog that the program fills itself: the test double, and the way to call what no registry knows.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Snapshot;
use crate::balance::{Balancer, BalancerSettings};
use crate::endpoint::Endpoint;
use crate::watch::{Origin, Shared, Watch, WatchHandle};

/// Holds the endpoints of services as the program sets them. Clones are the same catalog.
///
/// ```
/// use callboard::balance::{Ask, Policy};
/// use callboard::catalog::Catalog;
/// use callboard::endpoint::Endpoint;
///
/// let catalog = Catalog::fixed([("web", [Endpoint::new("web-1", "127.0.0.1", 80)])]);
/// let balancer = catalog.balancer("web", Policy::RoundRobin);
/// assert_eq!(balancer.pick(&Ask::any()).unwrap().endpoint().id(), "web-1");
/// catalog.set("web", []);
/// assert!(balancer.pick(&Ask::any()).is_err());
/// ```
#[derive(Clone, Default)]
pub struct Catalog {
    services: Arc<Mutex<HashMap<String, Arc<WatchHandle>>>>,
}

impl Catalog {
    /// Builds a catalog of services and their endpoints.
    #[must_use]
    pub fn fixed<'a, E: IntoIterator<Item = Endpoint>>(services: impl IntoIterator<Item = (&'a str, E)>) -> Self {
        let catalog = Self::default();
        for (service, endpoints) in services {
            catalog.set(service, endpoints);
        }
        catalog
    }

    /// Replaces the endpoints of a service; balancers and watches see it at once.
    pub fn set(&self, service: &str, endpoints: impl IntoIterator<Item = Endpoint>) {
        let shared = &self.handle(service).shared;
        let old = Arc::clone(&shared.snapshot.borrow());
        if shared.publish(old.next(endpoints, old.index() + 1), Origin::Fixed) {
            shared.complete();
        }
    }

    /// Returns a watch of a service, which may have no endpoint yet.
    #[must_use]
    pub fn watch(&self, service: &str) -> Watch {
        Watch::new(self.handle(service))
    }

    /// Returns the balancer of a service with a policy or whole settings; the same one for equal settings.
    #[must_use]
    pub fn balancer(&self, service: &str, settings: impl Into<BalancerSettings>) -> Balancer {
        self.handle(service).shared.balancer(settings.into())
    }

    /// Returns the balancer of a service with these settings, if the service was ever named.
    #[cfg(any(feature = "hyper", feature = "reqwest"))]
    pub(crate) fn find(&self, service: &str, settings: &BalancerSettings) -> Option<Balancer> {
        let known = self.services.lock().contains_key(service);
        known.then(|| self.balancer(service, settings.clone()))
    }

    fn handle(&self, service: &str) -> Arc<WatchHandle> {
        let mut services = self.services.lock();
        let handle = services.entry(service.to_owned()).or_insert_with(|| {
            let shared = Arc::new(Shared::new(Snapshot::empty(service), None));
            Arc::new(WatchHandle { shared, ended: CancellationToken::new(), _end: None, probing: None })
        });
        Arc::clone(handle)
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.services.lock().keys()).finish()
    }
}

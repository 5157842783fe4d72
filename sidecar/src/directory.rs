//! The services this sidecar follows: one [`Upstream`] each, opened on first use, closed when unused.
//!
//! Decides how many may be open and for how long; following is the SDK's (`Watch`). A name with a
//! tag is a view: the same news, cut to the instances that carry the tag. Called by `server` for
//! configured upstreams and by `outbound` for names met there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::balance::Balancer;
use callboard::catalog::{Catalog, Snapshot};
use callboard::config::ClientBuilder;
use callboard::watch::Watch;
use callboard::{Client, Error as SdkError};
use callboard_proto::name::ServiceName;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::{Timeouts, UpstreamConfig};
use crate::route::Route;
use crate::upstream::{Local, Settings, Upstream, policy};

/// Where a sidecar learns who is there.
#[derive(Clone)]
pub enum Source {
    /// Control nodes, as the builder names them.
    Control(Box<ClientBuilder>),
    /// A catalog the program fills itself, for tests and for what no registry knows.
    Fixed(Catalog),
}

/// Where the news of one upstream come from.
pub(crate) struct News {
    watch: Watch,
    /// Ends a tag's view.
    view: CancellationToken,
}

impl News {
    /// Waits for the first of it.
    pub(crate) async fn first(&self, balancer: &Balancer) {
        let mut watch = self.watch.clone();
        while balancer.snapshot().generation() == 0 {
            if watch.changed().await.is_err() {
                // The client was shut down: there will be no news.
                return;
            }
            // A view publishes a moment after the news it is cut from.
            tokio::task::yield_now().await;
        }
    }

    /// Time since the catalog was last confirmed; nothing before the first news.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.watch.age()
    }

    /// Ends a view.
    pub(crate) fn stop(&self) {
        self.view.cancel();
    }
}

/// Why a name met on the outbound port cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Full {
    /// The bound of services is reached and none has been unused for long enough.
    #[error("{max} services are followed already, which is outbound_services_max; not following {service}")]
    Services {
        /// The bound.
        max: usize,
        /// What was asked for.
        service: String,
    },
    /// The SDK refused to follow.
    #[error("following {service}: {error}")]
    Watch {
        /// What was asked for.
        service: String,
        /// Why.
        error: SdkError,
    },
}

/// Datacenters that are asked at once, each by a client of its own.
const DATACENTERS_MAX: usize = 16;

/// All services this sidecar follows.
pub(crate) struct Directory {
    source: Source,
    /// The runtime that watches live on; workers only carry requests.
    runtime: Handle,
    clients: Mutex<HashMap<Option<String>, Client>>,
    open: Mutex<HashMap<Route, Open>>,
    on_demand: Settings,
    on_demand_max: usize,
    timeouts: Timeouts,
    workers: usize,
}

struct Open {
    upstream: Arc<Upstream>,
    /// One half per worker.
    locals: Vec<Arc<Local>>,
    /// Named by the settings, so never closed.
    configured: bool,
}

impl Directory {
    /// Builds an empty directory; must be called on the runtime that is to carry the watches.
    pub(crate) fn new(
        source: Source,
        on_demand: Settings,
        on_demand_max: usize,
        timeouts: Timeouts,
        workers: usize,
    ) -> Directory {
        Directory {
            source,
            runtime: Handle::current(),
            clients: Mutex::default(),
            open: Mutex::default(),
            on_demand,
            on_demand_max,
            timeouts,
            workers,
        }
    }

    /// The client of a datacenter, the control node's own when none is named.
    pub(crate) fn client(&self, datacenter: Option<&str>) -> Result<Option<Client>, SdkError> {
        let Source::Control(builder) = &self.source else { return Ok(None) };
        let mut clients = self.clients.lock();
        let key = datacenter.map(str::to_owned);
        if let Some(client) = clients.get(&key) {
            return Ok(Some(client.clone()));
        }
        if clients.len() >= DATACENTERS_MAX {
            return Err(SdkError::Bound { what: "datacenters", max: DATACENTERS_MAX });
        }
        let builder = ClientBuilder::clone(builder);
        let builder = match datacenter {
            Some(datacenter) => builder.datacenter(datacenter),
            None => builder,
        };
        let _inside = self.runtime.enter();
        let client = builder.build()?;
        clients.insert(key, client.clone());
        Ok(Some(client))
    }

    /// Opens an upstream of the settings; its halves, one per worker.
    pub(crate) fn configured(&self, config: &UpstreamConfig) -> Result<Vec<Arc<Local>>, SdkError> {
        let service = ServiceName::parse(&config.service)
            .map_err(|source| SdkError::Name { doing: "reading an upstream", source })?
            .folded();
        let route = Route { service, tag: None, datacenter: None };
        let settings =
            Settings { protocol: config.protocol, policy: config.policy.clone(), start_empty: config.start_empty };
        let entry = self.open_entry(&route, config.service.clone(), settings, true)?;
        let locals = entry.locals.clone();
        self.open.lock().insert(route, entry);
        Ok(locals)
    }

    /// One worker's half of a route's upstream, opened if need be.
    pub(crate) fn local(&self, route: &Route, worker: usize) -> Result<Arc<Local>, Full> {
        let mut open = self.open.lock();
        if let Some(entry) = open.get(route) {
            return Ok(Arc::clone(&entry.locals[worker]));
        }
        let label = label(route);
        let on_demand = open.values().filter(|open| !open.configured).count();
        if on_demand >= self.on_demand_max {
            return Err(Full::Services { max: self.on_demand_max, service: label });
        }
        let entry = self
            .open_entry(route, label.clone(), self.on_demand.clone(), false)
            .map_err(|error| Full::Watch { service: label, error })?;
        let local = Arc::clone(&entry.locals[worker]);
        open.insert(route.clone(), entry);
        Ok(local)
    }

    fn open_entry(&self, route: &Route, label: String, settings: Settings, configured: bool) -> Result<Open, SdkError> {
        let upstream = Arc::new(self.follow(route, label, settings)?);
        let locals = (0..self.workers).map(|worker| Arc::new(Local::new(Arc::clone(&upstream), worker))).collect();
        Ok(Open { upstream, locals, configured })
    }

    fn follow(&self, route: &Route, label: String, settings: Settings) -> Result<Upstream, SdkError> {
        let policy = policy(&settings.policy);
        let service = route.service.as_str();
        let _inside = self.runtime.enter();
        let watch = match &self.source {
            Source::Fixed(catalog) => {
                let watch = catalog.watch(service);
                if watch.snapshot().generation() == 0 {
                    // There will be no news of it: that nobody is there is known.
                    catalog.set(service, []);
                }
                watch
            }
            Source::Control(_) => self.client(route.datacenter.as_deref())?.ok_or(SdkError::Closed)?.watch(service)?,
        };
        let view = CancellationToken::new();
        let balancer = match &route.tag {
            None => watch.balancer(policy),
            Some(tag) => {
                let balancer = Balancer::new(policy, Arc::new(Snapshot::empty(&label)));
                let cut = cut(watch.clone(), balancer.clone(), tag.clone());
                publish(&balancer, &watch.snapshot(), tag);
                self.runtime.spawn(view.clone().run_until_cancelled_owned(cut));
                balancer
            }
        };
        let news = News { watch, view };
        Ok(Upstream::new(label, balancer, news, settings, self.timeouts, self.workers))
    }

    /// Every upstream that is open, by name.
    pub(crate) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let mut all: Vec<_> = self.open.lock().values().map(|open| Arc::clone(&open.upstream)).collect();
        all.sort_by(|a, b| a.label.cmp(&b.label));
        all
    }

    /// Closes what nobody used for `idle` of the callers' ticks; what is empty goes sooner, so that
    /// misspelt names do not fill the directory.
    pub(crate) fn tidy(&self, now: u64, idle: u64) {
        const EMPTY_IDLE: u64 = 60;
        self.open.lock().retain(|_, open| {
            let patience = if open.upstream.is_empty() { idle.min(EMPTY_IDLE) } else { idle };
            let keep = open.configured || now.saturating_sub(open.upstream.used()) <= patience;
            if !keep {
                open.upstream.retire();
            }
            keep
        });
    }

    /// Ends every watch; leaves no task.
    pub(crate) async fn shutdown(&self) {
        for (_, open) in self.open.lock().drain() {
            open.upstream.retire();
        }
        let clients: Vec<Client> = self.clients.lock().drain().map(|(_, client)| client).collect();
        for client in clients {
            client.shutdown().await;
        }
    }
}

fn label(route: &Route) -> String {
    let mut label = route.service.as_str().to_owned();
    if let Some(tag) = &route.tag {
        label = format!("{tag}.{label}");
    }
    if let Some(datacenter) = &route.datacenter {
        label = format!("{label}@{datacenter}");
    }
    label
}

/// Publishes the part of a snapshot that carries a tag.
fn publish(balancer: &Balancer, whole: &Snapshot, tag: &str) {
    if whole.generation() == 0 {
        return;
    }
    let carries = |given: &String| given.eq_ignore_ascii_case(tag);
    let rows =
        whole.members().iter().map(|member| member.endpoint()).filter(|endpoint| endpoint.tags().iter().any(carries));
    let rows: Vec<_> = rows.map(callboard::endpoint::Endpoint::clone).collect();
    balancer.publish(Arc::new(balancer.snapshot().next(rows, whole.index())));
}

/// Keeps a view up to date until it is stopped.
async fn cut(mut watch: Watch, balancer: Balancer, tag: String) {
    publish(&balancer, &watch.snapshot(), &tag);
    while let Ok(whole) = watch.changed().await {
        publish(&balancer, &whole, &tag);
    }
}

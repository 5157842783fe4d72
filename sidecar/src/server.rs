//! Builds everything once from the settings, runs it, and takes it down in an order that loses nothing.
//!
//! The order down: the local application is said to be critical and every answer asks its client to
//! close; after the time to settle the doors close; what is in flight finishes, within a bound; the
//! registration goes; watches end. Called by `main` and by tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use callboard::config::ClientBuilder;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use socket2::{Domain, Socket, Type};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::accept::{Door, Phase, Worker};
use crate::admin::Admin;
use crate::config::{Config, ControlConfig, Protocol, ServiceConfig};
use crate::directory::{Directory, Source};
use crate::error::Error;
use crate::events::Events;
use crate::outbound::Outbound;
use crate::register::Registration;
use crate::upstream::Settings;

/// Length of the kernel's queue of connections waiting to be accepted.
const BACKLOG: i32 = 4_096;

/// Where a sidecar listens, every port filled in.
#[derive(Debug, Clone, Serialize)]
pub struct Addresses {
    /// The admin port.
    pub admin: SocketAddr,
    /// The shared outbound port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound: Option<SocketAddr>,
    /// The ports of the upstreams, by service.
    pub upstreams: BTreeMap<String, SocketAddr>,
}

/// A sidecar that has its ports, and does nothing before [`Server::run`].
pub struct Server {
    config: Config,
    source: Source,
    addresses: Addresses,
    admin: tokio::net::TcpListener,
    /// For every door, one listener per worker.
    outbound: Vec<TcpListener>,
    upstreams: Vec<Vec<TcpListener>>,
}

/// How long a worker gets to end after everything on it was cut.
const CUT: Duration = Duration::from_secs(5);

/// Yields when a worker's thread has ended.
type Ending = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
/// The workers that run.
type Running = FuturesUnordered<Ending>;

impl Server {
    /// Takes the ports; whom to ask is in the settings.
    ///
    /// # Errors
    /// [`Error::Listen`] when an address cannot be had; none is held then.
    pub async fn bind(config: Config) -> Result<Server, Error> {
        let source = Source::Control(Box::new(client_builder(&config.control, config.service.as_ref())));
        Server::bind_with(config, source).await
    }

    /// Takes the ports, and will learn who is there from `source`.
    ///
    /// # Errors
    /// As for [`Server::bind`].
    pub async fn bind_with(config: Config, source: Source) -> Result<Server, Error> {
        let mut outbound = Vec::new();
        if let Some(shared) = &config.outbound {
            outbound = listen("outbound", shared.listen, config.threads)?;
        }
        let mut upstreams = Vec::with_capacity(config.upstreams.len());
        for upstream in &config.upstreams {
            upstreams.push(listen(&format!("upstream {}", upstream.service), upstream.listen, config.threads)?);
        }
        let failed = |source| Error::Listen { what: "admin".to_owned(), address: config.admin, source };
        let admin = tokio::net::TcpListener::bind(config.admin).await.map_err(failed)?;
        let addresses = Addresses {
            admin: admin.local_addr().map_err(failed)?,
            outbound: outbound.first().map(TcpListener::local_addr).transpose().map_err(failed)?,
            upstreams: config
                .upstreams
                .iter()
                .zip(&upstreams)
                .filter_map(|(upstream, listeners)| Some((upstream, listeners.first()?)))
                .map(|(upstream, listener)| Ok((upstream.service.clone(), listener.local_addr()?)))
                .collect::<std::io::Result<_>>()
                .map_err(failed)?,
        };
        Ok(Server { config, source, addresses, admin, outbound, upstreams })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `shutdown` is done, then drains. The calling runtime carries watches, registration and
    /// admin port; requests have threads of their own.
    ///
    /// # Errors
    /// When it cannot begin, when a worker is lost, or when the registration is refused. Whatever was
    /// started has ended when this returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Server { config, source, addresses, admin, outbound, upstreams } = self;
        let settings = Settings {
            protocol: Protocol::Auto,
            policy: config.outbound.as_ref().map(|shared| shared.policy.clone()).unwrap_or_default(),
            // What is asked for by the way decides nothing about being ready.
            start_empty: true,
        };
        let services_max = config.outbound.as_ref().map_or(0, |shared| shared.services_max);
        let directory = Arc::new(Directory::new(source, settings, services_max, config.timeouts, config.threads));

        let doors = open_doors(&config, &directory, outbound, upstreams)?;
        let connections = Arc::new(Semaphore::new(config.connections_max));
        let (phase, _) = watch::channel(Phase::Open);
        let mut workers = Vec::with_capacity(config.threads);
        let mut running = Running::new();
        for (index, listeners) in doors.into_iter().enumerate() {
            let timeouts = &config.timeouts;
            let worker = Arc::new(Worker::new(timeouts.request_header, timeouts.idle, Arc::clone(&connections)));
            workers.push(Arc::clone(&worker));
            running.push(start_worker(index, worker, listeners, phase.subscribe())?);
        }

        let client = directory.client(None).map_err(Error::Client)?;
        let end = CancellationToken::new();
        let events = Events::new(client.clone(), end.clone());
        let registration = Registration::start(config.service.clone(), client).await?;
        let admin_task = tokio::spawn(
            Arc::new(Admin {
                directory: Arc::clone(&directory),
                workers: workers.clone(),
                registration: registration.state(),
                events,
            })
            .serve(admin),
        );
        let tidying = tokio::spawn(tidy(Arc::clone(&directory), workers.first().cloned(), config.timeouts.idle));
        tracing::info!(
            admin = %addresses.admin,
            outbound = addresses.outbound.map(tracing::field::display),
            upstreams = ?addresses.upstreams,
            threads = config.threads,
            "sidecar is up"
        );

        let outcome = tokio::select! {
            () = shutdown => Ok(()),
            // A worker ends by itself only when it could not begin, or by a defect.
            ended = running.next() => ended.unwrap_or(Ok(())).and(Err(Error::WorkerLost)),
            error = registration.refused() => Err(error),
        };

        drain(&config, registration, &phase, running).await;
        tidying.abort();
        end.cancel();
        directory.shutdown().await;
        admin_task.abort();
        tracing::info!("sidecar has ended");
        outcome
    }
}

/// Turns the listeners into one list of doors per worker.
fn open_doors(
    config: &Config,
    directory: &Arc<Directory>,
    outbound: Vec<TcpListener>,
    upstreams: Vec<Vec<TcpListener>>,
) -> Result<Vec<Vec<(TcpListener, Door)>>, Error> {
    let mut doors: Vec<Vec<(TcpListener, Door)>> = (0..config.threads).map(|_| Vec::new()).collect();
    for (upstream, listeners) in config.upstreams.iter().zip(upstreams) {
        let opened = directory.configured(upstream).map_err(Error::Client)?;
        for ((door, listener), local) in doors.iter_mut().zip(listeners).zip(opened) {
            door.push((listener, Door::Upstream(local)));
        }
    }
    if let Some(shared) = &config.outbound {
        for (index, listener) in outbound.into_iter().enumerate() {
            let outbound = Outbound::new(Arc::clone(directory), shared.domain.clone(), index);
            doors[index].push((listener, Door::Outbound(Arc::new(outbound))));
        }
    }
    Ok(doors)
}

/// Starts a worker on a thread and runtime of its own.
fn start_worker(
    index: usize,
    worker: Arc<Worker>,
    listeners: Vec<(TcpListener, Door)>,
    phase: watch::Receiver<Phase>,
) -> Result<Ending, Error> {
    let failed = move |source| Error::Worker { index, source };
    let (sender, receiver) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let ended = runtime.block_on(worker.run(listeners, phase)).map_err(failed);
            // Connections kept to instances are closed before the news of the end.
            drop(runtime);
            // The server may have been dropped: then nobody waits.
            let _ = sender.send(ended);
        })
        .map_err(failed)?;
    Ok(Box::pin(async move { receiver.await.unwrap_or(Err(Error::WorkerLost)) }))
}

/// Takes a listener per worker on one address; several share it by SO_REUSEPORT.
fn listen(what: &str, address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, Error> {
    let mut address = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let open = || -> std::io::Result<TcpListener> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            // Only with several workers: otherwise a second sidecar would silently share the port.
            socket.set_reuse_port(count > 1)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        };
        let failed = |source| Error::Listen { what: what.to_owned(), address, source };
        let listener = open().map_err(failed)?;
        // Port 0 was the kernel's to choose; the others join the first.
        let chosen = listener.local_addr().map_err(failed)?;
        address = chosen;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Goes down in the order that loses nothing.
async fn drain(config: &Config, registration: Registration, phase: &watch::Sender<Phase>, mut running: Running) {
    phase.send_replace(Phase::Leaving);
    let finish = async {
        phase.send_replace(Phase::Closing);
        let ending = async { while running.next().await.is_some() {} };
        if tokio::time::timeout(config.timeouts.drain, ending).await.is_err() {
            tracing::warn!(after = ?config.timeouts.drain, "requests still in flight are cut");
            phase.send_replace(Phase::Cut);
            let ending = async { while running.next().await.is_some() {} };
            if tokio::time::timeout(CUT, ending).await.is_err() {
                tracing::error!("a worker does not end");
            }
        }
    };
    // The two bounds of `finish` are its own; this one only has to be longer.
    let grace = config.timeouts.drain + CUT * 2;
    registration.leave(config.timeouts.settle, grace, finish).await;
}

/// Closes services that were met on the shared port and are not used any more.
async fn tidy(directory: Arc<Directory>, worker: Option<Arc<Worker>>, idle: Duration) {
    let Some(worker) = worker else { return };
    let mut interval = tokio::time::interval(Duration::from_secs(15));
    loop {
        interval.tick().await;
        directory.tidy(worker.ticks.load(std::sync::atomic::Ordering::Relaxed), idle.as_secs());
    }
}

/// The SDK's settings of that name.
fn client_builder(control: &ControlConfig, service: Option<&ServiceConfig>) -> ClientBuilder {
    let mut builder = ClientBuilder::default().servers(control.servers.iter());
    if let Some(token) = &control.token {
        builder = builder.token(token);
    }
    if let Some(datacenter) = &control.datacenter {
        builder = builder.datacenter(datacenter);
    }
    if let Some(folder) = &control.cache_dir {
        builder = builder.cache_dir(folder);
    }
    let scope = service.and_then(|service| Some((service, service.node.as_ref()?)));
    if let Some((service, node)) = scope {
        let address = service.node_address.as_ref().or(service.address.as_ref());
        builder = builder.node(node, address.map_or("127.0.0.1", String::as_str));
    }
    builder
}

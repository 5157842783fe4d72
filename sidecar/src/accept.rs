//! One worker: its listeners, the connections it accepted, and how they are driven and ended.
//!
//! A worker is a thread with a runtime of its own; nothing on the path of a request crosses to
//! another. What arrives is told apart by its first bytes (HTTP/1.1 or HTTP/2) unless the upstream
//! is raw TCP. Draining has two steps: first every answer asks its client to close while the doors
//! stay open, then the doors close and what is left finishes. Run by `server`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::conn::{Busy, Kind, Order, Register, SWEEP, Watch};
use crate::forward::body::Body;
use crate::forward::upload::Upload;
use crate::forward::{http as forward_http, tcp};
use crate::io::{ClientIo, Speaks};
use crate::metrics::WorkerCounters;
use crate::outbound::Outbound;
use crate::upstream::Local;

/// Sweeps between two looks at connections kept for instances that are gone.
const TIDY_SWEEPS: u64 = 15;
/// Wait after a failed accept (out of file handles, say), so that a full system is not made busier.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Wait for the first bytes of a connection that was accepted as the doors closed.
const LAST_CALL: Duration = Duration::from_millis(500);
/// Streams a client may have open on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1_024;

/// How far the sidecar is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Open,
    /// Serving, but every answer asks its client to go.
    Leaving,
    /// Accepting nothing more; finishing.
    Closing,
    /// Ending what is left.
    Cut,
}

/// What a listener leads to.
pub(crate) enum Door {
    /// One upstream.
    Upstream(Arc<Local>),
    /// The shared port.
    Outbound(Arc<Outbound>),
}

/// One worker.
pub(crate) struct Worker {
    /// What it counts.
    pub(crate) counters: WorkerCounters,
    /// Its connections.
    pub(crate) register: Register,
    /// Its tasks: connections and tunnels.
    pub(crate) tasks: TaskTracker,
    /// Sweeps since the start, the worker's coarse clock.
    pub(crate) ticks: AtomicU64,
    /// Connections open at once over all workers.
    connections: Arc<Semaphore>,
    leaving: AtomicBool,
}

/// What a request knows of the connection it came on.
pub(crate) struct Client {
    /// The client's address.
    pub(crate) address: IpAddr,
    /// The worker that serves it.
    pub(crate) worker: Arc<Worker>,
    door: Arc<Door>,
    watch: Arc<Watch>,
}

impl Worker {
    /// Builds a worker; it does nothing before [`Worker::run`].
    pub(crate) fn new(request_header: Duration, idle: Duration, connections: Arc<Semaphore>) -> Worker {
        Worker {
            counters: WorkerCounters::default(),
            register: Register::new(request_header, idle),
            tasks: TaskTracker::new(),
            ticks: AtomicU64::new(0),
            connections,
            leaving: AtomicBool::new(false),
        }
    }

    /// Serves until the phases have gone by and nothing is left; call it on the worker's own runtime.
    ///
    /// # Errors
    /// When a listener cannot be handed to the runtime; nothing was served then.
    pub(crate) async fn run(
        self: Arc<Worker>,
        listeners: Vec<(std::net::TcpListener, Door)>,
        mut phase: watch::Receiver<Phase>,
    ) -> io::Result<()> {
        let doors = TaskTracker::new();
        let mut opened = Vec::with_capacity(listeners.len());
        for (listener, door) in listeners {
            listener.set_nonblocking(true)?;
            opened.push((TcpListener::from_std(listener)?, Arc::new(door)));
        }
        let kept: Vec<Arc<Door>> = opened.iter().map(|(_, door)| Arc::clone(door)).collect();
        for (listener, door) in opened {
            doors.spawn(Arc::clone(&self).accept(listener, door, phase.clone()));
        }
        doors.close();
        let sweeping = tokio::spawn(Arc::clone(&self).sweep(kept));

        // A sender that is gone means that the server was dropped: then everything ends.
        let mut reached = async |wanted: Phase| {
            let _ = phase.wait_for(|phase| *phase >= wanted).await;
        };
        reached(Phase::Leaving).await;
        self.leaving.store(true, Relaxed);
        reached(Phase::Closing).await;
        doors.wait().await;
        self.register.command(Order::Finish);
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = reached(Phase::Cut) => {
                self.register.command(Order::Drop);
                self.tasks.wait().await;
            }
        }
        sweeping.abort();
        Ok(())
    }

    async fn sweep(self: Arc<Worker>, doors: Vec<Arc<Door>>) {
        let mut interval = tokio::time::interval(SWEEP);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let tick = self.ticks.fetch_add(1, Relaxed) + 1;
            self.register.sweep();
            if tick.is_multiple_of(TIDY_SWEEPS) {
                for door in &doors {
                    match &**door {
                        Door::Upstream(local) => local.tidy(),
                        Door::Outbound(outbound) => outbound.tidy(),
                    }
                }
            }
        }
    }

    async fn accept(self: Arc<Worker>, listener: TcpListener, door: Arc<Door>, mut phase: watch::Receiver<Phase>) {
        let closing = async move {
            let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
        };
        let mut closing = pin!(closing);
        loop {
            let permit = tokio::select! {
                biased;
                () = &mut closing => break,
                permit = Arc::clone(&self.connections).acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                biased;
                () = &mut closing => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, address)) => self.admit(socket, address, &door, permit),
                Err(error) => {
                    self.counters.accept_errors.fetch_add(1, Relaxed);
                    tracing::warn!(error = &error as &dyn std::error::Error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Whoever the kernel has greeted already would see a reset when the listener goes: serve them.
        while let Some(Ok((socket, address))) = listener.accept().now_or_never() {
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else { break };
            self.admit(socket, address, &door, permit);
        }
    }

    fn admit(
        self: &Arc<Worker>,
        socket: TcpStream,
        address: SocketAddr,
        door: &Arc<Door>,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) {
        self.counters.accepted.fetch_add(1, Relaxed);
        self.counters.open.fetch_add(1, Relaxed);
        let (worker, door) = (Arc::clone(self), Arc::clone(door));
        self.tasks.spawn(async move {
            let counted = Counted(Arc::clone(&worker), permit);
            // Without it, small answers wait for the acks of others; a socket that refuses is on its way out.
            let _ = socket.set_nodelay(true);
            if let Err(error) = worker.serve(socket, address, door).await {
                tracing::debug!(error = &error as &dyn std::error::Error, client = %address, "client connection broke");
            }
            drop(counted);
        });
    }

    async fn serve(self: Arc<Worker>, socket: TcpStream, address: SocketAddr, door: Arc<Door>) -> io::Result<()> {
        if let Door::Upstream(local) = &*door
            && local.upstream.is_tcp()
        {
            let watch = self.register.add(Kind::Other);
            let hash = local.upstream.hash_of_client(address.ip());
            local.upstream.known().await;
            tcp::serve(socket, Arc::clone(local), hash, watch).await;
            return Ok(());
        }
        let watch = self.register.add(Kind::Http1);
        let detected = {
            let mut detecting = pin!(ClientIo::detect(socket, Arc::clone(&watch)));
            let mut last_call = None;
            poll_fn(|cx| {
                watch.register(cx.waker());
                if let Poll::Ready(detected) = detecting.as_mut().poll(cx) {
                    return Poll::Ready(detected);
                }
                match watch.order() {
                    Order::Run => Poll::Pending,
                    Order::Drop => Poll::Ready(Ok(None)),
                    // Connected just before the doors closed: the first words may be on their way.
                    Order::Finish => {
                        let last_call = last_call.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_CALL)));
                        last_call.as_mut().poll(cx).map(|()| Ok(None))
                    }
                }
            })
            .await?
        };
        let Some((speaks, io)) = detected else { return Ok(()) };
        // HTTP/2 has frames of its own when nothing is asked; only quiet counts there.
        let watch = match speaks {
            Speaks::Http1 => watch,
            Speaks::Http2 => self.register.add(Kind::Other),
        };
        let client = Arc::new(Client { address: address.ip(), worker: self, door, watch: Arc::clone(&watch) });
        let service = service_fn(move |request| answer(Arc::clone(&client), request));
        let ended = match speaks {
            Speaks::Http1 => {
                let mut builder = http1::Builder::new();
                // The date is the instance's to say. Patience is the register's, not a timer's.
                builder.auto_date_header(false).header_read_timeout(None);
                drive(pin!(builder.serve_connection(io, service).with_upgrades()), &watch).await
            }
            Speaks::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .auto_date_header(false)
                    .max_concurrent_streams(STREAMS_MAX)
                    .initial_stream_window_size(1 << 20)
                    .initial_connection_window_size(4 << 20);
                drive(pin!(builder.serve_connection(io, service)), &watch).await
            }
        };
        ended.map_err(io::Error::other)
    }
}

/// Counts a connection open until it is dropped, however it ends.
struct Counted(Arc<Worker>, #[expect(dead_code, reason = "held for its drop")] tokio::sync::OwnedSemaphorePermit);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Relaxed);
    }
}

/// Answers one request, whatever its door.
async fn answer(client: Arc<Client>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let busy = Busy::new(&client.watch);
    let is_http1 = request.version() <= Version::HTTP_11;
    let request = Upload::of(request, Some(&client.watch));
    let mut response = match &*client.door {
        Door::Upstream(local) => {
            local.upstream.known().await;
            forward_http::forward(local, &client, request).await
        }
        Door::Outbound(outbound) => outbound.call(&client, request).await,
    };
    if is_http1 && client.worker.leaving.load(Relaxed) && !response.headers().contains_key(CONNECTION) {
        // hyper closes after an answer that says so; the client knows not to send another.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().keep(busy);
    Ok(response)
}

/// A connection of hyper's that can be asked to end.
trait Drain: Future<Output = Result<(), hyper::Error>> {
    fn finish(self: Pin<&mut Self>);
}

impl<S> Drain for http1::UpgradeableConnection<ClientIo, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, E> Drain for http2::Connection<ClientIo, S, E>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, Body>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection to its end, or to the end it is ordered.
async fn drive<C: Drain>(mut connection: Pin<&mut C>, watch: &Watch) -> Result<(), hyper::Error> {
    let mut registered = false;
    let mut finishing = false;
    poll_fn(move |cx: &mut Context<'_>| {
        let mut order = watch.order();
        if !registered || order != Order::Run {
            // Once is enough while there is no order: the waker of a task stays the same. Waking uses it up.
            // Read again afterwards, so that no order is missed.
            watch.register(cx.waker());
            registered = true;
            order = watch.order();
        }
        if order == Order::Drop {
            return Poll::Ready(Ok(()));
        }
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending() && order == Order::Finish && !finishing {
            // After the poll, so that a request already received is answered before.
            finishing = true;
            connection.as_mut().finish();
            return connection.as_mut().poll(cx);
        }
        polled
    })
    .await
}

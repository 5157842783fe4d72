//! From a bound listener to the last call: start, register, wait, leave.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::probes::Probes;
use crate::Client;
use crate::error::Error;
use crate::registration::{Drain, Drained, InFlight, Registered, Service};
use crate::tower::FlightLayer;

/// Begins the description of a server; nothing runs before it is registered.
///
/// ```no_run
/// use axum::Router;
/// use axum::routing::get;
/// use callboard::axum::serve;
/// use callboard::{Client, Service};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::from_env()?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let router = Router::new().route("/hello", get(|| async { "hello" }));
/// let left = serve(listener, router)
///     .register(&client, Service::new("greeter"))
///     .run_until_drained(callboard::signal::shutdown())
///     .await?;
/// client.shutdown().await;
/// assert!(left.finished && left.deregistered);
/// # Ok(())
/// # }
/// ```
pub fn serve(listener: TcpListener, router: Router) -> Serve {
    let probes = Some(("/live".to_owned(), "/ready".to_owned()));
    Serve { listener, router, probes, drain: Drain::default() }
}

/// Holds a listener, a router and how to leave.
#[derive(Debug)]
#[must_use = "nothing is served before it is registered and started"]
pub struct Serve {
    listener: TcpListener,
    router: Router,
    probes: Option<(String, String)>,
    drain: Drain,
}

impl Serve {
    /// Sets how to leave.
    pub fn drain(mut self, drain: Drain) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the paths at which the process says that it lives and that it is ready, `/live` and `/ready` by default.
    /// The router must not have them already, or the start panics as axum does.
    pub fn probes(mut self, live: &str, ready: &str) -> Self {
        self.probes = Some((live.to_owned(), ready.to_owned()));
        self
    }

    /// Serves nothing but the router.
    pub fn without_probes(mut self) -> Self {
        self.probes = None;
        self
    }

    /// Says as what to register. The port is the bound one; the address too, unless every address was bound; both unless
    /// the service says otherwise, and so does its id, which is `NAME-PORT`.
    pub fn register(self, client: &Client, service: Service) -> Registering {
        Registering { serve: self, client: client.clone(), service }
    }
}

/// Holds a server and as what it will sign in.
#[derive(Debug)]
#[must_use = "nothing is served before it is started"]
pub struct Registering {
    serve: Serve,
    client: Client,
    service: Service,
}

impl Registering {
    /// Serves, and then registers, so that whoever finds the instance can call it.
    ///
    /// # Errors
    /// As [`Client::register`], and [`Error::Config`] when the listener has no address. The server is stopped then.
    pub async fn start(self) -> Result<Serving, Error> {
        let (server, client, service) = self.launch()?;
        let registered = client.register(service).await?;
        Ok(server.signed_in(registered))
    }

    /// Serves and registers, waits for `signal`, and leaves without losing a call.
    ///
    /// # Errors
    /// As [`Self::start`]. A signal that comes before the registration is confirmed is no error: the server finishes, and
    /// what may have reached the registry is taken back.
    pub async fn run_until_drained<S: Future>(self, signal: S) -> Result<Drained, Error> {
        let (server, client, service) = self.launch()?;
        let mut signal = std::pin::pin!(signal);
        let registered = tokio::select! {
            registered = client.register(service) => registered?,
            _ = &mut signal => {
                server.probes.flight.leave();
                let grace = server.drain.grace;
                let finished = tokio::time::timeout(grace, server.finish()).await.is_ok();
                return Ok(Drained { finished, deregistered: false });
            }
        };
        let serving = server.signed_in(registered);
        signal.await;
        Ok(serving.drain().await)
    }

    fn launch(self) -> Result<(Server, Client, Service), Error> {
        let Self { serve: Serve { listener, router, probes: paths, drain }, client, service } = self;
        let address = listener
            .local_addr()
            .map_err(|error| Error::Config { setting: "listener", reason: format!("it has no address: {error}") })?;
        let in_flight = InFlight::default();
        let probes = Probes { flight: FlightLayer::new(in_flight.clone()), standing: Arc::default() };
        let mut router = router.layer(probes.flight.clone());
        if let Some((live, ready)) = paths {
            router = probes.clone().add(router, &live, &ready);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, router).with_graceful_shutdown(async {
            // A sender that was dropped says the same.
            let _ = stopped.await;
        });
        let task = tokio::spawn(server.into_future());
        Ok((
            Server { address, in_flight: in_flight.clone(), probes, drain, stop, task },
            client,
            service.bound(address).in_flight(in_flight),
        ))
    }
}

/// What runs before the registration is there; dropping it stops to accept.
struct Server {
    address: SocketAddr,
    in_flight: InFlight,
    probes: Probes,
    drain: Drain,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn signed_in(self, registered: Registered) -> Serving {
        let standing: &OnceLock<_> = &self.probes.standing;
        standing.get_or_init(|| registered.subscribe());
        Serving { server: self, registered }
    }

    /// Stops to accept, and returns when the last connection and the last of what else was counted is done.
    async fn finish(self) {
        let _ = self.stop.send(());
        if let Ok(Err(error)) = self.task.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "server ended early");
        }
        self.in_flight.idle().await;
    }
}

/// Serves and is registered. Dropped instead of drained, it stops to accept and deregisters behind the caller's back.
#[must_use = "dropping it ends the server"]
pub struct Serving {
    server: Server,
    registered: Registered,
}

impl Serving {
    /// Returns the address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Returns the registration, to say how well the instance is.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// Returns the count of requests in flight, which is the registration's. What else the drain is to wait for may enter too.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.server.in_flight.clone()
    }

    /// Leaves: critical while it still serves, stops accepting, finishes, deregisters. Connections that outlast the grace
    /// go on in the background until the process ends.
    pub async fn drain(self) -> Drained {
        let Self { server, registered } = self;
        server.probes.flight.leave();
        let drain = server.drain;
        registered.drain_with(drain, server.finish()).await
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving")
            .field("address", &self.server.address)
            .field("in_flight", &self.server.in_flight.count())
            .field("registered", &self.registered)
            .finish_non_exhaustive()
    }
}

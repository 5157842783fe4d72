//! What this program is when it is an instance: an HTTP service that signs itself in and can be told to be slow.
//!
//! Says one line once it is registered; leaves in good order on SIGTERM. Its parent ends it when it goes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use callboard::registration::InFlight;
use callboard::{Client, Drain, Service};
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Error, stage};

/// Makes this program an instance of the id it holds.
pub(crate) const ID_VARIABLE: &str = "CALLBOARD_CHAOS_INSTANCE";

/// Serves until it is told to end.
pub(crate) async fn run(id: &str) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let client = Client::from_env()?;
    let service = Service::new(stage::SERVICE).id(id).address("127.0.0.1").port(port).ttl(stage::TTL);
    let me = client.register(service).await?;
    println!("{port}");

    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, me.in_flight(), stop.clone()));
    terminate.recv().await;
    let drained = me.drain_with(Drain { settle: stage::SETTLE, ..Drain::default() }, async {
        stop.cancel();
        // A server that panicked is not serving any more, which is what is wanted.
        let _ = serving.await;
    });
    let _ = drained.await;
    client.shutdown().await;
    Ok(())
}

/// Serves until it is to stop, and then until the last request is answered.
async fn serve(listener: TcpListener, in_flight: InFlight, stop: CancellationToken) {
    let slow = Arc::new(AtomicU64::new(0));
    let graceful = GracefulShutdown::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (slow, in_flight) = (Arc::clone(&slow), in_flight.clone());
        let answer = service_fn(move |request| {
            let (slow, moving) = (Arc::clone(&slow), in_flight.enter());
            async move {
                let answer = answer(&request, &slow).await;
                drop(moving);
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        tokio::spawn(graceful.watch(builder.serve_connection(TokioIo::new(stream), answer).into_owned()));
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Answers at once, or after the time that a `PUT /slow/<ms>` said.
async fn answer(request: &Request<Incoming>, slow: &AtomicU64) -> Response<Full<Bytes>> {
    if request.method() == Method::PUT
        && let Some(millis) = request.uri().path().strip_prefix("/slow/")
    {
        slow.store(millis.parse().unwrap_or(0), Relaxed);
        return Response::new(Full::default());
    }
    let millis = slow.load(Relaxed);
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    Response::new(Full::from("well\n"))
}

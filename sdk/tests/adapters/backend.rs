//! Servers on loopback, and the catalog that lists them.

#![allow(dead_code, unreachable_pub, reason = "each adapter uses a part of it")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::Balancer;
use callboard::catalog::Catalog;
use callboard::endpoint::Endpoint;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// The frames of an answer's body one by one, and then nothing for ever if it is `endless`.
pub struct Frames {
    frames: Vec<Frame<Bytes>>,
    endless: bool,
}

impl Frames {
    pub fn data(text: &'static str) -> Self {
        Self { frames: vec![Frame::data(Bytes::from_static(text.as_bytes()))], endless: false }
    }

    pub fn endless(bytes: &'static [u8]) -> Self {
        Self { frames: vec![Frame::data(Bytes::from_static(bytes))], endless: true }
    }

    pub fn with_trailers(bytes: &'static [u8], trailers: HeaderMap) -> Self {
        Self { frames: vec![Frame::trailers(trailers), Frame::data(Bytes::from_static(bytes))], endless: false }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.pop() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// Counts what a server saw.
#[derive(Clone, Default)]
pub struct Seen {
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
}

impl Seen {
    pub fn counts(&self) -> (usize, usize) {
        (self.connections.load(SeqCst), self.requests.load(SeqCst))
    }
}

/// Answers every request, of HTTP/1.1 or HTTP/2, as `answer` says.
pub async fn server(
    answer: impl Fn(Request<Incoming>) -> Response<Frames> + Clone + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.connections.fetch_add(1, SeqCst);
            let (counts, answer) = (counts.clone(), answer.clone());
            let service = service_fn(move |request| {
                counts.requests.fetch_add(1, SeqCst);
                let response = answer(request);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(
                hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .into_owned(),
            );
        }
    });
    (address, seen)
}

/// Answers with the path and the host it was asked by.
pub async fn echo() -> (SocketAddr, Seen) {
    server(|request| {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned()).unwrap_or_default();
        let text = format!("{} {} {host}", request.method(), request.uri().path());
        Response::new(Frames { frames: vec![Frame::data(text.into())], endless: false })
    })
    .await
}

/// An address at which nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A catalog that lists the addresses as `users`.
pub fn catalog(addresses: &[SocketAddr]) -> Catalog {
    let catalog = Catalog::default();
    catalog.set("users", endpoints(addresses));
    catalog
}

pub fn endpoints(addresses: &[SocketAddr]) -> Vec<Endpoint> {
    let endpoint = |(at, address): (usize, &SocketAddr)| {
        Endpoint::new(&format!("users-{at}"), &address.ip().to_string(), address.port())
    };
    addresses.iter().enumerate().map(endpoint).collect()
}

pub fn in_flight(balancer: &Balancer) -> u64 {
    balancer.snapshot().members().iter().map(|member| member.stats().in_flight()).sum()
}

pub fn failures(balancer: &Balancer) -> u64 {
    balancer.snapshot().members().iter().map(|member| member.stats().failures()).sum()
}

/// Waits until it is so.
pub async fn until(wanted: impl Fn() -> bool) {
    let poll = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), poll).await.expect("the state is reached");
}

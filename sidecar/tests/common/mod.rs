//! What the tests of the data path share: instances to call, a sidecar to call them through, and a
//! client that writes and reads bytes, so that nothing is cleaned up on the way.
#![allow(dead_code, reason = "every test file uses its part")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use callboard::catalog::Catalog;
use callboard::endpoint::Endpoint;
use callboard_sidecar::{Addresses, Config, Error, Server, Source, UpstreamConfig};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) type Reply = Response<BoxBody<Bytes, hyper::Error>>;
type Handler = dyn Fn(Request<Incoming>) -> BoxFuture<'static, Option<Reply>> + Send + Sync;

/// A whole answer.
pub(crate) fn reply(text: impl Into<Bytes>) -> Reply {
    Response::new(Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed())
}

/// An instance.
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Instance {
    /// Serves HTTP/1.1 with a handler; `None` breaks the connection.
    pub(crate) async fn http1<F>(handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Instance
    where
        F: Future<Output = Option<Reply>> + Send + 'static,
    {
        Instance::serve(Arc::new(move |request| Box::pin(handler(request))), false).await
    }

    /// Serves HTTP/2 with a handler; `None` resets the stream.
    pub(crate) async fn http2<F>(handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Instance
    where
        F: Future<Output = Option<Reply>> + Send + 'static,
    {
        Instance::serve(Arc::new(move |request| Box::pin(handler(request))), true).await
    }

    /// Answers every request with a name and what it heard.
    pub(crate) async fn named(name: &'static str) -> Instance {
        Instance::http1(move |request| async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            let mut text = format!("{name}\n{} {}\n", head.method, head.uri);
            for (header, value) in &head.headers {
                text.push_str(&format!("{header}: {}\n", value.to_str().ok()?));
            }
            text.push_str(&String::from_utf8_lossy(&body));
            Some(reply(text))
        })
        .await
    }

    async fn serve(handler: Arc<Handler>, http2: bool) -> Instance {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (handler, counted) = (Arc::clone(&handler), Arc::clone(&counted));
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let answer = handler(request);
                    async move { answer.await.ok_or_else(|| std::io::Error::other("told to break")) }
                });
                tokio::spawn(async move {
                    let io = TokioIo::new(socket);
                    if http2 {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(io, service).await;
                    } else {
                        let builder = hyper::server::conn::http1::Builder::new();
                        let _ = builder.serve_connection(io, service).with_upgrades().await;
                    }
                });
            }
        });
        Instance { address, requests, task }
    }

    /// Requests heard so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn endpoint(&self, id: &str) -> Endpoint {
        endpoint(id, self.address)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn endpoint(id: &str, address: SocketAddr) -> Endpoint {
    Endpoint::new(id, &address.ip().to_string(), address.port())
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub(crate) fn upstream(service: &str) -> UpstreamConfig {
    UpstreamConfig::new(service, "127.0.0.1:0".parse().unwrap())
}

/// Settings that wait for nothing at the end.
pub(crate) fn config(upstreams: Vec<UpstreamConfig>) -> Config {
    let mut config = Config { upstreams, ..Config::default() };
    config.timeouts.settle = std::time::Duration::ZERO;
    config
}

/// A sidecar that runs.
pub(crate) struct Sidecar {
    pub(crate) addresses: Addresses,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

impl Sidecar {
    pub(crate) async fn start(config: Config, source: Source) -> Sidecar {
        let server = Server::bind_with(config, source).await.unwrap();
        let addresses = server.addresses().clone();
        let (shutdown, told) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async move {
            let _ = told.await;
        }));
        Sidecar { addresses, shutdown: Some(shutdown), task }
    }

    /// One service on one local port.
    pub(crate) async fn of(service: &str, endpoints: Vec<Endpoint>) -> Sidecar {
        let catalog = Catalog::fixed([(service, endpoints)]);
        Sidecar::start(config(vec![upstream(service)]), Source::Fixed(catalog)).await
    }

    pub(crate) fn port(&self, service: &str) -> SocketAddr {
        self.addresses.upstreams[service]
    }

    pub(crate) fn outbound(&self) -> SocketAddr {
        self.addresses.outbound.unwrap()
    }

    /// Tells it to end.
    pub(crate) fn shut_down(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let _ = shutdown.send(());
        }
    }

    /// Tells it to end, and waits until it has.
    pub(crate) async fn end(mut self) -> Result<(), Error> {
        self.shut_down();
        self.task.await.unwrap()
    }
}

/// A client that writes and reads bytes.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Raw {
        Raw { socket: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends the first request of a connection. False when nobody ever took the connection: it was waiting at a door
    /// that closed, where the kernel resets it and no server can help.
    pub(crate) async fn knock(&mut self, text: &str) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
        let mut byte = [0];
        let answered = match self.socket.write_all(text.as_bytes()).await {
            Ok(()) => self.socket.peek(&mut byte).await.map(drop),
            Err(error) => Err(error),
        };
        match answered {
            Err(error) if matches!(error.kind(), ConnectionReset | BrokenPipe) => false,
            other => {
                other.unwrap();
                true
            }
        }
    }

    /// Reads up to and including a text.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            assert_ne!(self.socket.read_buf(&mut self.read).await.unwrap(), 0, "ended: {:?}", self.seen());
        }
    }

    /// Reads one answer with a `Content-Length`: head and body.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        let head = self.until("\r\n\r\n").await;
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert_ne!(self.socket.read_buf(&mut self.read).await.unwrap(), 0, "ended: {:?}", self.seen());
        }
        let rest = self.read.split_off(length);
        (head, String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap())
    }

    /// Reads until the other side ends.
    pub(crate) async fn rest(&mut self) -> String {
        // A reset after the last byte is an end, too.
        let _ = self.socket.read_to_end(&mut self.read).await;
        self.seen()
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

/// Sends one request on a connection of its own and reads the answer.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut client = Raw::connect(address).await;
    client.write(request).await;
    client.answer().await
}

/// GETs a path and returns status and body.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let (head, body) = ask(address, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    (status(&head), body)
}

pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

impl From<TcpStream> for Raw {
    fn from(socket: TcpStream) -> Raw {
        Raw { socket, read: Vec::new() }
    }
}

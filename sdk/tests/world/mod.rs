//! Servers over pipes that do as they are told, and note what they were sent: for tests of calls in paused time.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::{Balancer, Policy};
use callboard::call::{HttpService, HttpSettings};
use callboard::catalog::Catalog;
use callboard::endpoint::Endpoint;
use callboard::http::{Dialer, Memory, MemoryListener, PoolSettings, memory};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

type Script = Arc<dyn Fn(&str, usize) -> Does + Send + Sync>;

pub type Calls = HttpService<Full<Bytes>>;

/// What a server does with a request.
#[derive(Debug, Clone)]
pub enum Does {
    /// Answers with a status and headers.
    Answers(u16, Vec<(&'static str, String)>),
    /// Answers 200 after a while.
    After(Duration),
    /// Never answers.
    Hangs,
    /// Closes the connection.
    Cuts,
}

pub fn status(status: u16) -> Does {
    Does::Answers(status, Vec::new())
}

/// What a server was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub to: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Sent {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Servers by their host, whose name is the authority's part before the colon.
#[derive(Clone)]
pub struct World {
    pub memory: Memory,
    log: Arc<Mutex<Vec<Sent>>>,
}

impl World {
    /// `does` is told the host and how many requests it had before.
    pub fn new(does: impl Fn(&str, usize) -> Does + Send + Sync + 'static) -> World {
        let (memory, listener) = memory();
        let world = World { memory, log: Arc::default() };
        tokio::spawn(world.clone().serve(listener, Arc::new(does)));
        world
    }

    async fn serve(self, mut listener: MemoryListener, does: Script) {
        while let Some((authority, stream)) = listener.accept().await {
            let (world, does) = (self.clone(), Arc::clone(&does));
            let host = authority.split(':').next().unwrap_or_default().to_owned();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (world, does, host) = (world.clone(), Arc::clone(&does), host.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
                        let nth = world.count(&host);
                        let target = head.uri.to_string();
                        world.log.lock().push(Sent { to: host.clone(), target, headers: head.headers, body });
                        let answer = |status: u16| Response::builder().status(status);
                        match does(&host, nth) {
                            Does::Answers(status, headers) => {
                                let mut response = answer(status);
                                for (name, value) in headers {
                                    response = response.header(name, value);
                                }
                                Ok(response.body(Full::<Bytes>::from(host)).unwrap())
                            }
                            Does::After(time) => {
                                tokio::time::sleep(time).await;
                                Ok(answer(200).body(Full::from(host)).unwrap())
                            }
                            Does::Hangs => std::future::pending().await,
                            Does::Cuts => Err(std::io::Error::other("told to")),
                        }
                    }
                });
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _: Result<(), hyper::Error> = served.await;
            });
        }
    }

    /// Everything that was sent so far, in order.
    pub fn sent(&self) -> Vec<Sent> {
        self.log.lock().clone()
    }

    /// How many requests a host had.
    pub fn count(&self, host: &str) -> usize {
        self.log.lock().iter().filter(|sent| sent.to == host).count()
    }

    pub fn dialer(&self) -> Dialer {
        Dialer::Memory(self.memory.clone())
    }

    pub fn settings(&self) -> HttpSettings {
        HttpSettings {
            pool: PoolSettings { dialer: self.dialer(), ..PoolSettings::default() },
            ..HttpSettings::default()
        }
    }

    /// Calls to `web` on these hosts, in turn from the first.
    pub fn calls(&self, hosts: &[&str], settings: HttpSettings) -> Calls {
        Calls::with(balancer(hosts), settings, Arc::default())
    }
}

/// Picks the first host in the order of the alphabet that was not tried.
pub fn balancer(hosts: &[&str]) -> Balancer {
    let endpoints: Vec<Endpoint> = hosts.iter().map(|host| Endpoint::new(host, host, 80)).collect();
    Catalog::fixed([("web", endpoints)]).balancer("web", Policy::custom("first", |_| First))
}

/// Always picks the first that may be picked.
struct First;

impl callboard::balance::Picker for First {
    fn pick(
        &self,
        group: &callboard::balance::Group,
        ask: &callboard::balance::Ask<'_>,
        worker: &mut callboard::balance::Worker<'_>,
    ) -> Option<usize> {
        worker.first_allowed(group, ask, 0)
    }
}

pub fn request(method: Method, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri("/path").body(Full::from(body)).unwrap()
}

pub fn get() -> Request<Full<Bytes>> {
    request(Method::GET, "")
}

/// Reads an answer: its status and who gave it.
pub async fn read<B: http_body::Body<Error = hyper::Error>>(response: Response<B>) -> (u16, String) {
    let status = response.status().as_u16();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

//! A registry in memory with faults on order: what the tests of the client's side run against.
//!
//! It speaks the few endpoints the SDK uses, over pipes, so that paused time works. It reads bodies with the
//! same strict reader a control node uses, so a request it takes is one that would be taken.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::http::{Dialer, Memory, MemoryListener, memory};
use callboard::{Client, ClientBuilder};
use callboard_proto::api::agent::ServiceRequest;
use callboard_proto::api::check::CheckUpdate;
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::query::{Params, ReadOptions};
use callboard_proto::name::NodeName;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

/// What happens to requests instead of what should.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Answered with this status and text.
    Status(u16, &'static str),
    /// The connection is closed in the middle.
    Cut,
    /// Nothing ever happens.
    Hang,
    /// Answered without an index.
    NoIndex,
    /// Stale reads are answered as of this index, with so many instances of `web`; others as they should.
    Lagging(u64, usize),
}

pub struct Row {
    pub request: ServiceRequest,
    pub status: String,
    pub output: String,
}

#[derive(Default)]
pub struct State {
    pub index: u64,
    pub rows: BTreeMap<String, Row>,
    pub log: Vec<String>,
    pub updates: Vec<CheckUpdate>,
    pub leaderless: bool,
    /// Answers at once, whatever the index.
    pub hasty: bool,
    /// Speaks HTTP/2 as well, with so many requests at once on a connection.
    pub http2_streams: Option<u32>,
    /// Connections that were taken, and requests that came over HTTP/2.
    pub connections: usize,
    pub over_http2: usize,
    faults: Vec<(String, String, Fault)>,
}

#[derive(Clone)]
pub struct Fake {
    pub state: Arc<Mutex<State>>,
    pub memory: Memory,
    changed: Arc<watch::Sender<u64>>,
}

impl Fake {
    pub fn start() -> Fake {
        let (memory, listener) = memory();
        let state = Arc::new(Mutex::new(State { index: 1, ..State::default() }));
        let fake = Fake { state, memory, changed: Arc::new(watch::Sender::new(1)) };
        tokio::spawn(fake.clone().serve(listener));
        fake
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder().server("one:1").dialer(Dialer::Memory(self.memory.clone()))
    }

    pub fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    async fn serve(self, mut listener: MemoryListener) {
        while let Some((authority, stream)) = listener.accept().await {
            let fake = self.clone();
            tokio::spawn(async move {
                let answering = fake.clone();
                let service = service_fn(move |request| answering.clone().answer(authority.clone(), request));
                let streams = {
                    let mut state = fake.state.lock();
                    state.connections += 1;
                    state.http2_streams
                };
                let _ = match streams {
                    None => {
                        let http1 = hyper::server::conn::http1::Builder::new();
                        http1.serve_connection(TokioIo::new(stream), service).await.map_err(|_| ())
                    }
                    Some(streams) => {
                        let mut either = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                        either.http2().max_concurrent_streams(streams);
                        either.serve_connection(TokioIo::new(stream), service).await.map_err(|_| ())
                    }
                };
            });
        }
    }

    /// From now on, requests to `server` (any if empty) whose path begins so meet the fault.
    pub fn fault(&self, server: &str, path: &str, fault: Fault) {
        self.state.lock().faults.push((server.into(), path.into(), fault));
        // Whoever waits meets it too.
        self.changed.send_modify(|_| {});
    }

    pub fn heal(&self) {
        self.state.lock().faults.clear();
        self.changed.send_modify(|_| {});
    }

    /// Changes what is registered.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        state.index += 1;
        self.changed.send_replace(state.index);
    }

    pub fn add(&self, id: &str, port: u16) {
        let request = ServiceRequest {
            id: id.into(),
            name: "web".into(),
            address: "127.0.0.1".into(),
            port,
            ..ServiceRequest::default()
        };
        let row = Row { request, status: "passing".into(), output: String::new() };
        self.change(|state| drop(state.rows.insert(id.into(), row)));
    }

    /// Loses everything, as a registry without its disk does.
    pub fn lose_data(&self) {
        let mut state = self.state.lock();
        state.rows.clear();
        state.index = 1;
        self.changed.send_modify(|_| {});
    }

    pub fn count(&self, part: &str) -> usize {
        self.state.lock().log.iter().filter(|line| line.contains(part)).count()
    }

    pub fn has(&self, id: &str) -> bool {
        self.state.lock().rows.contains_key(id)
    }

    /// Waits until the state is so; time passes only while nobody has anything to do.
    pub async fn until(&self, wanted: impl Fn(&State) -> bool) {
        let poll = async {
            while !wanted(&self.state.lock()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), poll).await.expect("the state is reached");
    }

    async fn answer(self, server: String, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        {
            let mut state = self.state.lock();
            state.log.push(format!("{server} {} {path}?{query}", head.method));
            state.over_http2 += usize::from(head.version == http::Version::HTTP_2);
        }
        if let Some(answer) = self.meet_fault(&server, &path, &query).await {
            return answer;
        }
        if let Some(service) = path.strip_prefix("/v1/health/service/") {
            let options = ReadOptions::from_params(&Params::parse(&query).unwrap()).unwrap();
            self.wait(&options).await;
            // The fault may have come while it waited.
            return match self.meet_fault(&server, &path, &query).await {
                Some(answer) => answer,
                None => Ok(self.health(service)),
            };
        }
        Ok(self.agent(&head.method, &path, &body))
    }

    async fn meet_fault(
        &self,
        server: &str,
        path: &str,
        query: &str,
    ) -> Option<Result<Response<Full<Bytes>>, std::io::Error>> {
        let fault = {
            let state = self.state.lock();
            let meets = |(at, prefix, _): &&(String, String, Fault)| server.starts_with(at) && path.starts_with(prefix);
            state.faults.iter().find(meets).map(|(_, _, fault)| fault.clone())
        };
        match fault? {
            Fault::Status(status, text) => Some(Ok(reply(status, text.as_bytes().to_vec()))),
            Fault::Cut => Some(Err(std::io::ErrorKind::ConnectionReset.into())),
            Fault::Hang => {
                let mut changed = self.changed.subscribe();
                while self.state.lock().faults.iter().any(|(_, _, fault)| *fault == Fault::Hang) {
                    let _ = changed.changed().await;
                }
                None
            }
            Fault::NoIndex => Some(Ok(reply(200, b"[]".to_vec()))),
            Fault::Lagging(..) if !query.contains("stale") => None,
            Fault::Lagging(index, count) => {
                let rows: Vec<Value> = (0..count).map(|at| row_json(&format!("old-{at}"), 1, "passing", &[])).collect();
                let mut response = reply(200, serde_json::to_vec(&rows).unwrap());
                response.headers_mut().insert("x-consul-index", index.into());
                Some(Ok(response))
            }
        }
    }

    async fn wait(&self, options: &ReadOptions) {
        let Some(index) = options.index else { return };
        let mut changed = self.changed.subscribe();
        let news = async {
            loop {
                if self.has_news(index.0) {
                    return;
                }
                let _ = changed.changed().await;
            }
        };
        let _ = tokio::time::timeout(options.wait.unwrap_or(Duration::from_secs(300)), news).await;
    }

    fn has_news(&self, index: u64) -> bool {
        let state = self.state.lock();
        state.index > index || state.hasty || !state.faults.is_empty()
    }

    fn health(&self, service: &str) -> Response<Full<Bytes>> {
        let state = self.state.lock();
        let rows: Vec<Value> = state
            .rows
            .iter()
            .filter(|(_, row)| row.request.name == service)
            .map(|(id, row)| {
                let mut shown = row_json(id, row.request.port, &row.status, &row.request.tags);
                let weights = row.request.weights.unwrap_or_default();
                shown["Service"]["Address"] = json!(row.request.address);
                shown["Service"]["Meta"] = json!(row.request.meta);
                shown["Service"]["Weights"] = json!({"Passing": weights.passing, "Warning": weights.warning});
                shown
            })
            .collect();
        let mut response = reply(200, serde_json::to_vec(&rows).unwrap());
        response.headers_mut().insert("x-consul-index", state.index.into());
        let leader = if state.leaderless { "false" } else { "true" };
        response.headers_mut().insert("x-consul-knownleader", leader.parse().unwrap());
        response
    }

    fn agent(&self, method: &Method, path: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let decode = |text: &str| text.replace("%3A", ":");
        if method == Method::PUT && path == "/v1/agent/service/register" {
            let request: ServiceRequest = match from_slice(body, Unknown::Refuse) {
                Ok(request) => request,
                Err(error) => return reply(400, error.to_string().into_bytes()),
            };
            if let Err(error) = request.clone().validate(&NodeName::parse("n").unwrap()) {
                return reply(400, error.to_string().into_bytes());
            }
            let id = if request.id.is_empty() { request.name.clone() } else { request.id.clone() };
            let status = request.check.as_ref().map_or("passing", |check| &check.status).to_owned();
            self.change(|state| drop(state.rows.insert(id, Row { request, status, output: String::new() })));
            return reply(200, Vec::new());
        }
        if let Some(id) = path.strip_prefix("/v1/agent/service/deregister/") {
            if !self.has(&decode(id)) {
                return reply(404, b"Unknown service ID".to_vec());
            }
            self.change(|state| drop(state.rows.remove(&decode(id))));
            return reply(200, Vec::new());
        }
        if let Some(id) = path.strip_prefix("/v1/agent/service/maintenance/") {
            self.change(|state| {
                if let Some(row) = state.rows.get_mut(&decode(id)) {
                    row.status = "critical".into();
                }
            });
            return reply(200, Vec::new());
        }
        if let Some(check) = path.strip_prefix("/v1/agent/check/update/") {
            let update: CheckUpdate = from_slice(body, Unknown::Refuse).unwrap();
            let id = decode(check).replacen("service:", "", 1);
            if !self.has(&id) {
                return reply(404, b"Unknown check ID".to_vec());
            }
            let news = self.state.lock().rows.get(&id).is_some_and(|row| row.status != update.status);
            let apply = |state: &mut State| {
                if let Some(row) = state.rows.get_mut(&id) {
                    (row.status, row.output) = (update.status.clone(), update.output.clone());
                }
                state.updates.push(update.clone());
            };
            if news {
                self.change(apply);
            } else {
                apply(&mut self.state.lock());
            }
            return reply(200, Vec::new());
        }
        if let Some(id) = path.strip_prefix("/v1/agent/service/") {
            let state = self.state.lock();
            let Some(row) = state.rows.get(&decode(id)) else { return reply(404, b"unknown service ID".to_vec()) };
            let weights = row.request.weights.unwrap_or_default();
            let shown = json!({"ID": id, "Service": row.request.name, "Tags": row.request.tags, "Meta": row.request.meta,
                "Port": row.request.port, "Address": row.request.address, "EnableTagOverride": false,
                "Weights": {"Passing": weights.passing, "Warning": weights.warning}, "Datacenter": "dc1"});
            return reply(200, serde_json::to_vec(&shown).unwrap());
        }
        reply(404, b"no such route".to_vec())
    }
}

fn row_json(id: &str, port: u16, status: &str, tags: &[String]) -> Value {
    json!({"Node": {"Node": "n1", "Address": "127.0.0.1"},
        "Service": {"ID": id, "Service": "web", "Port": port, "Tags": tags},
        "Checks": [{"Node": "n1", "CheckID": format!("service:{id}"), "Name": "c", "Status": status}]})
}

fn reply(status: u16, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

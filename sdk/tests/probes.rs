//! Probes over real sockets: answered by a responder, taken by a prober, chosen by; and reports in headers over HTTP.
//!
//! Tests wait for a state, never for a time; whoever waits for more than half a minute has failed.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::{Ask, Balancer, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Clock, Endpoint};
use callboard::load::{
    LOAD_HEADER, LoadReporter, Packet, ProbeBudget, Prober, ProberSettings, ReportLoadLayer, Responder, Serving,
};
use callboard::tower::HttpService;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UdpSocket};
use tower_layer::Layer;

const SETTINGS: ProberSettings = ProberSettings { timeout: Duration::from_secs(5) };

fn budget() -> Arc<ProbeBudget> {
    Arc::new(ProbeBudget::new(2_000, Clock::process()))
}

fn balancer(ports: &[u16]) -> Balancer {
    let rows =
        ports.iter().enumerate().map(|(n, port)| Endpoint::new(&format!("web-{n}"), "127.0.0.1", 80).probed_on(*port));
    Balancer::new(Policy::PREQUAL, Arc::new(Snapshot::empty("web").next(rows, 1)))
}

/// Picks, now and then, until `done`.
async fn pick_until(balancer: &Balancer, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            drop(balancer.pick(&Ask::any()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the state comes");
}

#[tokio::test]
async fn picks_bring_probes_and_replies_choose() {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for n in 0..4 {
        let reporter = LoadReporter::new();
        let busy: Vec<Serving> = (0..if n == 2 { 0 } else { 5 }).map(|_| reporter.begin()).collect();
        let responder = Responder::bind(reporter, "127.0.0.1:0").await.unwrap();
        ports.push(responder.port());
        held.push((responder, busy));
    }
    let balancer = balancer(&ports);
    let prober = Prober::new(balancer.clone(), SETTINGS, budget()).unwrap();
    assert!(Prober::new(balancer.clone(), SETTINGS, budget()).is_none(), "one per service");
    let probing = tokio::spawn(prober.run());
    let snapshot = balancer.snapshot();
    let stats = |n: usize| snapshot.stats(n).unwrap();
    let known = |n: usize| stats(n).report(stats(n).clock().exact()).map(|report| report.load.in_flight);
    pick_until(&balancer, || (0..4).all(|n| known(n).is_some())).await;
    assert_eq!([0, 1, 2, 3].map(known), [Some(5), Some(5), Some(0), Some(5)]);
    // All three others are as busy as can be; the idle one is taken first whenever its reply is there.
    pick_until(&balancer, || {
        let picked = balancer.choose(&Ask::any(), |member| member.endpoint().id().to_owned());
        picked.is_ok_and(|id| id == "web-2")
    })
    .await;
    probing.abort();
    assert!(probing.await.is_err());
    assert!(Prober::new(balancer, SETTINGS, budget()).is_some(), "the place is free again");
}

#[tokio::test]
async fn a_reply_with_another_nonce_or_from_another_sender_is_no_reply() {
    let asked = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let balancer = balancer(&[asked.local_addr().unwrap().port()]);
    let probing = tokio::spawn(Prober::new(balancer.clone(), SETTINGS, budget()).unwrap().run());
    drop(balancer.pick(&Ask::any()));
    let mut bytes = [0; 64];
    let (len, prober) = asked.recv_from(&mut bytes).await.unwrap();
    let Some(Packet::Ask { nonce }) = Packet::read(&bytes[..len]) else { panic!("a question comes") };
    let reply =
        |nonce, in_flight| Packet::Reply { nonce, load: callboard::endpoint::Load { in_flight, latency: 4 } }.bytes();
    stranger.send_to(&reply(nonce, 66), prober).await.unwrap();
    asked.send_to(&reply(nonce ^ 1 << 40, 77), prober).await.unwrap();
    asked.send_to(&reply(nonce, 5), prober).await.unwrap();
    asked.send_to(&reply(nonce, 88), prober).await.unwrap();
    let snapshot = balancer.snapshot();
    let stats = snapshot.stats(0).unwrap();
    pick_until(&balancer, || snapshot.replies().noted() > 0).await;
    assert_eq!(stats.report(stats.clock().exact()).map(|report| report.load.in_flight), Some(5));
    probing.abort();
}

#[tokio::test]
async fn who_advertises_and_stays_mute_is_called_all_the_same() {
    let reporter = LoadReporter::new();
    let busy: Vec<Serving> = (0..50).map(|_| reporter.begin()).collect();
    let responder = Responder::bind(reporter, "127.0.0.1:0").await.unwrap();
    // Holds its port and never answers.
    let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let balancer = balancer(&[responder.port(), mute.local_addr().unwrap().port()]);
    let settings = ProberSettings { timeout: Duration::from_millis(5) };
    let probing = tokio::spawn(Prober::new(balancer.clone(), settings, budget()).unwrap().run());
    let snapshot = balancer.snapshot();
    let now = || snapshot.aside().clock().exact();
    pick_until(&balancer, || snapshot.replies().len(now()) == 2).await;
    assert_eq!(snapshot.stats(1).unwrap().report(now()), None, "it said nothing");
    drop((busy, probing));
}

/// A server that reports its load; returns where it listens.
async fn server(reporter: LoadReporter) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = tower::service_fn(|_: Request<hyper::body::Incoming>| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
            });
            let service = TowerToHyperService::new(ReportLoadLayer::new(reporter.clone()).layer(answer));
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_report_comes_with_the_response_and_the_application_does_not_see_it() {
    let reporter = LoadReporter::new();
    let _busy = (reporter.begin(), reporter.begin(), reporter.begin());
    let address = server(reporter).await;
    let rows = [Endpoint::new("web-1", "127.0.0.1", address.port())];
    let balancer = Balancer::new(Policy::PREQUAL, Arc::new(Snapshot::empty("web").next(rows, 1)));
    let service = HttpService::new(balancer.clone());
    let response = service.send(Request::get("/").body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert!(!response.headers().contains_key(LOAD_HEADER));
    let snapshot = balancer.snapshot();
    let report = snapshot.stats(0).unwrap().report(Clock::process().exact()).unwrap();
    assert_eq!(report.load.in_flight, 3);
}

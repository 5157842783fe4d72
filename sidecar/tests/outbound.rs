//! The shared port, raw TCP, tunnels, the admin port, and the way down.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use callboard::catalog::Catalog;
use callboard::endpoint::Endpoint;
use callboard_sidecar::{Hash, HashBy, OutboundConfig, Policy, Protocol, Source};
use common::{Instance, Raw, Sidecar, ask, config, endpoint, get, nobody, reply, status, upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

fn outbound(services_max: usize) -> OutboundConfig {
    OutboundConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        domain: "consul".to_owned(),
        policy: Policy::RoundRobin,
        services_max,
    }
}

async fn shared_port(catalog: Catalog) -> Sidecar {
    let mut config = config(Vec::new());
    config.outbound = Some(outbound(3));
    Sidecar::start(config, Source::Fixed(catalog)).await
}

#[tokio::test]
async fn the_shared_port_routes_by_name() {
    let (web, ads, old) = (Instance::named("web").await, Instance::named("ads").await, Instance::named("old").await);
    let web_endpoint = web.endpoint("web-2").tagged(vec!["v2".to_owned()]);
    let catalog = Catalog::fixed([
        ("web", vec![web_endpoint, old.endpoint("web-1").tagged(vec!["v1".to_owned()])]),
        ("ads", vec![ads.endpoint("ads-1")]),
    ]);
    let sidecar = shared_port(catalog.clone()).await;
    let port = sidecar.outbound();

    let named = async |host: &str| get(port, host, "/x").await.1.lines().next().unwrap_or_default().to_owned();
    assert_eq!(named("ads.service.consul").await, "ads");
    assert_eq!(named("ADS.Service.Consul:8080").await, "ads");
    let both: HashSet<String> = [named("web.service.consul").await, named("web.service.consul").await].into();
    assert_eq!(both, HashSet::from(["web".to_owned(), "old".to_owned()]));
    for _ in 0..3 {
        assert_eq!(named("v2.web.service.consul").await, "web", "only those with the tag");
    }

    // What `http_proxy` makes of a request: an absolute target, which wins over Host.
    let request = "GET http://ads.service.consul/y?z=1 HTTP/1.1\r\nhost: other\r\nproxy-connection: keep-alive\r\n\r\n";
    let (head, body) = ask(port, request).await;
    assert_eq!(status(&head), 200);
    assert!(body.contains("GET /y?z=1\n") && body.contains("host: ads.service.consul\n"), "{body}");
    assert!(!body.contains("proxy-connection"), "{body}");
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn names_that_lead_nowhere_are_refused_clearly() {
    let ads = Instance::named("ads").await;
    let sidecar = shared_port(Catalog::fixed([("ads", [ads.endpoint("ads-1")])])).await;
    for (request, expected, kind) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: \r\n\r\n", 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: example.com\r\n\r\n", 404, "no-route"),
        ("GET / HTTP/1.1\r\nhost: 127.0.0.1:1\r\n\r\n", 404, "no-route"),
        ("GET / HTTP/1.1\r\nhost: a.b.c.service.consul\r\n\r\n", 404, "no-route"),
        ("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n", 404, "no-route"),
        ("GET / HTTP/1.1\r\nhost: nobody.service.consul\r\n\r\n", 503, "no-endpoint"),
        ("CONNECT nobody.service.consul:1 HTTP/1.1\r\nhost: x\r\n\r\n", 503, "no-endpoint"),
        ("GET / HTTP/1.1\r\nhost: v9.ads.service.consul\r\n\r\n", 503, "no-endpoint"),
        ("GET / HTTP/1.1\r\nhost: third.service.consul\r\n\r\n", 503, "no-endpoint"),
        ("GET / HTTP/1.1\r\nhost: fourth.service.consul\r\n\r\n", 503, "too-many-services"),
    ] {
        let (head, body) = ask(sidecar.outbound(), request).await;
        assert_eq!(status(&head), expected, "{request}: {body}");
        assert!(head.contains(&format!("x-callboard-error: {kind}\r\n")), "{request}: {head}");
    }
    let (_, metrics) = get(sidecar.addresses.admin, "x", "/metrics").await;
    assert!(metrics.contains("callboard_sidecar_unrouted_total{reason=\"no-route\"} 4"), "{metrics}");
    sidecar.end().await.unwrap();
}

/// Sends back what it hears, in capitals, until its client ends.
async fn shouting() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 4_096];
                while let Ok(length) = socket.read(&mut heard).await {
                    if length == 0 {
                        let _ = socket.write_all(b" BYE").await;
                        return;
                    }
                    heard[..length].make_ascii_uppercase();
                    if socket.write_all(&heard[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn connect_opens_a_tunnel() {
    let (address, server) = shouting().await;
    let catalog = Catalog::fixed([("db", [endpoint("db-0", nobody().await), endpoint("db-1", address)])]);
    let sidecar = shared_port(catalog).await;
    for _ in 0..2 {
        let mut client = Raw::connect(sidecar.outbound()).await;
        // The first bytes come along with the request, as eager clients send them.
        client.write("CONNECT db.service.consul:5432 HTTP/1.1\r\nhost: db.service.consul:5432\r\n\r\nhe").await;
        let head = client.until("\r\n\r\n").await;
        assert_eq!(status(&head), 200);
        client.write("llo").await;
        assert_eq!(client.until("HELLO").await, "HELLO");
        client.socket.shutdown().await.unwrap();
        assert_eq!(client.rest().await, " BYE");
    }
    sidecar.end().await.unwrap();
    server.abort();
}

#[tokio::test]
async fn raw_bytes_pass_both_ways_and_an_end_is_passed_on() {
    let (address, server) = shouting().await;
    let mut db = upstream("db");
    db.protocol = Protocol::Tcp;
    db.policy = Policy::Hash(Hash::Ring, HashBy::Source);
    let catalog = Catalog::fixed([("db", [endpoint("db-0", nobody().await), endpoint("db-1", address)])]);
    let sidecar = Sidecar::start(config(vec![db]), Source::Fixed(catalog)).await;
    let mut client = TcpStream::connect(sidecar.port("db")).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| b'a' + (number % 26) as u8).collect();
    let (mut read, mut write) = client.split();
    let mut heard = Vec::new();
    let (_, written) = tokio::join!(read.read_to_end(&mut heard), async {
        write.write_all(&sent).await?;
        write.shutdown().await
    });
    written.unwrap();
    let mut expected = sent.to_ascii_uppercase();
    expected.extend_from_slice(b" BYE");
    assert!(heard == expected, "{} of {} bytes", heard.len(), expected.len());
    let (_, metrics) = get(sidecar.addresses.admin, "x", "/metrics").await;
    assert!(
        metrics.contains("callboard_sidecar_tunnel_bytes_total{service=\"db\",direction=\"out\"} 1000000"),
        "{metrics}"
    );
    sidecar.end().await.unwrap();
    server.abort();
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_instance() {
    let instances = [Instance::named("a").await, Instance::named("b").await, Instance::named("c").await];
    let endpoints: Vec<Endpoint> =
        instances.iter().enumerate().map(|(number, one)| one.endpoint(&format!("web-{number}"))).collect();
    let mut web = upstream("web");
    web.policy = Policy::Hash(Hash::Ring, HashBy::Header("x-user".parse().unwrap()));
    let sidecar = Sidecar::start(config(vec![web]), Source::Fixed(Catalog::fixed([("web", endpoints)]))).await;
    let mut met = HashSet::new();
    for user in 0..16 {
        let mut seen = HashSet::new();
        for _ in 0..3 {
            let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\n\r\n");
            seen.insert(ask(sidecar.port("web"), &request).await.1.lines().next().unwrap().to_owned());
        }
        assert_eq!(seen.len(), 1, "user {user}");
        met.extend(seen);
    }
    assert!(met.len() > 1);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn ready_follows_the_catalog() {
    let web = Instance::named("web").await;
    let catalog = Catalog::fixed([("web", [])]);
    let mut later = upstream("later");
    later.start_empty = true;
    let sidecar = Sidecar::start(config(vec![upstream("web"), later]), Source::Fixed(catalog.clone())).await;
    let admin = sidecar.addresses.admin;
    assert_eq!(get(admin, "x", "/live").await, (200, "live\n".to_owned()));
    let (code, reason) = get(admin, "x", "/ready").await;
    assert_eq!(code, 503);
    assert!(reason.contains("upstream web: no healthy instance") && !reason.contains("later"), "{reason}");
    catalog.set("web", [web.endpoint("web-1")]);
    assert_eq!(get(admin, "x", "/ready").await, (200, "ready\n".to_owned()));
    assert_eq!(get(sidecar.port("web"), "x", "/").await.0, 200);
    let (_, metrics) = get(admin, "x", "/metrics").await;
    for line in [
        "callboard_client_requests_total{service=\"web\",class=\"2xx\"} 1",
        "callboard_client_endpoints{service=\"web\",state=\"healthy\"} 1",
        "callboard_client_endpoints{service=\"later\",state=\"healthy\"} 0",
        "callboard_sidecar_ready 1",
    ] {
        assert!(metrics.lines().any(|given| given == line), "{line}\n{metrics}");
    }
    assert_eq!(get(admin, "x", "/other").await.0, 404);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        Instance::http1(move |_| {
            let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
            async move {
                begun.notify_one();
                release.notified().await;
                Some(reply("done"))
            }
        })
        .await
    };
    let mut sidecar = Sidecar::of("web", vec![slow.endpoint("web-1")]).await;
    let port = sidecar.port("web");
    let mut busy = Raw::connect(port).await;
    busy.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    begun.notified().await;
    sidecar.shut_down();
    // The door is seen to close while the request is still there.
    while TcpStream::connect(port).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.notify_one();
    let (head, body) = busy.answer().await;
    assert_eq!((status(&head), body.as_str()), (200, "done"));
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    assert_eq!(busy.rest().await, "");
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn a_drain_under_load_loses_nothing() {
    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let web = Instance::named("web").await;
    let mut config = config(vec![upstream("web")]);
    config.threads = 2;
    config.timeouts.settle = std::time::Duration::from_millis(200);
    let catalog = Catalog::fixed([("web", [web.endpoint("web-1")])]);
    let mut sidecar = Sidecar::start(config, Source::Fixed(catalog)).await;
    let port = sidecar.port("web");
    let (sender, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let leaving = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (sender, leaving) = (sender.clone(), Arc::clone(&leaving));
            // Each client keeps its connection until it is asked to close, then comes back until refused.
            tokio::spawn(async move {
                'connection: while let Ok(socket) = TcpStream::connect(port).await {
                    drop(socket);
                    let Ok(socket) = TcpStream::connect(port).await else { break };
                    let mut client = Raw::from(socket);
                    if !client.knock(REQUEST).await {
                        assert!(leaving.load(SeqCst), "nobody is turned away before");
                        break;
                    }
                    for asked in 0.. {
                        if asked > 0 {
                            client.write(REQUEST).await;
                        }
                        let (head, _) = client.answer().await;
                        assert_eq!(status(&head), 200);
                        sender.send(()).unwrap();
                        if head.to_lowercase().contains("connection: close") {
                            continue 'connection;
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..50 {
        answered.recv().await.unwrap();
    }
    leaving.store(true, SeqCst);
    sidecar.shut_down();
    for client in clients {
        client.await.expect("no request failed");
    }
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let begun = Arc::new(Notify::new());
    let stuck = {
        let begun = Arc::clone(&begun);
        Instance::http1(move |_| {
            begun.notify_one();
            std::future::pending()
        })
        .await
    };
    let mut config = config(vec![upstream("web")]);
    config.timeouts.drain = std::time::Duration::from_millis(20);
    let catalog = Catalog::fixed([("web", [stuck.endpoint("web-1")])]);
    let sidecar = Sidecar::start(config, Source::Fixed(catalog)).await;
    let mut client = Raw::connect(sidecar.port("web")).await;
    client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    begun.notified().await;
    sidecar.end().await.unwrap();
    assert_eq!(client.rest().await, "");
}

//! The path of a request: through to an instance and back, whatever it is made of.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bytes::Bytes;
use callboard::catalog::Catalog;
use callboard_sidecar::{Protocol, Source};
use common::{Instance, Raw, Sidecar, ask, config, endpoint, get, nobody, reply, status, upstream};
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

async fn http2_client<B>(address: std::net::SocketAddr) -> http2::SendRequest<B>
where
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_request_reaches_an_instance_clean() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let (head, body) = ask(
        sidecar.port("web"),
        "POST /path?q=1 HTTP/1.1\r\nHost: my.host\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Kept: 2\r\nKeep-Alive: 5\r\n\
         Proxy-Authorization: Basic x\r\nTE: trailers, gzip\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    assert_eq!(status(&head), 200);
    assert!(body.starts_with("web-1\nPOST /path?q=1\n"), "{body}");
    assert!(body.ends_with("hello"), "{body}");
    for kept in ["host: my.host\n", "x-kept: 2\n", "te: trailers\n", "content-length: 5\n"] {
        assert!(body.contains(kept), "{kept} in {body}");
    }
    for gone in ["x-hop", "keep-alive", "proxy-authorization", "gzip", "via", "x-forwarded", "x-callboard"] {
        assert!(!body.contains(gone), "{gone} in {body}");
    }
    assert_eq!(head.to_lowercase().matches("date:").count(), 1, "the instance's own: {head}");
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let mut client = Raw::connect(sidecar.port("web")).await;
    // Two at once, to see that pipelining does not lose one.
    client.write(&"GET /a HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2)).await;
    for _ in 0..2 {
        assert_eq!(status(&client.answer().await.0), 200);
    }
    for _ in 0..20 {
        client.write("GET /b HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(status(&client.answer().await.0), 200);
    }
    assert_eq!(instance.requests(), 22);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn http2_clients_reach_http1_instances() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let mut client = http2_client(sidecar.port("web")).await;
    let request = Request::post("http://my.host/path").body(Full::new(Bytes::from("hello"))).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.version(), Version::HTTP_2);
    let body = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(body.contains("POST /path\n") && body.contains("host: my.host\n") && body.ends_with("hello"), "{body}");
    drop(client);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn instances_that_say_so_are_spoken_to_in_http2_and_trailers_pass() {
    let instance = Instance::http2(|request| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        let body = request.into_body().collect().await.ok()?;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("heard", body.trailers()?["sent"].clone());
        let frames = [Frame::data(body.to_bytes()), Frame::trailers(trailers)];
        Some(Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames.map(Ok))))))
    })
    .await;
    let meta = [("protocol".to_owned(), "grpc".to_owned())].into();
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1").with_meta(meta)]).await;
    let mut client = http2_client(sidecar.port("web")).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("sent", "yes".parse().unwrap());
    let frames = [Ok::<_, hyper::Error>(Frame::data(Bytes::from("hello"))), Ok(Frame::trailers(trailers))];
    let body = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    let request = Request::post("http://web/rpc").header("te", "trailers").body(body).unwrap();
    let response = client.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().unwrap().clone();
    assert_eq!((&trailers["grpc-status"], &trailers["heard"]), (&"0".parse().unwrap(), &"yes".parse().unwrap()));
    assert_eq!(body.to_bytes(), "hello");
    drop(client);
    sidecar.end().await.unwrap();
}

/// Answers with what it hears, as it hears it.
async fn echo(request: Request<hyper::body::Incoming>) -> Option<common::Reply> {
    Some(Response::new(request.into_body().boxed()))
}

#[tokio::test]
async fn bodies_stream_both_ways_in_http1() {
    let instance = Instance::http1(echo).await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let mut client = Raw::connect(sidecar.port("web")).await;
    // A GET, which has a body only because it says so.
    client.write("GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    // Each piece comes back before the next is sent: nothing waits for the end.
    assert!(client.until("5\r\nfirst\r\n").await.contains("transfer-encoding: chunked"));
    client.write("6\r\nsecond\r\n").await;
    client.until("6\r\nsecond\r\n").await;
    client.write("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn bodies_stream_both_ways_in_http2() {
    let instance = Instance::http2(echo).await;
    let mut web = upstream("web");
    web.protocol = Protocol::Http2;
    let catalog = Catalog::fixed([("web", [instance.endpoint("web-1")])]);
    let sidecar = Sidecar::start(config(vec![web]), Source::Fixed(catalog)).await;
    let mut client = http2_client(sidecar.port("web")).await;
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(1);
    let body = StreamBody::new(Box::pin(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|frame| (frame, receiver))
    })));
    let response = client.send_request(Request::post("http://web/").body(body).unwrap()).await.unwrap();
    let mut frames = response.into_body().into_data_stream();
    for piece in ["first", "second"] {
        sender.send(Ok(Frame::data(Bytes::from(piece)))).await.unwrap();
        assert_eq!(frames.next().await.unwrap().unwrap(), piece);
    }
    drop(sender);
    // HTTP/2 may say the end in a frame of its own, which carries nothing.
    while let Some(frame) = frames.next().await {
        assert!(frame.unwrap().is_empty());
    }
    drop(client);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn an_upgrade_joins_both_connections() {
    let instance = Instance::http1(|mut request| async move {
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(request.headers()["sec-websocket-key"], "k");
        let waiting = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(waiting.await.unwrap());
            let mut heard = [0; 4];
            io.read_exact(&mut heard).await.unwrap();
            io.write_all(&heard.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
            io.shutdown().await.unwrap();
        });
        let mut response = reply("");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        Some(response)
    })
    .await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let mut client = Raw::connect(sidecar.port("web")).await;
    client
        .write("GET /chat HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n")
        .await;
    let head = client.until("\r\n\r\n").await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
    client.write("ping").await;
    assert_eq!(client.until("PING").await, "PING");
    drop(client);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_answer() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let (head, _) =
        ask(sidecar.port("web"), "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n").await;
    assert_eq!(status(&head), 200);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_tried_on_another_instance_with_any_method() {
    let instance = Instance::named("web-1").await;
    let endpoints = vec![endpoint("web-0", nobody().await), instance.endpoint("web-1")];
    let sidecar = Sidecar::of("web", endpoints).await;
    for round in 0..6 {
        let request = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";
        let (head, body) = ask(sidecar.port("web"), request).await;
        assert_eq!((status(&head), body.ends_with("body")), (200, true), "round {round}");
    }
    assert_eq!(instance.requests(), 6);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn an_idempotent_request_is_tried_again_when_the_connection_breaks() {
    let broken = Instance::http1(|_| async { None }).await;
    let good = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![broken.endpoint("web-0"), good.endpoint("web-1")]).await;
    for _ in 0..4 {
        assert_eq!(get(sidecar.port("web"), "x", "/").await.0, 200);
    }
    assert_eq!(good.requests(), 4);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn a_body_that_was_sent_is_sent_again_only_where_that_does_no_harm() {
    let breaking = || {
        Instance::http1(|request| async move {
            let mut body = request.into_body();
            body.frame().await;
            None
        })
    };
    let (first, second) = (breaking().await, breaking().await);
    let sidecar = Sidecar::of("web", vec![first.endpoint("web-0"), second.endpoint("web-1")]).await;
    let small = "content-length: 4\r\n\r\nbody";
    let stream = "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n";
    // A POST may not be done twice; a PUT may, while all of its body is known.
    for (method, rest, tries) in [("POST", small, 1), ("PUT", stream, 1), ("PUT", small, 3)] {
        let before = first.requests() + second.requests();
        let request = format!("{method} / HTTP/1.1\r\nhost: x\r\n{rest}");
        let (head, body) = ask(sidecar.port("web"), &request).await;
        assert_eq!(status(&head), 502, "{body}");
        assert!(head.contains("x-callboard-error: reset"), "{head}");
        assert!(body.contains("web") && body.contains("127.0.0.1:"), "{body}");
        assert_eq!(first.requests() + second.requests(), before + tries, "{method} {rest}");
    }
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn nobody_to_call_is_said_clearly() {
    let gone = nobody().await;
    let catalog = Catalog::fixed([("empty", vec![]), ("gone", vec![endpoint("gone-1", gone)])]);
    let sidecar = Sidecar::start(config(vec![upstream("empty"), upstream("gone")]), Source::Fixed(catalog)).await;

    let (head, body) = ask(sidecar.port("empty"), "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status(&head), 503);
    assert!(head.contains("x-callboard-error: no-endpoint"), "{head}");
    assert!(body.contains("empty") && body.contains("0 endpoints known"), "{body}");

    let (head, body) = ask(sidecar.port("gone"), "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status(&head), 502);
    assert!(head.contains("x-callboard-error: connect"), "{head}");
    assert!(body.contains("gone-1") && body.contains(&gone.to_string()), "{body}");
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_a_504() {
    let silent = Instance::http1(|_| std::future::pending()).await;
    let mut config = config(vec![upstream("web")]);
    config.timeouts.response_header = std::time::Duration::from_millis(20);
    let catalog = Catalog::fixed([("web", [silent.endpoint("web-1")])]);
    let sidecar = Sidecar::start(config, Source::Fixed(catalog)).await;
    let (head, _) = ask(sidecar.port("web"), "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status(&head), 504);
    assert!(head.contains("x-callboard-error: timeout"), "{head}");
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn malformed_requests_get_a_400_and_the_next_client_an_answer() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/3.7\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nbad header: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\n folded: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "CONNECT web:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ] {
        let mut client = Raw::connect(sidecar.port("web")).await;
        client.write(request).await;
        assert_eq!(status(&client.until("\r\n").await), 400, "{request:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut client = Raw::connect(sidecar.port("web")).await;
    // It may be refused before it was sent whole.
    let _ = client.socket.write_all(long.as_bytes()).await;
    let answer = client.rest().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(instance.requests(), 0);
    assert_eq!(get(sidecar.port("web"), "x", "/").await.0, 200);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn a_length_said_twice_is_passed_on_once_and_nothing_is_smuggled() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for lengths in
        ["content-length: 60\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 60"]
    {
        let mut client = Raw::connect(sidecar.port("web")).await;
        client.write(&format!("POST / HTTP/1.1\r\nhost: x\r\n{lengths}\r\n\r\n2\r\nab\r\n0\r\n\r\n{smuggled}")).await;
        let (head, body) = client.answer().await;
        assert_eq!(status(&head), 200);
        assert!(body.contains("transfer-encoding: chunked\n") && !body.contains("content-length"), "{body}");
        assert!(body.ends_with("ab"), "{body}");
        // RFC 9112 section 6.1: such a connection is closed after the answer.
        assert_eq!(client.rest().await, "");
    }
    assert_eq!(instance.requests(), 2);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn half_sent_requests_do_no_harm() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    for piece in
        ["", "G", "PRI * HTTP", "GET / HTTP/1.1\r\nhost", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab"]
    {
        let mut client = Raw::connect(sidecar.port("web")).await;
        client.write(piece).await;
        drop(client);
    }
    assert_eq!(get(sidecar.port("web"), "x", "/").await.0, 200);
    sidecar.end().await.unwrap();
}

#[tokio::test]
async fn a_head_answer_has_a_length_and_no_body() {
    let instance = Instance::named("web-1").await;
    let sidecar = Sidecar::of("web", vec![instance.endpoint("web-1")]).await;
    let mut client = Raw::connect(sidecar.port("web")).await;
    client.write("HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.contains("content-length: ") && answer.ends_with("\r\n\r\n"), "{answer}");
    drop(http2_client::<Empty<Bytes>>(sidecar.port("web")).await);
    sidecar.end().await.unwrap();
}

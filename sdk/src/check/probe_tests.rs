//! The network probes by example, each against a real server on this machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use CheckStatus::{Critical, Passing, Warning};
use bytes::Bytes;
use callboard_proto::CheckStatus;
use callboard_proto::definition::{CheckDefinition, HttpProbe, Limits, Probe, Thresholds, Tls};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::{Context, Report, probe};

fn definition(probe: Probe) -> CheckDefinition {
    CheckDefinition {
        probe,
        interval: Duration::from_secs(10),
        timeout: Duration::ZERO,
        thresholds: Thresholds::default(),
        reap_after: None,
        output_max: 4096,
        limits: Limits::default(),
    }
}

fn http(url: &str) -> HttpProbe {
    HttpProbe {
        url: url.into(),
        method: "GET".into(),
        header: Vec::new(),
        body: "".into(),
        follow_redirects: true,
        tls: Tls::default(),
    }
}

async fn run(probe_: Probe) -> Report {
    probe(&definition(probe_), &Context::new()).await
}

#[track_caller]
fn is(report: Report, status: CheckStatus, output: &str) {
    assert_eq!((report.status, report.output.as_str()), (status, output));
}

#[track_caller]
fn begins(report: Report, status: CheckStatus, output: &str) {
    assert!(report.status == status && report.output.starts_with(output), "{report:?}");
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    listener().await.1
}

/// Reads one request: its head and, by its Content-Length, its body.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut read = Vec::new();
    loop {
        let byte = stream.read_u8().await?;
        read.push(byte);
        if read.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(read).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(head + std::str::from_utf8(&body).unwrap())
}

/// A server that answers every request with what `answer` makes of it.
async fn server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Ok(request) = request(&mut stream).await else { continue };
            let _ = stream.write_all(answer(&request).as_bytes()).await;
        }
    });
    format!("http://{address}")
}

fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_http_status_is_the_status() {
    let url = server(|request| {
        let status = request.split(' ').nth(1).unwrap().trim_start_matches('/').replace('-', " ");
        reply(&status, "words")
    })
    .await;
    for (path, status) in [
        ("200-OK", Passing),
        ("204-No-Content", Passing),
        ("299-Fine", Passing),
        ("429-Too-Many-Requests", Warning),
        ("404-Not-Found", Critical),
        ("500-Internal-Server-Error", Critical),
        ("304-Not-Modified", Critical),
    ] {
        let url = format!("{url}/{path}");
        let report = run(Probe::Http(http(&url))).await;
        let line = path.replace('-', " ");
        // These two have no body, whatever the server says.
        let body = if path.starts_with("204") || path.starts_with("304") { "" } else { "words" };
        assert!(report.latency.is_some());
        is(report, status, &format!("HTTP GET {url}: {line} Output: {body}"));
    }
}

#[tokio::test]
async fn a_request_says_what_its_definition_says() {
    let url = server(|request| reply("200 OK", request)).await;
    let said = run(Probe::Http(http(&format!("{url}/a?b=c")))).await.output;
    let host = url.trim_start_matches("http://");
    assert!(said.contains("Output: GET /a?b=c HTTP/1.1\r\n"), "{said}");
    for line in ["user-agent: Consul Health Check", "accept: text/plain, text/*, */*", "connection: close"] {
        assert!(said.contains(&format!("\r\n{line}\r\n")), "{said}");
    }
    assert!(said.contains(&format!("\r\nhost: {host}\r\n")), "{said}");

    let header = [("Host", "web.example"), ("X-A", "1"), ("X-A", "2"), ("User-Agent", "me"), ("Accept", "text/html")];
    let header = header.map(|(name, value)| (name.into(), value.into())).to_vec();
    let url = url.replace("http://", "http://user:p%40ss@");
    let post = HttpProbe { method: "POST".into(), body: "hello".into(), header, ..http(&url) };
    let said = run(Probe::Http(post)).await.output;
    assert!(said.contains("Output: POST / HTTP/1.1\r\n") && said.ends_with("\r\n\r\nhello"), "{said}");
    let login = "authorization: Basic dXNlcjpwQHNz";
    for line in ["host: web.example", "x-a: 1\r\nx-a: 2", "user-agent: me", "accept: text/html", login] {
        assert!(said.contains(&format!("\r\n{line}\r\n")), "{said}");
    }
    assert!(!said.contains("Consul Health Check"), "{said}");
}

#[tokio::test]
async fn redirects_are_followed_ten_times_or_not_at_all() {
    let url = server(|request| match request.split(' ').nth(1).unwrap() {
        "/end" => reply("200 OK", request.split("\r\n").next().unwrap()),
        "/see" => "HTTP/1.1 303 See Other\r\nlocation: end\r\ncontent-length: 0\r\n\r\n".into(),
        "/lost" => reply("302 Found", ""),
        "/mail" => "HTTP/1.1 302 Found\r\nlocation: mailto:x\r\ncontent-length: 0\r\n\r\n".into(),
        count => {
            let count: u32 = count[1..].parse().unwrap();
            let next = if count == 1 { "end".into() } else { (count - 1).to_string() };
            format!("HTTP/1.1 302 Found\r\nlocation: /{next}\r\ncontent-length: 0\r\n\r\n")
        }
    })
    .await;
    let get = |path: &str| http(&format!("{url}/{path}"));
    let expected = format!("HTTP GET {url}/10: 200 OK Output: GET /end HTTP/1.1");
    is(run(Probe::Http(get("10"))).await, Passing, &expected);
    is(run(Probe::Http(get("11"))).await, Critical, &format!("HTTP GET {url}/11: stopped after 10 redirects"));
    let post = HttpProbe { method: "POST".into(), body: "x".into(), ..get("see") };
    let expected = format!("HTTP POST {url}/see: 200 OK Output: GET /end HTTP/1.1");
    is(run(Probe::Http(post)).await, Passing, &expected);
    let stay = HttpProbe { follow_redirects: false, ..get("1") };
    is(run(Probe::Http(stay)).await, Critical, &format!("HTTP GET {url}/1: 302 Found Output: "));
    is(run(Probe::Http(get("lost"))).await, Critical, &format!("HTTP GET {url}/lost: 302 Found Output: "));
    begins(run(Probe::Http(get("mail"))).await, Critical, &format!("HTTP GET {url}/mail: redirected to"));
}

#[tokio::test]
async fn secrets_stay_with_their_host() {
    let other = server(|request| reply("200 OK", request)).await.replace("127.0.0.1", "localhost");
    let url = server(move |_| format!("HTTP/1.1 302 Found\r\nlocation: {other}/x\r\ncontent-length: 0\r\n\r\n")).await;
    let header = vec![("Authorization".into(), "secret".into()), ("X-Plain".into(), "1".into())];
    let said = run(Probe::Http(HttpProbe { header, ..http(&url) })).await;
    assert!(said.status == Passing && said.output.contains("x-plain: 1"), "{said:?}");
    assert!(!said.output.contains("secret"), "{said:?}");
}

#[tokio::test]
async fn only_the_beginning_of_a_body_is_kept() {
    let url = server(|_| reply("200 OK", &"é".repeat(100_000))).await;
    let short = CheckDefinition { output_max: 5, ..definition(Probe::Http(http(&url))) };
    is(probe(&short, &Context::new()).await, Passing, &format!("HTTP GET {url}: 200 OK Output: éé"));
}

#[tokio::test]
async fn what_cannot_be_asked_is_told() {
    let absent = nobody().await;
    let report = run(Probe::Http(http(&format!("http://{absent}/")))).await;
    assert_eq!(report.latency, None);
    is(report, Critical, &format!("HTTP GET http://{absent}/: connecting to {absent}: connection refused"));
    begins(run(Probe::Http(http("not a url"))).await, Critical, "HTTP GET not a url: not a URL: ");
    begins(run(Probe::Http(http("ftp://a/"))).await, Critical, "HTTP GET ftp://a/: the URL is neither");
    let odd = HttpProbe { header: vec![("a b".into(), "".into())], ..http("http://127.0.0.1/") };
    begins(run(Probe::Http(odd)).await, Critical, "HTTP GET http://127.0.0.1/: not a header: \"a b\"");
    let garbage = server(|_| "garbage\r\n\r\n".into()).await;
    begins(run(Probe::Http(http(&garbage))).await, Critical, &format!("HTTP GET {garbage}: "));
}

#[tokio::test(start_paused = true)]
async fn silence_is_timed_out() {
    // Bound and never accepted: connections open (the system takes them) and nothing comes back.
    let (_listener, address) = listener().await;
    let url = format!("http://{address}/");
    is(run(Probe::Http(http(&url))).await, Critical, &format!("HTTP GET {url}: timed out after 10s"));
    let target = address.to_string();
    let grpc = Probe::Grpc { address: target.as_str().into(), service: "web".into(), tls: None };
    is(run(grpc).await, Critical, &format!("gRPC check {target}/web: timed out after 10s"));
    let ping = Probe::H2Ping { address: target.as_str().into(), tls: None };
    is(run(ping).await, Critical, "HTTP2 ping failed: timed out after 10s");
    let tls = Probe::Tcp { address: target.as_str().into(), tls: Some(Tls::default()) };
    let short = CheckDefinition { timeout: Duration::from_millis(1500), ..definition(tls) };
    let expected = format!("TCP+TLS connect {target}: timed out after 1.5s");
    is(probe(&short, &Context::new()).await, Critical, &expected);
}

#[tokio::test]
async fn a_connection_passes() {
    let (_listener, address) = listener().await;
    let report = run(Probe::Tcp { address: address.to_string().into(), tls: None }).await;
    is(report, Passing, &format!("TCP connect {address}: Success"));
    let absent = nobody().await;
    let report = run(Probe::Tcp { address: absent.to_string().into(), tls: None }).await;
    is(report, Critical, &format!("TCP connect {absent}: connecting to {absent}: connection refused"));
}

#[tokio::test]
async fn a_datagram_that_is_answered_or_refused() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        let (_, from) = socket.recv_from(&mut [0; 64]).await.unwrap();
        socket.send_to(&[7; 64], from).await.unwrap();
    });
    let report = run(Probe::Udp { address: address.to_string().into() }).await;
    echo.await.unwrap();
    assert!(report.latency.is_some());
    is(report, Passing, &format!("UDP connect {address}: Success"));
    // The socket is gone with its task.
    let report = run(Probe::Udp { address: address.to_string().into() }).await;
    is(report, Critical, &format!("UDP connect {address}: asking {address}: connection refused"));
}

#[tokio::test(start_paused = true)]
async fn a_datagram_that_meets_silence_passes() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let report = run(Probe::Udp { address: address.to_string().into() }).await;
    assert_eq!(report.latency, None, "the time waited for nothing is no latency");
    is(report, Passing, &format!("UDP connect {address}: Success"));
}

/// What a gRPC server says to one question.
#[derive(Clone, Copy)]
enum Says {
    Serving(u8),
    Status(&'static str, &'static str),
}

/// Answers the health questions of one h2 connection; service `down` is not serving, others unknown.
async fn serve_h2(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        let mut body = request.into_body();
        // Inside the loop that drives the connection there is nobody to wait for the body; answer by its head.
        let says = {
            let said = tokio::select! {
                said = body.data() => said,
                _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => None,
            };
            match said.map(Result::unwrap).as_deref() {
                Some([0, 0, 0, 0, 0]) => Says::Serving(1),
                Some([_, _, _, _, _, 0x0A, 4, b'd', b'o', b'w', b'n']) => Says::Serving(2),
                _ => Says::Status("5", "unknown service"),
            }
        };
        let head = http::Response::builder().header("content-type", "application/grpc");
        match says {
            Says::Serving(status) => {
                let mut send = respond.send_response(head.body(()).unwrap(), false).unwrap();
                send.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false).unwrap();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                send.send_trailers(trailers).unwrap();
            }
            Says::Status(code, message) => {
                let head = head.header("grpc-status", code).header("grpc-message", message).body(()).unwrap();
                respond.send_response(head, true).unwrap();
            }
        }
    }
}

async fn h2_server(tls: Option<TlsAcceptor>) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &tls {
                None => drop(tokio::spawn(serve_h2(stream))),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        tokio::spawn(serve_h2(stream));
                    }
                }
            }
        }
    });
    address
}

fn grpc(address: SocketAddr, service: &str, tls: Option<Tls>) -> Probe {
    Probe::Grpc { address: address.to_string().into(), service: service.into(), tls }
}

#[tokio::test]
async fn the_grpc_health_service_is_asked() {
    let at = h2_server(None).await;
    is(run(grpc(at, "", None)).await, Passing, &format!("gRPC check {at}: success"));
    is(run(grpc(at, "down", None)).await, Critical, &format!("gRPC check {at}/down: status NOT_SERVING"));
    let expected = format!("gRPC check {at}/else: grpc-status 5: unknown service");
    is(run(grpc(at, "else", None)).await, Critical, &expected);
    let absent = nobody().await;
    let expected = format!("gRPC check {absent}: connecting to {absent}: connection refused");
    is(run(grpc(absent, "", None)).await, Critical, &expected);
}

#[tokio::test]
async fn a_ping_is_acknowledged() {
    let at = h2_server(None).await;
    let ping = |at: SocketAddr| Probe::H2Ping { address: at.to_string().into(), tls: None };
    is(run(ping(at)).await, Passing, "HTTP2 ping was successful");
    let absent = nobody().await;
    let expected = format!("HTTP2 ping failed: connecting to {absent}: connection refused");
    is(run(ping(absent)).await, Critical, &expected);
    let url = server(|_| reply("400 Bad Request", "")).await;
    let other = url.trim_start_matches("http://").parse().unwrap();
    begins(run(ping(other)).await, Critical, "HTTP2 ping failed: ");
}

/// A certificate for localhost: what trusts it, and what serves it with the given protocol.
fn certificate(protocol: &[u8]) -> (Context, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let der: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    (Context::trusting([der.to_vec()]), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_certificate_is_verified_unless_told_otherwise() {
    let (trusting, acceptor) = certificate(b"h2");
    let at = h2_server(Some(acceptor)).await;
    let named = || Tls { server_name: "localhost".into(), skip_verify: false };
    let tcp = |tls: Tls| definition(Probe::Tcp { address: at.to_string().into(), tls: Some(tls) });

    let good = format!("TCP+TLS connect {at}: Success");
    is(probe(&tcp(named()), &trusting).await, Passing, &good);
    let other_name = probe(&tcp(Tls::default()), &trusting).await;
    begins(other_name, Critical, &format!("TCP+TLS connect {at}: TLS with 127.0.0.1: "));
    let unknown = probe(&tcp(named()), &Context::new()).await;
    begins(unknown, Critical, &format!("TCP+TLS connect {at}: TLS with localhost: "));
    let any = Tls { skip_verify: true, ..Tls::default() };
    is(probe(&tcp(any.clone()), &Context::new()).await, Passing, &good);

    let ping = Probe::H2Ping { address: at.to_string().into(), tls: Some(any) };
    is(run(ping).await, Passing, "HTTP2 ping was successful");
    let serving = probe(&definition(grpc(at, "", Some(named()))), &trusting).await;
    is(serving, Passing, &format!("gRPC check {at}: success"));
}

#[tokio::test]
async fn https_is_asked_over_tls() {
    let (trusting, acceptor) = certificate(b"http/1.1");
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let Ok(_) = request(&mut stream).await else { continue };
            let _ = stream.write_all(reply("200 OK", "safe").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let url = format!("https://localhost:{}/", address.port());
    let https = definition(Probe::Http(http(&url)));
    is(probe(&https, &trusting).await, Passing, &format!("HTTP GET {url}: 200 OK Output: safe"));
    begins(probe(&https, &Context::new()).await, Critical, &format!("HTTP GET {url}: TLS with localhost: "));
}

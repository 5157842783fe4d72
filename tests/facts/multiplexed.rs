//! Facts of HTTP/2: many reads wait on one connection and each is answered, beside clients of HTTP/1.1 on the same port.

use std::time::Duration;

use callboard_tests::node::Node;
use h2::client::SendRequest;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The most streams that the node lets one connection have.
const STREAMS_MAX: usize = 1024;
const CONNECTION_WINDOW: u32 = 5 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

type Client = SendRequest<&'static [u8]>;

async fn connect(node: &Node) -> Client {
    let stream = TcpStream::connect(node.http.address).await.expect("the node listens");
    // As much of all answers together as HTTP clients usually take ahead. With the protocol's 64 KiB, a thousand answers
    // at once come in crumbs, which the library takes for an attack.
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await
        .expect("the node speaks HTTP/2");
    // It ends with the client.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// Asks, and waits for the answer: status and body.
async fn ask(client: Client, method: &str, path: String, body: &'static [u8]) -> (u16, Value) {
    let uri = format!("http://n1{path}");
    let request = http::Request::builder().method(method).uri(uri).body(()).expect("a request");
    let mut client = client.ready().await.expect("the connection stands");
    let (answer, mut sending) = client.send_request(request, body.is_empty()).expect("a stream");
    if !body.is_empty() {
        sending.send_data(body, true).expect("the body is taken");
    }
    let (parts, mut incoming) = answer.await.expect("an answer").into_parts();
    let mut whole = Vec::new();
    while let Some(piece) = incoming.data().await {
        let piece = piece.expect("the body arrives");
        incoming.flow_control().release_capacity(piece.len()).expect("what was read is given back");
        whole.extend_from_slice(&piece);
    }
    (parts.status.as_u16(), serde_json::from_slice(&whole).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reads_wait_on_one_connection() {
    let node = Node::dev();
    let client = connect(&node).await;
    let written = ask(client.clone(), "PUT", "/v1/kv/k".to_owned(), b"1").await;
    assert_eq!(written, (200, json!(true)));
    let index = node.http.get("/v1/kv/k").ok().index();
    let mut waiters = JoinSet::new();
    // One stream is left, for the write that wakes them.
    for _ in 0..STREAMS_MAX - 1 {
        waiters.spawn(ask(client.clone(), "GET", format!("/v1/kv/k?index={index}&wait=300s"), b""));
    }
    let http = node.http;
    let _running = tokio::task::spawn_blocking(move || {
        node.until_waiters(u32::try_from(STREAMS_MAX - 1).expect("a few"));
        node
    })
    .await
    .expect("all wait");
    let written = ask(client, "PUT", "/v1/kv/k".to_owned(), b"2").await;
    assert_eq!(written, (200, json!(true)));
    let all = async {
        while let Some(answer) = waiters.join_next().await {
            let (status, body) = answer.expect("no waiter panics");
            assert_eq!((status, &body[0]["Value"]), (200, &json!("Mg==")));
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("everyone is answered");
    assert_eq!(http.get("/v1/kv/k?raw").ok().text(), "2", "HTTP/1.1 is served beside it");
}

/// A preface that arrives in pieces is one all the same, and one that turns into something else is not.
#[tokio::test]
async fn the_preface_may_come_in_pieces() {
    let node = Node::dev();
    let mut stream = TcpStream::connect(node.http.address).await.expect("the node listens");
    stream.set_nodelay(true).expect("a socket has options");
    // The preface, then an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
    for piece in [&b"P"[..], b"RI", b" * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 0, 4, 0, 0, 0, 0, 0]] {
        stream.write_all(piece).await.expect("the node reads");
        stream.flush().await.expect("the node reads");
    }
    let mut frame = [0; 9];
    tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_exact(&mut stream, &mut frame))
        .await
        .expect("the node answers")
        .expect("a whole frame");
    assert_eq!(frame[3], 4, "its settings come first");

    let mut stream = TcpStream::connect(node.http.address).await.expect("the node listens");
    stream.write_all(b"P").await.expect("the node reads");
    stream.write_all(b"UT /v1/kv/p HTTP/1.1\r\nHost: n1\r\nContent-Length: 1\r\n\r\nx").await.expect("the node reads");
    let mut status = [0; 15];
    tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_exact(&mut stream, &mut status))
        .await
        .expect("the node answers")
        .expect("a status line");
    assert_eq!(&status, b"HTTP/1.1 200 OK");
}

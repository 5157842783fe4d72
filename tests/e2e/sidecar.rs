//! Applications that know nothing of Callboard, and the sidecar beside them: calls by a port of localhost and through
//! `http_proxy`, instances that come, die and leave, and a drain without a failed call.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use callboard_tests::backend::Backend;
use callboard_tests::http::{Connection, Http};
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::{binaries, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// A sidecar and the addresses of its first line.
struct Sidecar {
    process: Process,
    said: Value,
}

impl Sidecar {
    fn start(node: &Node, arguments: &[&str]) -> Self {
        let mut command = Command::new(binaries::sidecar());
        command.args(["--control", &format!("http://{}", node.http.address), "--settle", "200ms"]).args(arguments);
        let process = Process::start(&mut command);
        let line = process.line(LIMIT);
        let said = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let sidecar = Self { process, said };
        let admin = sidecar.address(&sidecar.said["admin"]);
        wait::until_true("a sidecar that is ready", LIMIT, || {
            admin.request("GET", "/ready", b"").is_ok_and(|reply| reply.status == 200)
        });
        sidecar
    }

    fn address(&self, value: &Value) -> Http {
        let address: SocketAddr =
            value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address: {}", self.said));
        Http::new(address)
    }

    fn upstream(&self, name: &str) -> Http {
        self.address(&self.said["upstreams"][name])
    }
}

fn register(node: &Node, id: &str, backend: &Backend) {
    node.http.put_json(
        "/v1/agent/service/register",
        &json!({"ID": id, "Name": "web", "Address": "127.0.0.1", "Port": backend.address.port()}),
    );
}

#[test]
fn calls_spread_and_survive_a_death_a_birth_and_a_leave() {
    let node = Node::dev();
    let one = Backend::start("one");
    let two = Backend::start("two");
    register(&node, "web-1", &one);
    register(&node, "web-2", &two);
    let sidecar = Sidecar::start(&node, &["--upstream", "web=127.0.0.1:0,policy=round-robin"]);
    let upstream = sidecar.upstream("web");
    let answers = |count: usize| -> BTreeSet<String> { (0..count).map(|_| upstream.get("/").ok().text()).collect() };
    assert_eq!(answers(6), BTreeSet::from(["one".to_owned(), "two".to_owned()]), "both are called");

    // It dies without a word: nobody deregisters it, and no call fails.
    drop(one);
    assert_eq!(answers(40).len(), 1, "no call fails while the registry still lists the dead one");

    let three = Backend::start("three");
    register(&node, "web-3", &three);
    wait::until_true("the newcomer is called", LIMIT, || answers(4).contains("three"));

    let _ = node.http.put("/v1/agent/service/deregister/web-2", "").ok();
    wait::until_true("the one that left is not called", LIMIT, || !answers(4).contains("two"));
    let before = two.asked();
    assert_eq!(answers(10), BTreeSet::from(["three".to_owned()]));
    assert_eq!(two.asked(), before);
}

/// The shared port routes by name, as a proxy does.
#[test]
fn the_shared_port_routes_by_name() {
    let node = Node::dev();
    let backend = Backend::start("found by name");
    register(&node, "web-1", &backend);
    let sidecar = Sidecar::start(&node, &["--outbound", "127.0.0.1:0"]);
    let outbound = sidecar.address(&sidecar.said["outbound"]);
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(outbound.address).expect("the sidecar listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time can be set");
        stream.write_all(head.as_bytes()).expect("the request is sent");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said
    };
    for head in [
        "GET / HTTP/1.1\r\nHost: web.service.consul\r\nConnection: close\r\n\r\n",
        "GET http://web.service.consul/ HTTP/1.1\r\nHost: web.service.consul\r\nConnection: close\r\n\r\n",
        "GET http://web.service.dc1.consul:80/ HTTP/1.1\r\nHost: web.service.dc1.consul:80\r\nConnection: close\r\n\r\n",
    ] {
        let said = ask(head);
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("found by name"), "{head}{said}");
    }
    let said = ask("GET / HTTP/1.1\r\nHost: nobody.service.consul\r\nConnection: close\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    let said = ask("GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
}

/// The sidecar signs the local application in, watches it, and leaves under load without a failed call.
#[test]
fn the_local_application_is_signed_in_and_drains() {
    let node = Node::dev();
    let app = Backend::start("app");
    let (port, name) = (app.address.port().to_string(), "payments");
    let flags = [
        "--service",
        name,
        "--port",
        &port,
        "--address",
        "127.0.0.1",
        "--check-http",
        "/",
        "--check-interval",
        "100ms",
    ];
    let mut beside = Sidecar::start(&node, &flags);
    let path = format!("/v1/health/service/{name}?passing");
    let listed = || node.http.get(&path).ok().json().as_array().map_or(0, Vec::len);
    wait::until_true("the application is listed", LIMIT, || listed() == 1);
    app.set_status(500);
    wait::until_true("its failure is seen", LIMIT, || listed() == 0);
    app.set_status(200);
    wait::until_true("its recovery is seen", LIMIT, || listed() == 1);

    let other = Backend::start("other");
    node.http.put_json(
        "/v1/agent/service/register",
        &json!({"ID": "other", "Name": name, "Address": "127.0.0.1", "Port": other.address.port()}),
    );
    let caller = Sidecar::start(&node, &["--upstream", "payments=127.0.0.1:0"]);
    let upstream = caller.upstream(name);
    let done = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(upstream.address).expect("the sidecar listens");
                while !done.load(Ordering::Acquire) {
                    let reply = connection.request("GET", "/", b"").expect("a call is answered");
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    calls.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        wait::until_true("calls", LIMIT, || calls.load(Ordering::Acquire) > 100);
        beside.process.terminate();
        assert!(beside.process.wait(LIMIT).success(), "{}", beside.process.stderr());
        let so_far = calls.load(Ordering::Acquire);
        wait::until_true("more calls", LIMIT, || calls.load(Ordering::Acquire) > so_far + 100);
        done.store(true, Ordering::Release);
    });
    let all = node.http.get(&format!("/v1/catalog/service/{name}")).ok().json();
    assert_eq!(all.as_array().map(Vec::len), Some(1), "the sidecar took its application out: {all}");
}

#[test]
fn an_application_hears_events_by_its_sidecar() {
    let node = Node::dev();
    let sidecar = Sidecar::start(&node, &["--outbound", "127.0.0.1:0"]);
    let admin = sidecar.address(&sidecar.said["admin"]).address;
    let mut streams = [("/events", 2), ("/events?name=deploy", 1)].map(|(target, due)| {
        let mut stream = TcpStream::connect(admin).expect("a connection to the admin port");
        stream.set_read_timeout(Some(LIMIT)).expect("a patience");
        write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("a request");
        // The head comes when the sidecar listens.
        let mut heard = String::new();
        read_until(&mut stream, &mut heard, |heard| heard.contains("\r\n\r\n"));
        assert!(heard.starts_with("HTTP/1.1 200") && heard.contains("content-type: text/event-stream"), "{heard}");
        (stream, heard, due)
    });
    let _ = node.http.put("/v1/event/fire/other", "").ok();
    let _ = node.http.put("/v1/event/fire/deploy", "v2").ok();
    for (stream, heard, due) in &mut streams {
        read_until(stream, heard, |heard| heard.contains("event: deploy\ndata: {\"ID\":"));
        assert_eq!(heard.matches("data: ").count(), *due, "{heard}");
        assert!(heard.contains(r#""Payload":"djI=""#), "{heard}");
    }
    let refused = sidecar.address(&sidecar.said["admin"]).request("HEAD", "/events", b"").expect("an answer");
    assert_eq!(refused.status, 405);
}

/// An answer that comes before the request is whole reaches whoever sends it all first, and tells what it tells.
#[test]
fn an_answer_is_not_lost_to_a_body_that_nobody_wants() {
    let node = Node::dev();
    for (service, lingers) in [("polite", Lingers::Yes), ("rude", Lingers::No)] {
        node.http.put_json(
            "/v1/agent/service/register",
            &json!({"Name": service, "Address": "127.0.0.1", "Port": full(lingers).port()}),
        );
    }
    let flags = ["nobody", "polite", "rude"].map(|service| format!("{service}=127.0.0.1:0,start-empty"));
    let mut arguments = vec!["--outbound", "127.0.0.1:0"];
    arguments.extend(flags.iter().flat_map(|flag| ["--upstream", flag]));
    let sidecar = Sidecar::start(&node, &arguments);
    for service in ["polite", "rude"] {
        wait::until_true("an instance to call", LIMIT, || sidecar.upstream(service).get("/").status == 413);
    }
    let outbound = sidecar.address(&sidecar.said["outbound"]);
    // More than fits into any buffer on its way.
    let body = vec![b'x'; 8_000_000];
    let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = [chunked, &b"700000\r\n"[..], &body[..0x70_0000], b"\r\n0\r\n\r\n"].concat();
    for (whose, http, statuses) in [
        ("nobody to call", sidecar.upstream("nobody"), &[503][..]),
        ("no such name", outbound, &[404]),
        ("the admin port", sidecar.address(&sidecar.said["admin"]), &[405]),
        ("refused by the instance", sidecar.upstream("polite"), &[413]),
        // It may have taken its own answer back before the sidecar could read it; that is told then.
        ("refused and cut off", sidecar.upstream("rude"), &[413, 502]),
    ] {
        let mut connection = Connection::open(http.address).expect("the sidecar listens");
        let reply = connection.request("POST", "/", &body).unwrap_or_else(|error| panic!("{whose}: {error}"));
        assert!(statuses.contains(&reply.status), "{whose}: {reply:?}");
        // The connection goes on with the next request.
        let again = connection.send(&chunks).and_then(|()| connection.reply("POST"));
        let again = again.unwrap_or_else(|error| panic!("{whose}, in chunks: {error}"));
        assert!(statuses.contains(&again.status), "{whose}, in chunks: {again:?}");
    }
}

/// Who asks before it sends (`Expect: 100-continue`) and was told to go on has to send all of it, and hears the answer after
/// that; who is refused at once sends nothing.
#[test]
fn an_answer_is_not_lost_to_a_body_that_was_asked_for() {
    let node = Node::dev();
    let service = json!({"Name": "polite", "Address": "127.0.0.1", "Port": full(Lingers::Yes).port()});
    node.http.put_json("/v1/agent/service/register", &service);
    let sidecar = Sidecar::start(&node, &["--upstream", "polite=127.0.0.1:0,start-empty"]);
    wait::until_true("an instance to call", LIMIT, || sidecar.upstream("polite").get("/").status == 413);
    let chunk = [&b"700000\r\n"[..], &vec![b'x'; 0x70_0000], b"\r\n0\r\n\r\n"].concat();
    let asked = |http: Http, path: &str| {
        let mut stream = TcpStream::connect(http.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket has a limit");
        let head =
            format!("PUT {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a head is taken");
        let mut heard = String::new();
        read_until(&mut stream, &mut heard, |heard| heard.contains("\r\n\r\n"));
        let goes_on = heard.starts_with("HTTP/1.1 100");
        if goes_on {
            stream.write_all(&chunk).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        read_until(&mut stream, &mut heard, |heard| heard.contains("HTTP/1.1 413"));
        goes_on
    };
    assert!(asked(node.http, "/v1/kv/big"), "a body of unknown length is asked for");
    // Which of the two the instance's answer comes before is its own affair.
    let _ = asked(sidecar.upstream("polite"), "/");
}

/// What a server does with a body that it has refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lingers {
    Yes,
    No,
}

/// A server that refuses every request as soon as it has seen the head.
fn full(lingers: Lingers) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let mut head = String::new();
                read_until(&mut stream, &mut head, |head| head.contains("\r\n\r\n"));
                let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfull\n";
                let answered = stream.write_all(answer.as_bytes()).and_then(|()| stream.shutdown(Shutdown::Write));
                if answered.is_ok() && lingers == Lingers::Yes {
                    // However it ends, it is read to its end.
                    let _ = io::copy(&mut stream, &mut io::sink());
                }
            });
        }
    });
    address
}

fn read_until(stream: &mut TcpStream, heard: &mut String, done: impl Fn(&str) -> bool) {
    let mut piece = [0; 4096];
    while !done(heard) {
        let count = stream.read(&mut piece).expect("more of the answer");
        assert!(count > 0, "the answer ended: {heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
}

//! DNS as tools ask it: HAProxy finds its servers and their weights by SRV records, dnsmasq forwards the domain, and `dig`
//! asks for every form of a name.
#![allow(clippy::print_stdout, reason = "figures are said where a reader looks")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use callboard_tests::backend::Backend;
use callboard_tests::http::Http;
use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::wait;
use serde_json::json;

use crate::page::Client;
use crate::{file, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn haproxy_follows_the_records_of_a_service() {
    let Some(program) = needs::program("haproxy") else { return };
    let node = Node::dev();
    let backends = [Backend::start("one"), Backend::start("two"), Backend::start("three")];
    let register = |number: usize, weight: u32| {
        let body = json!({"ID": format!("web-{number}"), "Name": "web", "Address": "127.0.0.1",
            "Port": backends[number].address.port(), "Check": {"TTL": "10m", "Status": "passing"},
            "Weights": {"Passing": weight, "Warning": 1}});
        node.http.put_json("/v1/agent/service/register", &body);
    };
    // HAProxy keeps a 256th of a record's weight.
    register(0, 192 * 256);
    register(1, 64 * 256);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (port, stats) = (free_port(), free_port());
    let dns = node.dns().address.port();
    let fields = [("dns", dns.to_string()), ("port", port.to_string()), ("stats", stats.to_string())];
    let settings = filled("haproxy.cfg", folder.path(), &fields);
    let mut haproxy = Command::new(program);
    let mut haproxy = Process::start(haproxy.args(["-db", "-f"]).arg(settings));
    let proxy =
        Proxy { web: Http::new(([127, 0, 0, 1], port).into()), stats: Http::new(([127, 0, 0, 1], stats).into()) };
    let ports = |wanted: &[(usize, u32)]| -> BTreeMap<u16, u32> {
        wanted.iter().map(|(number, weight)| (backends[*number].address.port(), *weight)).collect()
    };
    wait::until_true("two servers with their weights", PATIENCE, || proxy.servers() == ports(&[(0, 192), (1, 64)]));

    let before = [backends[0].asked(), backends[1].asked()];
    for _ in 0..80 {
        assert_eq!(proxy.web.get("/").status, 200);
    }
    let shares = [backends[0].asked() - before[0], backends[1].asked() - before[1]];
    assert!(
        (58..=62).contains(&shares[0]) && shares[0] + shares[1] == 80,
        "weights 3 and 1 of 80 requests: {shares:?}"
    );

    let begun = Instant::now();
    let _ = node.http.put("/v1/agent/check/fail/service:web-0", "").ok();
    wait::until_true("the critical one to leave", PATIENCE, || proxy.servers() == ports(&[(1, 64)]));
    println!("figure: HAProxy left a critical instance after {:?}, it asks each 200 ms", begun.elapsed());
    let begun = Instant::now();
    register(2, 128 * 256);
    wait::until_true("the new one to join", PATIENCE, || proxy.servers() == ports(&[(1, 64), (2, 128)]));
    println!("figure: HAProxy found a new instance after {:?}", begun.elapsed());
    let _ = node.http.put("/v1/agent/service/deregister/web-1", "").ok();
    let _ = node.http.put("/v1/agent/service/deregister/web-2", "").ok();
    wait::until_true("nobody to be left", PATIENCE, || proxy.servers().is_empty());
    assert_eq!(proxy.web.get("/").status, 503, "the name that is gone has no server");
    haproxy.terminate();
    let _ = haproxy.wait(PATIENCE);
    let mut client = Client::new("HAProxy");
    client.did("servers come from SRV records, with their weights: 3 and 1 share 80 requests so");
    client.did("a critical instance leaves, a new one joins, and when the last is gone nobody is asked");
    client.hold();
}

struct Proxy {
    web: Http,
    stats: Http,
}

impl Proxy {
    /// Port and weight of each server that may be asked.
    fn servers(&self) -> BTreeMap<u16, u32> {
        let Ok(reply) = self.stats.request("GET", "/stats;csv;norefresh", b"") else { return BTreeMap::new() };
        let text = reply.text();
        let mut lines = text.lines();
        let Some(names) = lines.next() else { return BTreeMap::new() };
        let names: Vec<&str> = names.trim_start_matches("# ").split(',').collect();
        let column = |name: &str| names.iter().position(|known| *known == name);
        let (Some(proxy), Some(status), Some(weight), Some(address), Some(name)) =
            (column("pxname"), column("status"), column("weight"), column("addr"), column("svname"))
        else {
            return BTreeMap::new();
        };
        lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|row| row.get(proxy) == Some(&"web") && row.get(name).is_some_and(|name| name.starts_with("web")))
            .filter(|row| row.get(status).is_some_and(|status| *status == "UP" || *status == "no check"))
            .filter_map(|row| {
                let port = row.get(address)?.rsplit_once(':')?.1.parse().ok()?;
                Some((port, row.get(weight)?.parse().ok()?))
            })
            .collect()
    }
}

#[test]
fn dnsmasq_forwards_the_domain() {
    let (Some(program), Some(dig)) = (needs::program("dnsmasq"), needs::program("dig")) else { return };
    let node = company();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = free_port();
    let dns = node.dns().address.port();
    let settings = filled("dnsmasq.conf", folder.path(), &[("dns", dns.to_string()), ("port", port.to_string())]);
    let mut dnsmasq = Command::new(program);
    dnsmasq.arg("--keep-in-foreground").arg(format!("--conf-file={}", settings.display()));
    if needs::is_root() {
        dnsmasq.arg("--user=root");
    }
    let mut dnsmasq = Process::start(&mut dnsmasq);
    wait::until_true("dnsmasq to forward", PATIENCE, || {
        asked(&dig, port, &["web.service.consul", "A"]) == ["10.1.2.3"]
    });
    assert_eq!(asked(&dig, port, &["web.service.consul", "A", "+tcp"]), ["10.1.2.3"]);
    assert_eq!(asked(&dig, port, &["web.service.consul", "SRV"]), ["1 1 8080 0a010203.addr.dc1.consul."]);
    assert_eq!(asked(&dig, port, &["0a010203.addr.dc1.consul", "A"]), ["10.1.2.3"]);
    assert_eq!(asked(&dig, port, &["n1.node.consul", "A"]), ["127.0.0.1"]);
    assert_eq!(asked(&dig, port, &["-x", "10.1.2.3"]), ["web.service.consul."]);
    assert!(header(&dig, port, &["nobody.service.consul", "A"]).contains("status: NXDOMAIN"));
    assert!(header(&dig, port, &["example.test", "A"]).contains("status: REFUSED"), "nothing else is forwarded");

    let _ = node.http.put("/v1/agent/check/fail/service:web", "").ok();
    // A record lives for no time by default, and the absence for none either.
    wait::until_true("the critical one to leave", PATIENCE, || {
        asked(&dig, port, &["web.service.consul", "A"]).is_empty()
    });
    let _ = node.http.put("/v1/agent/check/pass/service:web", "").ok();
    wait::until_true("it to come back", PATIENCE, || asked(&dig, port, &["web.service.consul", "A"]) == ["10.1.2.3"]);
    dnsmasq.terminate();
    assert!(dnsmasq.wait(PATIENCE).success(), "{}", dnsmasq.stderr());
    let mut client = Client::new("dnsmasq");
    client.did("forwards the domain and the reverse of addresses, by UDP and TCP, and nothing else");
    client.did("a critical instance leaves and comes back");
    client.hold();
}

/// Every form of a name that this node answers, asked as people do.
#[test]
fn dig_finds_every_form_of_a_name() {
    let Some(dig) = needs::program("dig") else { return };
    let node = company();
    let port = node.dns().address.port();
    let target = "0a010203.addr.dc1.consul.";
    let record = format!("1 1 8080 {target}");
    let forms: &[(&[&str], &[&str])] = &[
        (&["n1.node.consul", "A"], &["127.0.0.1"]),
        (&["n1.node.dc1.consul", "A"], &["127.0.0.1"]),
        (&["n1.node.dc1.dc.consul", "A"], &["127.0.0.1"]),
        (&["N1.NODE.CONSUL", "A"], &["127.0.0.1"]),
        (&["n1.node.consul", "MX"], &[]),
        (&["ext.node.consul", "TXT"], &["\"rack=7\""]),
        (&["ext.node.consul", "AAAA"], &["2001:db8::7"]),
        (&["web.service.consul", "A"], &["10.1.2.3"]),
        (&["web.service.dc1.consul", "A"], &["10.1.2.3"]),
        (&["web.service.dc1.dc.consul", "A"], &["10.1.2.3"]),
        (&["web.service.consul", "ANY", "+notcp"], &["10.1.2.3"]),
        (&["web.service.consul", "A", "+tcp"], &["10.1.2.3"]),
        (&["web.service.consul", "AAAA"], &[]),
        (&["web.service.consul", "SRV"], &[&record]),
        (&["v1.web.service.consul", "SRV"], &[&record]),
        (&["v2.web.service.consul", "SRV"], &[]),
        (&["a.b.web.service.consul", "A"], &["10.1.2.3"]),
        (&["_web._tcp.service.consul", "SRV"], &[&record]),
        (&["_web._v1.service.consul", "SRV"], &[&record]),
        (&["_web._tcp.consul", "SRV"], &[&record]),
        (&["_web._tcp.dc1.consul", "SRV"], &[&record]),
        (&["_web._v2.service.consul", "SRV"], &[]),
        (&["_web._tcp.service.consul", "A"], &["10.1.2.3"]),
        (&["db.service.consul", "SRV"], &["1 1 5432 ext.node.dc1.consul."]),
        (&["web.connect.consul", "SRV"], &["1 1 21000 n1.node.dc1.consul."]),
        (&["7f000001.addr.dc1.consul", "A"], &["127.0.0.1"]),
        (&["7f000001.addr.consul", "A"], &["127.0.0.1"]),
        (&["20010db8000000000000000000000007.addr.dc1.consul", "AAAA"], &["2001:db8::7"]),
        (&["-x", "10.1.2.3"], &["web.service.consul."]),
        (&["-x", "2001:db8::7"], &["ext.node.dc1.consul."]),
        (&["consul", "NS"], &["n1.node.dc1.consul."]),
        (&["web.service.elsewhere.consul", "A"], &[]),
        (&["web.consul", "A"], &[]),
    ];
    let differing: Vec<String> = forms
        .iter()
        .map(|(question, expected)| (question, asked(&dig, port, question), expected))
        .filter(|(_, found, expected)| found.as_slice() != **expected)
        .map(|(question, found, expected)| format!("{question:?}: {found:?} instead of {expected:?}"))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
    let start = asked(&dig, port, &["consul", "SOA"]);
    assert!(start[0].starts_with("ns.consul. hostmaster.consul. "), "{start:?}");
    let status = |question: &[&str]| header(&dig, port, question);
    assert!(status(&["nobody.service.consul", "A"]).contains("status: NXDOMAIN"));
    assert!(status(&["web.service.consul", "AAAA"]).contains("status: NOERROR"));
    assert!(status(&["web.service.elsewhere.consul", "A"]).contains("status: NXDOMAIN"));
    assert!(status(&["example.test", "A"]).contains("status: REFUSED"));
    assert!(status(&["consul", "AXFR"]).contains("Transfer failed"));
    println!("figure: dig was answered as it should be for {} forms of a name", forms.len());
    let mut client = Client::new("dig");
    for (question, _) in forms {
        client.did(&format!("`{}`", question.join(" ")));
    }
    client
        .did("what is not there, has no such data, belongs to others or is a transfer is refused as the contract says");
    client.hold();
}

/// A node with a service of its own, a proxy before it, and another node that somebody registered.
fn company() -> Node {
    let node = Node::dev();
    let put = |path: &str, body: &serde_json::Value| drop(node.http.put_json(path, body));
    put(
        "/v1/agent/service/register",
        &json!({"Name": "web", "Address": "10.1.2.3", "Port": 8080, "Tags": ["v1", "a.b"],
        "Check": {"TTL": "10m", "Status": "passing"}}),
    );
    put(
        "/v1/agent/service/register",
        &json!({"Name": "web-proxy", "Kind": "connect-proxy", "Port": 21000,
        "Proxy": {"DestinationServiceName": "web"}}),
    );
    put(
        "/v1/catalog/register",
        &json!({"Node": "ext", "Address": "2001:db8::7", "NodeMeta": {"rack": "7"},
        "Service": {"Service": "db", "Port": 5432}}),
    );
    node
}

/// The answers of a question, sorted.
fn asked(dig: &Path, port: u16, question: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = run(dig, port, question, "+short").lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Everything that is said about a question.
fn header(dig: &Path, port: u16, question: &[&str]) -> String {
    run(dig, port, question, "+comments")
}

fn run(dig: &Path, port: u16, question: &[&str], form: &str) -> String {
    let output = Command::new(dig)
        .args(["@127.0.0.1", "-p", &port.to_string(), "+time=2", "+tries=2", form])
        .args(question)
        .output()
        .expect("dig starts");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Writes this suite's settings file into `folder`, with the places filled that only a run knows.
fn filled(settings: &str, folder: &Path, fields: &[(&str, String)]) -> std::path::PathBuf {
    let mut text = std::fs::read_to_string(file(settings)).expect("the suite has its settings");
    for (name, value) in fields {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    let path = folder.join(settings);
    std::fs::write(&path, text.replace("{folder}", &folder.display().to_string())).expect("a file can be written");
    path
}

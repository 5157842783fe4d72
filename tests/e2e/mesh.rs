//! What a proxy of the mesh lives on: its registration beside a service, certificates and their exchange, and who may
//! call whom.

use std::process::Command;
use std::thread;

use callboard_tests::node::Node;
use callboard_tests::wait;
use serde_json::{Value, json};

#[test]
fn a_proxy_is_registered_with_its_service_and_goes_with_it() {
    let node = Node::dev();
    let http = node.http;
    let register = |id: &str| {
        let body = json!({"ID": id, "Name": "web", "Port": 80, "Tags": ["v1"], "Connect": {"SidecarService":
            {"Proxy": {"Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}]}}}});
        http.put_json("/v1/agent/service/register", &body);
    };
    register("web1");
    register("web2");
    register("web1");
    let services = http.get("/v1/agent/services").ok().json();
    let proxy = &services["web1-sidecar-proxy"];
    assert_eq!((&proxy["Kind"], &proxy["Service"]), (&json!("connect-proxy"), &json!("web-sidecar-proxy")));
    assert_eq!((&proxy["Port"], &services["web2-sidecar-proxy"]["Port"]), (&json!(21000), &json!(21001)));
    assert_eq!(proxy["Tags"], json!(["v1"]));
    let expected = json!({"DestinationServiceName": "web", "DestinationServiceID": "web1", "Mode": "", "Expose": {},
        "LocalServiceAddress": "127.0.0.1", "LocalServicePort": 80, "MeshGateway": {},
        "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191, "MeshGateway": {}}]});
    assert_eq!(proxy["Proxy"], expected);
    let found = http.get("/v1/health/connect/web").ok().json();
    assert_eq!(found.as_array().map(Vec::len), Some(2), "{found}");
    let checks = http.get("/v1/agent/checks").ok().json();
    let names: Vec<&Value> = checks.as_object().expect("an object").values().map(|check| &check["Name"]).collect();
    assert!(names.contains(&&json!("Connect Sidecar Listening")), "{names:?}");
    assert!(names.contains(&&json!("Connect Sidecar Aliasing web1")), "{names:?}");

    let nested = json!({"Name": "a", "Connect": {"SidecarService": {"Connect": {"SidecarService": {}}}}});
    let refused = http.put("/v1/agent/service/register", nested.to_string());
    assert!(refused.status == 400 && refused.text().starts_with("Invalid SidecarService: "), "{}", refused.text());
    let _ = http.put("/v1/agent/service/deregister/web1", "").ok();
    let left = http.get("/v1/agent/services").ok().json();
    let left: Vec<&String> = left.as_object().expect("an object").keys().collect();
    assert_eq!(left, ["web2", "web2-sidecar-proxy"]);
}

#[test]
fn who_waits_for_a_certificate_gets_a_new_one_when_the_root_is_exchanged() {
    let node = Node::dev();
    let http = node.http;
    let roots = http.get("/v1/connect/ca/roots").ok();
    let old = roots.json()["Roots"][0]["RootCert"].as_str().expect("PEM").to_owned();
    let leaf = http.get("/v1/agent/connect/ca/leaf/web").ok();
    let same = http.get("/v1/agent/connect/ca/leaf/web").ok();
    assert_eq!(leaf.json(), same.json(), "it is made once");

    let (leaf_index, roots_index) = (leaf.index(), roots.index());
    let waits = [
        format!("/v1/agent/connect/ca/leaf/web?index={leaf_index}&wait=60s"),
        format!("/v1/agent/connect/ca/roots?index={roots_index}&wait=60s"),
    ];
    let waits = waits.map(|path| thread::spawn(move || http.get(&path).ok()));
    node.until_waiters(2);
    let settings = json!({"Provider": "consul", "Config": {"PrivateKeyType": "ec", "PrivateKeyBits": 384}});
    let _ = http.put("/v1/connect/ca/configuration", settings.to_string()).ok();
    let [leaf, roots] = waits.map(|wait| wait.join().expect("the waiter is answered"));
    assert!(leaf.index() > leaf_index && roots.index() > roots_index);
    let roots = roots.json();
    assert_eq!(roots["Roots"].as_array().map(Vec::len), Some(2));
    let new = roots["Roots"].as_array().expect("a list").iter().find(|root| root["Active"] == true).expect("one signs");
    assert_eq!((&new["PrivateKeyBits"], &new["ID"]), (&json!(384), &roots["ActiveRootID"]));
    // What the new root signed is trusted by whoever trusts the old one, or the new one alone.
    let folder = tempfile::tempdir().expect("a folder");
    let chain = folder.path().join("chain.pem");
    std::fs::write(&chain, leaf.json()["CertPEM"].as_str().expect("PEM")).expect("written");
    for root in [old.as_str(), new["RootCert"].as_str().expect("PEM")] {
        let trusted = folder.path().join("root.pem");
        std::fs::write(&trusted, root).expect("written");
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-CAfile"]).arg(&trusted).arg("-untrusted").arg(&chain).arg(&chain);
        if let Ok(said) = openssl.output() {
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
    }
    let refused = http.put("/v1/connect/ca/configuration", r#"{"Provider":"vault"}"#);
    assert_eq!(refused.status, 400, "{}", refused.text());
    let shown = http.get("/v1/connect/ca/configuration").ok().text();
    assert!(shown.contains("384") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn many_write_intentions_of_one_service_and_none_is_lost() {
    let node = Node::dev();
    let http = node.http;
    let writers: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                let path = format!("/v1/connect/intentions/exact?source=s{number}&destination=web");
                http.put(&path, r#"{"Action":"allow"}"#).ok().json()
            })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.join().expect("the writer is answered"), json!(true));
    }
    let filtered = http.get("/v1/connect/intentions?filter=SourceName==s3%20and%20Action==allow").ok().json();
    assert_eq!(filtered.as_array().map(Vec::len), Some(1), "{filtered}");
    let made = json!({"SourceName": "*", "DestinationName": "web", "Action": "deny", "Description": "rest", "Meta": {"a": "b"}});
    let made = http.request("POST", "/v1/connect/intentions", made.to_string().as_bytes()).expect("an answer").ok();
    let id = made.json()["ID"].as_str().expect("an id").to_owned();
    let all = http.get("/v1/connect/intentions").ok().json();
    let precedences: Vec<&Value> = all.as_array().expect("a list").iter().map(|one| &one["Precedence"]).collect();
    assert_eq!((precedences.len(), precedences[8]), (9, &json!(8)), "those that count first come first");
    let one = http.get(&format!("/v1/connect/intentions/{id}")).ok().json();
    assert_eq!((&one["Description"], &one["Meta"]), (&json!("rest"), &json!({"a": "b"})));
    let allowed = |source: &str| {
        http.get(&format!("/v1/connect/intentions/check?source={source}&destination=web")).ok().json()["Allowed"]
            == true
    };
    assert!(allowed("s0") && !allowed("other"));
    let _ = http.put(&format!("/v1/connect/intentions/{id}"), r#"{"Action":"allow"}"#).ok();
    assert!(allowed("other"));
    assert_eq!(http.delete(&format!("/v1/connect/intentions/{id}")).ok().json(), json!(true));
    assert_eq!(http.get(&format!("/v1/connect/intentions/{id}")).status, 404);
    for number in 0..8 {
        let _ = http.delete(&format!("/v1/connect/intentions/exact?source=s{number}&destination=web")).ok();
    }
    wait::until_true("the entry goes with its last source", std::time::Duration::from_secs(5), || {
        http.get("/v1/config/service-intentions").ok().json() == json!([])
    });
    let by = http.get("/v1/connect/intentions/match?name=web");
    assert_eq!((by.status, by.text().contains("'by'")), (400, true), "{}", by.text());
}

//! Settings by example: lines of data against one helper that knows the way from texts to [`Config`].

use callboard_proto::acl::Fallback;
use serde_json::{Value, json};

use super::environment::Environment;
use super::file::FileConfig;
use super::keys::{self, Shape, Shaped as _};
use super::sources::{Format, Origin, Sources};
use super::template::Host;
use super::*;
use crate::acl::{Secret, TokenUse};

fn host() -> Host {
    Host {
        name: Some("box".to_owned()),
        interfaces: vec![
            ("lo".to_owned(), "127.0.0.1".parse().unwrap()),
            ("eth0".to_owned(), "10.1.2.3".parse().unwrap()),
            ("eth0".to_owned(), "fd00::3".parse().unwrap()),
            ("eth1".to_owned(), "203.0.113.9".parse().unwrap()),
        ],
        outward: "10.1.2.3".parse().unwrap(),
    }
}

/// What fragments and flags come to.
fn settle(flags: &AgentFlags, fragments: &[&str]) -> Result<Config, String> {
    let flags = AgentFlags { hcl: fragments.iter().map(ToString::to_string).collect(), ..flags.clone() };
    let sources = resolve::gather(&flags, &Environment::default()).map_err(|error| error.to_string())?;
    resolve::resolve(flags.is_dev(), sources, &host()).map_err(|error| error.to_string())
}

fn dev() -> AgentFlags {
    AgentFlags { dev: Some(true), ..AgentFlags::default() }
}

fn wrong(fragment: &str) -> String {
    settle(&dev(), &[fragment]).map(|config| format!("{config:#?}")).expect_err("settings that are wrong")
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let check = |fragment: &str, expect: &str| {
        let error = wrong(fragment);
        assert!(error.ends_with(expect), "{fragment}: {error}");
    };
    check("datacentre = \"x\"", "invalid config key datacentre; did you mean datacenter?");
    check("ports { htp = 1 }", "invalid config key ports.htp; did you mean ports.http?");
    check("kv_max_value_size = 1", "invalid config key kv_max_value_size; did you mean limits.kv_max_value_size?");
    check("acl { token = { agent = \"x\" } }", "invalid config key acl.token; did you mean acl.tokens?");
    check("qqqqqqqqqqqq = 1", "invalid config key qqqqqqqqqqqq");
}

#[test]
fn what_is_wrong_is_named() {
    let check = |fragment: &str, part: &str| {
        let error = wrong(fragment);
        assert!(error.contains(part), "{fragment}: {error}");
    };
    check("bind_addr = \"x\"", "bind_addr: \"x\" is not an IP address");
    check("bind_addr = \"{{ GetPrivateIPs }}\"", "bind_addr: \"{{ GetPrivateIPs }}\" stands for 2 addresses");
    check("client_addr = \"{{ GetDefaultInterfaces }}\"", "the template \"GetDefaultInterfaces\" is not known");
    check("client_addr = \"{{ GetInterfaceIP \\\"wlan0\\\" }}\"", "no address of this host fits");
    check("client_addr = \"{{ GetPrivateIP\"", "does not close it");
    check("addresses { dns = \"unix:///x\" }", "addresses.dns: DNS is not served on a Unix socket");
    check("datacenter = \"a b\"", "datacenter: \"a b\" must be");
    check("primary_datacenter = \"other\"", "primary_datacenter: there is only one");
    check("log_level = \"loud\"", "log_level: \"loud\" is none of");
    check("ports = { http = 70000 }", "ports.http: 70000 is not -1 (off) or 0 to 65535");
    check("ports = { server = -1 }", "ports.server: cannot be turned off");
    check("ports = { http = \"8500\" }", "-hcl: ports.http: a text found, a whole number expected");
    check("recursors = [\"dns.example\"]", "recursors: \"dns.example\"");
    check("session_ttl_min = 10", "session_ttl_min: the number 10 found, a duration");
    check("session_ttl_min = \"25h\"", "session_ttl_min: must be at most 24h");
    check("bootstrap = true\nbootstrap_expect = 3", "bootstrap_expect: cannot be given together with bootstrap");
    check("encrypt = \"c2hvcnQ=\"", "encrypt: the key has 5 bytes");
    check("encrypt = \"???\"", "encrypt: the key must be base64");
    check("performance { raft_multiplier = 11 }", "performance.raft_multiplier: must be 1 to 10");
    check("config_entries {\n bootstrap = [{ kind = \"odd\", name = \"x\" }]\n}", "config_entries.bootstrap[0]: ");
    check("acl { default_policy = \"maybe\" }", "acl.default_policy: \"maybe\" is none of allow, deny");
    check("limits { request_limits = { mode = \"x\" } }", "limits.request_limits.mode");
    check("limits { kv_max_value_size = 99999999999 }", "limits.kv_max_value_size: 99999999999 is too large");
    check("limits { kv_max_value_size = -1 }", "limits.kv_max_value_size: the number -1 found, a whole number that");
    check("http_config { allow_write_http_from = [\"x\"] }", "http_config.allow_write_http_from: \"x\" is no network");
    check("http_config { response_headers = { \"a b\" = \"c\" } }", "http_config.response_headers.a b");
    check("http_config { block_endpoints = [\"v1/kv\"] }", "http_config.block_endpoints");
    check("tls { https = { cert_file = \"a\" } }", "tls.https: cert_file and key_file must be given together");
    check("verify_incoming = true", "tls.https.verify_incoming: callers cannot be verified without ca_file");
    check("ports { https = 8501 }", "tls.https.cert_file: ports.https is on");
    check("connect { ca_provider = \"vault\" }", "connect.ca_provider: \"vault\" is not supported");
    check("unix_sockets { mode = \"999\" }", "unix_sockets.mode");
    check("node_id = \"x\"", "node_id: \"x\" is not a UUID");
    check("check_output_max_size = 0", "check_output_max_size: 0 bytes");
    check("service { name = \"\" }", "-hcl: service.0: Missing service name");
    check("services = [{ name = \"a\", prt = 1 }]", "services.0: json: unknown field \"prt\"");
    check("check { name = \"a\" }", "check.0:");
    check(
        "dns_config { soa = { ttl = 1 } }",
        "invalid config key dns_config.soa.ttl; did you mean dns_config.soa.min_ttl?",
    );
    check("a = [", "-hcl: ");
}

#[test]
fn a_node_that_is_not_for_developers_needs_a_folder() {
    let error = settle(&AgentFlags::default(), &[]).map(|_| ()).unwrap_err();
    assert!(error.starts_with("data_dir cannot be empty"), "{error}");
    assert_eq!(
        settle(&AgentFlags::default(), &["data_dir = \"/x\""]).map(|config| config.data_dir),
        Ok(Some("/x".into()))
    );
}

#[test]
fn flags_win_over_files_and_files_over_defaults() {
    let flags = AgentFlags { http_port: Some(0), node: Some("n1".into()), ..dev() };
    let fragment = "datacenter = \"DC7\"\nbind_addr = \"127.0.0.9\"\nnode_name = \"x\"\nports = { http = 9, dns = -1 }";
    let config = settle(&flags, &[fragment]).unwrap();
    assert_eq!(config.net.http, [Address::Ip("127.0.0.1:0".parse().unwrap())]);
    assert_eq!((config.net.dns, config.net.server_port), (Vec::new(), 8300));
    assert_eq!((config.node_name.as_str(), config.datacenter.as_str()), ("n1", "dc7"));
    assert_eq!(config.net.advertise.to_string(), "127.0.0.9");
    assert_eq!(settle(&dev(), &[]).unwrap().node_name.as_str(), "box");
}

#[test]
fn later_sources_replace_join_and_append() {
    let config = settle(
        &AgentFlags { recursor: vec!["3.3.3.3".into()], node_meta: vec!["c:3".into()], ..dev() },
        &[
            "domain = \"a\"\nrecursors = [\"1.1.1.1\"]\nnode_meta { a = \"1\" }\nports { http = 1 }",
            "DOMAIN = \"b.\"\nrecursors = [\"2.2.2.2:54\"]\nnode_meta { b = \"2\" }\nports { dns = 2 }\nports { http = 3 }",
        ],
    )
    .unwrap();
    assert_eq!(config.domain, "b");
    let recursors: Vec<String> = config.recursors.iter().map(ToString::to_string).collect();
    assert_eq!(recursors, ["1.1.1.1:53", "2.2.2.2:54", "3.3.3.3:53"]);
    assert_eq!(config.node_meta.len(), 3);
    assert_eq!(config.net.http[0].to_string(), "127.0.0.1:3");
    assert_eq!(config.net.dns[0].to_string(), "127.0.0.1:2");
}

#[test]
fn addresses_may_be_several_templates_and_sockets() {
    let addresses = |fragment: &str| {
        let net = settle(&dev(), &[fragment]).unwrap().net;
        let dns = net.dns.iter().map(ToString::to_string);
        net.http.iter().map(ToString::to_string).chain(dns).collect::<Vec<_>>().join(" ")
    };
    let check = |fragment: &str, expect: &str| assert_eq!(addresses(fragment), expect, "{fragment}");
    check("", "127.0.0.1:8500 127.0.0.1:8600");
    check("client_addr = \"127.0.0.1 ::1\"", "127.0.0.1:8500 [::1]:8500 127.0.0.1:8600 [::1]:8600");
    check("client_addr = \"{{ GetPrivateIP }}\"", "10.1.2.3:8500 10.1.2.3:8600");
    check("client_addr = \"{{GetPublicIP}}\"", "203.0.113.9:8500 203.0.113.9:8600");
    check(
        "client_addr = \"127.0.0.1 {{ GetInterfaceIP \\\"eth0\\\" }}\"\nports { dns = -1 }",
        "127.0.0.1:8500 10.1.2.3:8500",
    );
    check("addresses { http = \"unix:///run/x 127.0.0.2\" }", "unix:///run/x 127.0.0.2:8500 127.0.0.1:8600");
    check("ports { http = -1 }", "127.0.0.1:8600");
    let net = settle(&AgentFlags::default(), &["data_dir = \"/x\""]).unwrap().net;
    assert_eq!((net.bind.to_string(), net.advertise.to_string()), ("0.0.0.0".to_owned(), "10.1.2.3".to_owned()));
}

#[test]
fn the_environment_stands_between_files_and_flags() {
    let environment = Environment {
        local_config: Some(r#"{"datacenter": "local", "domain": "d"}"#.to_owned()),
        bind_interface: Some("eth0".to_owned()),
        client_interface: Some("eth1".to_owned()),
        data_dir: Some("/data".to_owned()),
        ..Environment::default()
    };
    let flags = AgentFlags { domain: Some("flag".into()), ..AgentFlags::default() };
    let config = resolve::resolve(false, resolve::gather(&flags, &environment).unwrap(), &host()).unwrap();
    assert_eq!((config.datacenter.as_str(), config.domain.as_str()), ("local", "flag"));
    assert_eq!(
        (config.net.bind.to_string(), config.net.client[0].to_string()),
        ("10.1.2.3".into(), "203.0.113.9".into())
    );
    assert_eq!(config.data_dir, Some("/data".into()));
}

#[test]
fn every_notation_says_the_same() {
    let texts = [
        (Format::Hcl, "service {\n name = \"a\"\n port = 1\n check {\n  ttl = \"5s\"\n }\n}\nports { http = 1 }"),
        (Format::Json, r#"{"service": {"name": "a", "port": 1, "check": {"ttl": "5s"}}, "ports": {"http": 1}}"#),
        (Format::Toml, "[service]\nname = \"a\"\nport = 1\n[service.check]\nttl = \"5s\"\n[ports]\nhttp = 1"),
    ];
    let read = texts.map(|(format, text)| {
        let mut sources = Sources::default();
        sources.text(Origin::Given("a test"), text, format).unwrap();
        resolve::resolve(true, sources, &host()).unwrap()
    });
    assert_eq!(read[0], read[1]);
    assert_eq!(read[0], read[2]);
    let rows = read[0].definitions.rows(&read[0].node_name).unwrap();
    assert_eq!((rows.len(), rows[0].checks.len()), (1, 1));
}

#[test]
fn folders_are_read_in_lexical_order_and_strange_files_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("b.hcl", "domain = \"b\"\nservice { name = \"one\" }");
    write("a.json", r#"{"domain": "a", "service": {"name": "two"}}"#);
    write("c.toml", "alt_domain = \"c\"");
    write("readme.txt", "no settings");
    let flags = AgentFlags { config_dir: vec![folder.path().into()], ..dev() };
    let config = settle(&flags, &[]).unwrap();
    assert_eq!((config.domain.as_str(), config.alt_domain.as_deref()), ("b", Some("c")));
    assert_eq!(config.definitions.len(), 2);
    write("d.json", r#"{"nope": 1}"#);
    let error = settle(&flags, &[]).map(|_| ()).unwrap_err();
    assert!(error.contains("d.json: invalid config key nope"), "{error}");
}

/// Consul's client libraries start their suites with this.
#[test]
fn files_of_known_suites_are_taken() {
    let python = r#"{"ports": {"http": 1, "dns": -1, "https": -1, "grpc_tls": -1, "server": 2, "serf_lan": 3, "serf_wan": 4},
        "performance": {"raft_multiplier": 1}, "enable_script_checks": true, "primary_datacenter": "dc1",
        "acl": {"enabled": true, "tokens": {"initial_management": "8a4a0c5e-29d5-4f0e-a6ad-ee7d1e47ab7e"}}}"#;
    let config = settle(&dev(), &[python]).unwrap();
    assert!(config.scripts && config.acl.enabled);
    assert_eq!(config.acl.initial_management.as_ref().map(|token| token.reveal().len()), Some(36));
    assert!(!format!("{config:?}").contains("8a4a0c5e"), "secrets are not shown");
    assert_eq!(config.notes, ["ports.grpc_tls: gRPC, which Envoy is configured over, is not served"]);
}

#[test]
fn tokens_have_older_names_and_are_not_told() {
    let fragments = [
        "acl {\n enabled = true\n default_policy = \"deny\"\n tokens = { master = \"s3\", agent = \"s4\", dns = \"\" }\n}",
        "acl {\n tokens = { agent = \"s5\" }\n enable_key_list_policy = true\n}",
    ];
    let config = settle(&dev(), &fragments).unwrap();
    assert!(config.acl.enabled && config.acl.key_list_policy && config.acl.fallback == Fallback::Deny);
    assert_eq!(config.acl.initial_management, Some(Secret::new("s3")));
    assert_eq!(config.acl.tokens.get(TokenUse::Agent), Some(&Secret::new("s5")));
    assert_eq!(config.acl.tokens.get(TokenUse::Dns), None);
    let told = format!("{config:?}");
    assert!(!told.contains("s3") && !told.contains("s5"), "{told}");
}

#[test]
fn older_names_stand_for_newer_ones() {
    let fragment = "ca_file = \"ca\"\ncert_file = \"c\"\nkey_file = \"k\"\nverify_incoming_rpc = true\n\
                    tls {\n https {\n cert_file = \"hc\"\n key_file = \"hk\"\n }\n}";
    let tls = settle(&dev(), &[fragment]).unwrap().tls;
    assert_eq!(tls.https.cert_file, Some("hc".into()));
    assert_eq!(tls.internal_rpc.cert_file, Some("c".into()));
    assert_eq!((tls.https.verify_incoming, tls.internal_rpc.verify_incoming), (false, true));
}

/// A value that fits the shape, for every key there is.
fn example(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Any => json!("x"),
        Shape::Flag => json!(true),
        Shape::Whole | Shape::Count | Shape::Small => json!(1),
        Shape::Decimal => json!(1.5),
        Shape::Duration => json!("1s"),
        Shape::List(each) => json!([example(each)]),
        Shape::Map(each) => json!({"name": example(each)}),
        Shape::Table(keys) => keys.iter().map(|key| (key.name.to_owned(), example(&key.shape))).collect(),
        Shape::Unneeded(_) => json!("anything"),
    }
}

#[test]
fn every_known_key_can_be_read() {
    let mut unneeded = keys::Unneeded::new();
    let tree = keys::check::<FileConfig>(example(&FileConfig::SHAPE), &mut unneeded).unwrap();
    serde_json::from_value::<FileConfig>(tree).unwrap();
    let mut all = Vec::new();
    keys::collect(&FileConfig::SHAPE, "", &mut all);
    assert!(all.len() > 200 && unneeded.len() > 60, "{} keys, {} of them not needed", all.len(), unneeded.len());
    let sorted: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(sorted.len(), all.len(), "no key is stated twice");
}

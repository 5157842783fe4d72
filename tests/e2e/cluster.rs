//! More than one node: joined as the suites of client libraries do it, written and read anywhere, left in good order.

use std::time::Duration;

use callboard_tests::http::Http;
use callboard_tests::wait;
use serde_json::Value;

use crate::member::{LONG, Member, bootstrapped, text, until_led};

/// The serfHealth of a node as one member's catalog has it.
fn health(member: &Member, node: &str) -> Option<String> {
    let checks = member.get(&format!("/v1/health/node/{node}"))?;
    let checks = checks.as_array()?.clone();
    checks.iter().find(|check| check["CheckID"] == "serfHealth").map(|check| text(&check["Status"]))
}

#[test]
fn a_server_and_two_members_that_do_not_vote_are_one_cluster() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = bootstrapped("node1", dir.path());
    let two = Member::start("node2", dir.path(), &[]);
    let three = Member::start("node3", dir.path(), &[]);
    // Without a leader the agent's own routes answer, and the rest says so.
    assert_eq!(two.members(), [("node2".to_owned(), 1)]);
    assert_eq!(two.get("/v1/agent/services"), Some(serde_json::json!({})));
    assert_eq!(text(&two.get("/v1/status/leader").expect("an answer")), "");
    two.join(&one);
    one.join(&three);
    let all: Vec<_> = ["node1", "node2", "node3"].map(|name| (name.to_owned(), 1)).into();
    assert_eq!(one.members(), all);
    assert_eq!(three.members(), all);
    wait::until_true("all members everywhere", LONG, || two.members() == all);
    for member in [&one, &two, &three] {
        for node in ["node1", "node2", "node3"] {
            wait::until_true(&format!("{node} at {}", member.name), LONG, || {
                health(member, node).as_deref() == Some("passing")
            });
        }
        assert_eq!(member.get("/v1/status/leader"), one.get("/v1/status/leader"), "{}", member.name);
        assert_eq!(member.get("/v1/status/peers").expect("peers").as_array().map(Vec::len), Some(1));
    }
    // Whoever writes somewhere reads it there at once, and everybody else by asking the leader.
    for (n, member) in [&one, &two, &three].into_iter().enumerate() {
        member.put(&format!("/v1/kv/from/{n}"), b"x");
        for reader in [member, &one, &two, &three] {
            assert!(reader.get(&format!("/v1/kv/from/{n}")).is_some(), "{} of {}", reader.name, member.name);
        }
        assert!(member.get(&format!("/v1/kv/from/{n}?stale")).is_some());
    }
    sessions_and_beats_work_anywhere(&two, &three);
    graceful_leave(two, &[&one, &three]);
}

fn sessions_and_beats_work_anywhere(one: &Member, other: &Member) {
    let created = one.put("/v1/session/create", br#"{"TTL":"10s","LockDelay":"0s"}"#);
    let id = text(&created["ID"]);
    assert_eq!(other.put(&format!("/v1/session/renew/{id}"), b"")[0]["ID"], created["ID"]);
    assert_eq!(other.put(&format!("/v1/kv/lock?acquire={id}"), b""), true);
    assert_eq!(one.put(&format!("/v1/kv/lock?acquire={id}"), b""), true);
    let unknown = "00000000-0000-0000-0000-000000000000";
    assert_eq!(one.http.put(&format!("/v1/session/renew/{unknown}"), b"").status, 404);
    let service = br#"{"name":"web","port":80,"check":{"ttl":"30s"}}"#;
    one.put("/v1/agent/service/register", service);
    one.put("/v1/agent/check/pass/service:web", b"");
    let found = other.get("/v1/health/service/web?passing").expect("an answer");
    assert_eq!(found[0]["Node"]["Node"], Value::from(one.name.as_str()));
}

fn graceful_leave(mut leaver: Member, others: &[&Member]) {
    leaver.put("/v1/agent/leave", b"");
    let ended = leaver.process.wait(Duration::from_secs(5));
    assert!(ended.success(), "{ended:?}\n{}", leaver.process.stderr());
    for other in others {
        wait::until_true("the member to have left", LONG, || other.members().contains(&(leaver.name.clone(), 3)));
        wait::until_true("the node to be deregistered", LONG, || {
            other.get(&format!("/v1/catalog/node/{}", leaver.name)) == Some(Value::Null)
        });
    }
}

#[test]
fn three_servers_begin_together_and_lose_nothing_when_their_leader_is_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = ["-server", "-bootstrap-expect", "3"];
    let mut servers: Vec<Member> = ["s1", "s2", "s3"].map(|name| Member::start(name, dir.path(), &flags)).into();
    servers[1].join(&servers[0]);
    servers[2].join(&servers[0]);
    servers.iter().for_each(until_led);
    let leader = text(&servers[0].get("/v1/status/leader").expect("a leader"));
    let of = |member: &Member| {
        let own = member.get("/v1/agent/self").expect("itself");
        format!("127.0.0.1:{}", text(&own["Member"]["Tags"]["port"]))
    };
    let mut acknowledged: Vec<String> = Vec::new();
    for n in 0..60 {
        let key = format!("before/{n}");
        servers[n % 3].put(&format!("/v1/kv/{key}"), b"x");
        acknowledged.push(key);
    }
    let at = servers.iter().position(|member| of(member) == leader).expect("the leader is one of them");
    let mut killed = servers.remove(at);
    killed.process.kill();
    // Writes are tried until they are taken again: whoever is asked finds the new leader by itself.
    for n in 0..60 {
        let key = format!("after/{n}");
        wait::until_true("a write to be taken", LONG, || {
            let reply = servers[n % 2].http.request("PUT", &format!("/v1/kv/{key}"), b"x");
            reply.is_ok_and(|reply| reply.status == 200)
        });
        acknowledged.push(key);
    }
    for key in &acknowledged {
        for server in &servers {
            assert!(server.get(&format!("/v1/kv/{key}")).is_some(), "{key} is lost on {}", server.name);
            assert!(server.get(&format!("/v1/kv/{key}?consistent")).is_some(), "{key} is lost on {}", server.name);
        }
    }
    for server in &servers {
        assert_ne!(server.get("/v1/status/leader"), Some(Value::from(leader.as_str())));
        wait::until_true("its health to be critical", LONG, || {
            health(server, &killed.name).as_deref() == Some("critical")
        });
    }
}

/// How many servers the leader knows, and how many of them vote and are healthy, as one member hears it.
fn judged(member: &Member) -> Option<(u16, usize, usize, usize)> {
    let reply = member.http.request("GET", "/v1/operator/autopilot/health", b"").ok()?;
    let health = reply.json();
    let servers = health["Servers"].as_array()?;
    let count = |key: &str| servers.iter().filter(|server| server[key] == true).count();
    Some((reply.status, servers.len(), count("Voter"), count("Healthy")))
}

/// How many servers can fail, as a member says.
fn tolerance(member: &Member) -> Option<u64> {
    member.get("/v1/operator/autopilot/health")?["FailureTolerance"].as_u64()
}

#[test]
fn the_settings_of_autopilot_are_everybodys_and_act_when_they_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = "/v1/operator/autopilot/configuration";
    // What the first leader is told counts, and not what the others are told. Builds share the machine with this test.
    let first = r#"{"autopilot": {"server_stabilization_time": "1000h", "last_contact_threshold": "20s"}}"#;
    let one = Member::configured("node1", dir.path(), &["-bootstrap", "-server"], first);
    let two = Member::start("node2", dir.path(), &["-server"]);
    let mut three = Member::start("node3", dir.path(), &["-server"]);
    until_led(&one);
    two.join(&one);
    three.join(&one);
    wait::until_true("three servers", LONG, || judged(&two) == Some((200, 3, 1, 3)));
    let mut config = two.get(path).expect("settings");
    assert_eq!(config["ServerStabilizationTime"], "1000h0m0s");
    assert_eq!(config["LastContactThreshold"], "20s");
    let state = three.get("/v1/operator/autopilot/state").expect("a state");
    let servers: Vec<&Value> = state["Servers"].as_object().expect("an object").values().collect();
    let status = |name: &str| servers.iter().find(|server| server["Name"] == name).map(|server| &server["Status"]);
    assert_eq!(status("node1"), Some(&Value::from("leader")));
    assert_eq!(status("node2"), Some(&Value::from("non-voter")));
    assert_eq!(state["Voters"], serde_json::json!([state["Leader"]]));

    // A new server need not have been up for any time any more.
    config["ServerStabilizationTime"] = "0s".into();
    config["CleanupDeadServers"] = false.into();
    let body = config.to_string();
    let index = config["ModifyIndex"].as_u64().expect("an index");
    assert_eq!(two.put(&format!("{path}?cas={}", index + 1), body.as_bytes()), false);
    assert_eq!(two.put(&format!("{path}?cas={index}"), body.as_bytes()), true);
    assert_eq!(three.get(path).expect("settings")["ServerStabilizationTime"], "0s");
    wait::until_true("three votes", LONG, || judged(&three) == Some((200, 3, 3, 3)));
    // The third voter shows once its coming is in the leader's log. Until that is agreed on, nobody can be missed.
    wait::until_true("one to be dispensable", LONG, || tolerance(&three) == Some(1));

    // Nobody takes the vote of a server that failed until that is asked for.
    three.process.kill();
    wait::until_true("it to be missed", LONG, || judged(&two) == Some((429, 3, 3, 2)));
    config["CleanupDeadServers"] = true.into();
    assert_eq!(two.put(path, config.to_string().as_bytes()), true);
    wait::until_true("its vote to go", LONG, || judged(&one) == Some((200, 2, 2, 2)));
}

#[test]
fn a_member_that_is_killed_fails_and_can_be_taken_for_one_that_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = bootstrapped("node1", dir.path());
    let mut two = Member::start("node2", dir.path(), &[]);
    two.join(&one);
    wait::until_true("its node", LONG, || health(&one, "node2").as_deref() == Some("passing"));
    // A member that is alive shows as leaving for a while, and stays.
    one.put("/v1/agent/force-leave/node2", b"");
    assert!(one.members().contains(&("node2".to_owned(), 2)), "{:?}", one.members());
    wait::until_true("it to stay", LONG, || one.members().contains(&("node2".to_owned(), 1)));
    let unknown = one.http.put("/v1/agent/force-leave/nobody", b"");
    assert_eq!((unknown.status, unknown.text().as_str()), (500, "agent: No node found with name 'nobody'"));
    two.process.kill();
    wait::until_true("it to fail", LONG, || one.members().contains(&("node2".to_owned(), 4)));
    wait::until_true("its health to be critical", LONG, || health(&one, "node2").as_deref() == Some("critical"));
    one.put("/v1/agent/force-leave/node2", b"");
    assert!(one.members().contains(&("node2".to_owned(), 3)));
    wait::until_true("its node to go", LONG, || one.get("/v1/catalog/node/node2") == Some(Value::Null));
}

#[test]
fn nodes_with_certificates_take_nothing_from_one_that_has_none() {
    let dir = tempfile::tempdir().expect("a folder");
    crate::tls::certificates(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let settings = serde_json::json!({"tls": {"internal_rpc": {
        "ca_file": file("consul-agent-ca.pem"), "cert_file": file("dc1-server-consul-0.pem"),
        "key_file": file("dc1-server-consul-0-key.pem"), "verify_incoming": true, "verify_outgoing": true,
        "verify_server_hostname": true,
    }}});
    let settings = settings.to_string();
    let one = Member::configured("node1", dir.path(), &["-bootstrap", "-server"], &settings);
    until_led(&one);
    let two = Member::configured("node2", dir.path(), &[], &settings);
    two.join(&one);
    wait::until_true("its node", LONG, || health(&one, "node2").as_deref() == Some("passing"));
    // Writes are passed on, and reads ask the leader, inside TLS.
    two.put("/v1/kv/secret", b"x");
    assert!(one.get("/v1/kv/secret").is_some());

    // Whoever has no certificate of the authority is not understood: not in plain, and not in TLS either.
    let own = one.get("/v1/agent/self").expect("itself");
    let port = text(&own["Member"]["Tags"]["port"]).parse::<u16>().expect("a port");
    let plain = Http::new(([127, 0, 0, 1], port).into());
    assert!(plain.request("POST", "/internal/gossip", b"").is_err(), "a plain message was answered");
    let three = Member::start("node3", dir.path(), &[]);
    three.join(&one);
    wait::until_true("it to be a member", LONG, || one.members().iter().any(|(name, _)| name == "node3"));
    let refused = three.http.put("/v1/kv/from-outside", b"x");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert_eq!(one.http.get("/v1/kv/from-outside").status, 404);
}

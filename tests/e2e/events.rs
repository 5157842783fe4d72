//! What is said on one node is heard on all, by those whom it is for.

use std::process::Command;
use std::thread;

use callboard_tests::network::Network;
use callboard_tests::{binaries, needs, wait};
use serde_json::{Value, json};

use crate::member::{LONG, Member, bootstrapped, text, until_led};

/// The events that a member lists, by name, with their Lamport times.
fn listed(member: &Member) -> Vec<(String, u64)> {
    answered(member).expect("the member answers")
}

/// The same, as long as the member can be reached.
fn answered(member: &Member) -> Option<Vec<(String, u64)>> {
    let row = |event: &Value| (text(&event["Name"]), event["LTime"].as_u64().expect("a time"));
    let events = member.get("/v1/event/list")?;
    Some(events.as_array().expect("events are a list").iter().map(row).collect())
}

/// Whether it can be reached and lists an event.
fn has(member: &Member, name: &str) -> bool {
    answered(member).is_some_and(|events| events.iter().any(|(listed, _)| listed == name))
}

#[test]
fn an_event_is_listed_on_every_node_that_it_is_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = bootstrapped("node1", dir.path());
    let two = Member::start("node2", dir.path(), &[]);
    let three = Member::start("node3", dir.path(), &[]);
    two.join(&one);
    three.join(&one);
    let all = [&one, &two, &three];
    for member in all {
        wait::until_true("all members", LONG, || member.members().len() == 3);
    }
    wait::until_true("a service of its own", LONG, || {
        let service = br#"{"name": "web", "tags": ["v1"]}"#;
        two.http.request("PUT", "/v1/agent/service/register", service).is_ok_and(|reply| reply.status == 200)
    });

    // Readers everywhere wait on an empty list; one event wakes them all, once, with itself.
    let waiting: Vec<_> = all
        .map(|member| {
            let http = member.http;
            thread::spawn(move || http.get("/v1/event/list?index=1&wait=60s").ok())
        })
        .into();
    let fired = two.put("/v1/event/fire/deploy", b"payload");
    assert_eq!(fired["LTime"], 0);
    assert!(has(&two, "deploy"), "whoever fires sees it at once");
    let mut seen = Vec::new();
    for waiter in waiting {
        let reply = waiter.join().expect("the reader ended");
        let heard = reply.json();
        assert_eq!(heard.as_array().map(Vec::len), Some(1), "{heard}");
        let event = &heard[0];
        assert_eq!((&event["ID"], &event["Payload"]), (&fired["ID"], &json!("cGF5bG9hZA==")));
        seen.push((event["LTime"].clone(), reply.index()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "the time and the index are the same everywhere: {seen:?}");

    // Every receiver decides by itself: the service is on the second node alone, and the name is the third's.
    one.put("/v1/event/fire/for-web?service=web&tag=v1", b"");
    one.put("/v1/event/fire/for-three?node=3$", b"");
    one.put("/v1/event/fire/for-nobody?service=web&tag=v2", b"");
    three.put("/v1/event/fire/for-all", b"");
    wait::until_true("the event of the service", LONG, || has(&two, "for-web"));
    wait::until_true("the event of the node", LONG, || has(&three, "for-three"));
    for member in all {
        wait::until_true("the event of all", LONG, || has(member, "for-all"));
        let names: Vec<String> = listed(member).into_iter().map(|(name, _)| name).collect();
        assert!(!names.contains(&"for-nobody".to_owned()), "{}: {names:?}", member.name);
        assert_eq!(names.contains(&"for-web".to_owned()), member.name == "node2", "{}: {names:?}", member.name);
        assert_eq!(names.contains(&"for-three".to_owned()), member.name == "node3", "{}: {names:?}", member.name);
        // Lamport: whoever heard of an event fires later ones at a later time.
        let time = |name: &str| listed(member).into_iter().find(|(listed, _)| listed == name).expect("it is listed").1;
        assert!(time("for-all") > time("deploy"));
    }
    let tagged = one.http.put("/v1/event/fire/x?tag=v1", b"");
    assert_eq!((tagged.status, tagged.text().as_str()), (500, "Cannot provide tag filter without service filter"));
    let large = one.http.put("/v1/event/fire/x", [0; 512]);
    assert_eq!(large.status, 500, "{}", large.text());
}

#[test]
fn a_member_that_was_cut_off_hears_afterwards_what_was_said() {
    let Some(_) = needs::program("ip") else { return };
    if !needs::is_root() {
        return needs::missing("the right to make a network");
    }
    let network = Network::make("events").expect("root can make a network");
    let dir = tempfile::tempdir().expect("a folder");
    let control = binaries::control();
    let one = Member::at(&network.near, Command::new(&control), "node1", dir.path(), &["-bootstrap", "-server"], "{}");
    until_led(&one);
    one.put("/v1/event/fire/alone", b"");
    let two = Member::at(&network.far, network.inside(&control), "node2", dir.path(), &[], "{}");
    two.join(&one);
    for member in [&one, &two] {
        wait::until_true("both members", LONG, || member.members().len() == 2);
    }
    one.put("/v1/event/fire/before", b"");
    wait::until_true("an event of both", LONG, || has(&two, "before"));

    network.pull().expect("a cable can be pulled");
    let failed = ("node2".to_owned(), 4);
    wait::until_true("the other to be taken to have failed", LONG, || one.members().contains(&failed));
    one.put("/v1/event/fire/missed", b"");
    // The other is there all the same, and is spoken to from its own side.
    let mut fire = network.inside(&control);
    fire.args(["event", "-http-addr", &two.http.address.to_string(), "-name", "from-afar"]);
    let fired = fire.output().expect("the program starts");
    assert!(fired.status.success(), "{}", String::from_utf8_lossy(&fired.stderr));
    network.plug().expect("a cable can be plugged in");

    wait::until_true("what was said here", LONG, || has(&two, "missed"));
    wait::until_true("what was said there", LONG, || has(&one, "from-afar"));
    let names = |member: &Member| {
        let mut names: Vec<String> = listed(member).into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&one), ["alone", "before", "from-afar", "missed"], "each once");
    assert_eq!(names(&two), ["before", "from-afar", "missed"], "what was said before they met is not for it");
}

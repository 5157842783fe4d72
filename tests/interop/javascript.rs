//! The npm package `consul`: every method of it, and its watch above all, which treats a missing index as fatal and every
//! moved index as news.
#![allow(clippy::print_stdout, reason = "figures are said where a reader looks")]

use std::process::Command;
use std::time::Duration;

use callboard_tests::description;
use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use serde_json::{Value, json};

use crate::file;
use crate::methods::{Guest, TOKEN, guarded};
use crate::page::Client;

#[test]
fn the_watch_of_node_consul_sees_every_change_and_nothing_else() {
    let node = Node::dev();
    let Some(said) = run("node_consul.mjs", &node.http.address.port().to_string()) else { return };
    assert!(said.ends_with("done\n"), "it ends where it should");
    let mut client = Client::new("npm package consul, its watch").version(&version());
    client.did("sees that a service is absent, registered, critical, passing and deregistered, each within a second");
    client.did("sleeps while the same is written again, and while others come and go");
    client.hold();
}

#[test]
fn every_method_of_node_consul_works() {
    let node = Node::dev_with(&["-enable-script-checks"]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let guarded = guarded(folder.path());
    let guest = Guest::start(folder.path());
    let settings = json!({"http": node.http.address.port(), "acl": guarded.http.address.port(), "token": TOKEN,
        "joined": guest.gossip});
    let paths = description::paths(&node.http, None);
    let Some(said) = run("node_methods.mjs", &settings.to_string()) else { return };
    let mut client = Client::new("npm package consul, every method").version(&version());
    client.methods(&said, &paths);
    client.hold();
}

/// The version of the package.
fn version() -> String {
    let path = needs::npm_modules().expect("a script has just used it").join("consul/package.json");
    let text = std::fs::read_to_string(path).expect("a package says what it is");
    let package: Value = serde_json::from_str(&text).expect("in JSON");
    package["version"].as_str().expect("with its version").to_owned()
}

/// Runs a script with the packages, shows its figures, and returns all that it said; `None` where the packages are not.
fn run(script: &str, argument: &str) -> Option<String> {
    let (program, modules) = (needs::program("node")?, needs::npm_modules()?);
    let mut command = Command::new(program);
    command.arg(file(script)).arg(modules).arg(argument);
    let mut process = Process::start(&mut command);
    let status = process.wait(Duration::from_secs(90));
    let said = process.stdout();
    assert!(status.success(), "{said}{}", process.stderr());
    for line in said.lines().filter(|line| line.starts_with("figure:")) {
        println!("{line}");
    }
    Some(said)
}

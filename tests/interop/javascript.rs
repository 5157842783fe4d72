//! The npm package `consul`, its watch above all: it treats a missing index as fatal and every moved index as news.

use std::process::Command;
use std::time::Duration;

use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;

use crate::file;

#[test]
fn the_watch_of_node_consul_sees_every_change_and_nothing_else() {
    let (Some(program), Some(modules)) = (needs::program("node"), needs::npm_modules()) else { return };
    let node = Node::dev();
    let mut command = Command::new(program);
    command.arg(file("node_consul.mjs")).arg(modules).arg(node.http.address.port().to_string());
    let mut process = Process::start(&mut command);
    let status = process.wait(Duration::from_secs(60));
    assert!(status.success(), "{}{}", process.stdout(), process.stderr());
    print!("{}", process.stdout());
    assert!(process.stdout().ends_with("done\n"), "{}", process.stdout());
}

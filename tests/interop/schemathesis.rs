//! Schemathesis makes requests of the description that the node gives of its interface, right ones and wrong ones, and
//! holds every answer against it: none may be a failure of the server, none may be outside of the description.
//!
//! Once without access control and once with it. The node lives in a network of its own, because requests name addresses
//! at will. A minute in a run of all suites, by a seed that is printed; `CALLBOARD_SCHEMATHESIS=60m` goes on for an hour;
//! each of the two has half of it.
#![allow(clippy::print_stdout, reason = "seeds and figures are said where a reader looks")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use callboard_tests::description;
use callboard_tests::namespace::Namespace;
use callboard_tests::node::{self, MANAGEMENT, Node};
use callboard_tests::process::Process;
use callboard_tests::{binaries, length, needs};
use serde_json::Value;

use crate::file;
use crate::page::Client;

/// What must not be asked: the beginning of the path, and why.
const LEFT_OUT: [(&str, &str); 8] = [
    ("/v1/agent/leave", "it ends the node"),
    ("/v1/agent/join/", "it is about other nodes"),
    ("/v1/agent/force-leave/", "it is about other nodes"),
    ("/v1/agent/monitor", "its answer goes on for ever"),
    ("/v1/agent/metrics/stream", "its answer goes on for ever"),
    ("/v1/operator/raft/", "it is about other nodes"),
    ("/v1/openapi.json", "it is the description"),
    ("/ui/", "it is a page"),
];

/// How long it goes on, with and without access control together.
const USUAL: Duration = Duration::from_secs(60);

#[test]
fn no_answer_is_outside_of_the_description() {
    tried("no_answer_is_outside_of_the_description", None);
}

#[test]
fn with_access_control_no_answer_is_outside_of_the_description() {
    tried("with_access_control_no_answer_is_outside_of_the_description", Some(MANAGEMENT));
}

/// Tries a node with access control if there is a token that may do everything on it: most requests give it, some give
/// none or a wrong one.
fn tried(name: &str, token: Option<&str>) {
    let (Some(python), Some(_)) = (needs::python("schemathesis"), needs::program("ip")) else { return };
    if !needs::is_root() {
        return needs::missing("the right to make a network");
    }
    let length = length::given("CALLBOARD_SCHEMATHESIS", USUAL).unwrap_or_else(|error| panic!("{error}")) / 2;
    let seed = std::env::var("CALLBOARD_SEED").ok().and_then(|text| text.parse::<u32>().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u32(..));
    println!("seed: {name} {seed} (CALLBOARD_SEED={seed} repeats its choices)");
    let network = Namespace::make(if token.is_some() { "schema-acl" } else { "schema" });
    let network = network.expect("root can make a network");
    let mut command = network.inside(&binaries::control());
    command.args(["agent", "-dev", "-node", "n1", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-dns-port", "-1"]);
    command.args(["-http-port", "8500"]);
    if let Some(token) = token {
        command.arg("-hcl").arg(format!(
            r#"acl {{ enabled = true default_policy = "deny" tokens {{ initial_management = "{token}" }} }}"#
        ));
    }
    let mut agent = Process::start(&mut command);
    let _ = node::addresses(&agent);

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = tester(&network, &python, folder.path(), length, seed);
    if let Some(token) = token {
        command.env("CALLBOARD_TOKEN", token);
    }
    let mut tester = Process::start(&mut command);
    let status = tester.wait(length.saturating_mul(3) + Duration::from_secs(300));
    let said = tester.stdout();
    let of = |word: &str| said.lines().rfind(|line| line.contains(word)).unwrap_or("nothing is told").trim().to_owned();
    println!("figure: {name}: {} operations; {}; {}", of("Tested: "), of("generated"), of("statuses: "));
    assert!(status.success(), "{said}\n{}", tester.stderr());
    assert!(agent.is_alive(), "{}", agent.stderr());
    // A seed and a length say how many; none at all would show nothing.
    let cases = of("generated").split(' ').next().and_then(|count| count.parse::<u32>().ok());
    assert!(cases.is_some_and(|cases| cases > 0), "no request was made: {said}");
    tell(token.is_some(), &of("Selected: "));
    if let Some(token) = token {
        // Had a request taken the token's rights away, all that came after would have been refused and nothing tried.
        let mut command = network.inside(&binaries::control());
        command.args(["acl", "token", "list", "-token", token, "-http-addr", "127.0.0.1:8500"]);
        let mut list = Process::start(&mut command);
        assert!(list.wait(Duration::from_secs(20)).success(), "{}", list.stderr());
    }
    agent.terminate();
    assert!(agent.wait(Duration::from_secs(20)).success(), "{}", agent.stderr());
}

/// Tells the page which operations were left out. `selected` is how many of how many were not, as
/// schemathesis says it.
fn tell(guarded: bool, selected: &str) {
    let paths = description::paths(&Node::dev().http, None);
    let methods = |item: &Value| item.as_object().expect("a path has operations").keys().cloned().collect::<Vec<_>>();
    let all = paths.values().map(|item| methods(item).len()).sum::<usize>();
    let title = if guarded { "schemathesis, with access control" } else { "schemathesis, without access control" };
    let mut client = Client::new(title);
    let mut left = 0;
    for (path, item) in &paths {
        let Some((_, why)) = LEFT_OUT.iter().find(|(beginning, _)| path.starts_with(beginning)) else { continue };
        for method in methods(item) {
            client.left_out(&format!("{} {path}", method.to_uppercase()), why);
            left += 1;
        }
    }
    // Whether the description counts itself among all of them is schemathesis's own affair.
    let expect = format!("Selected: {}/", all - left);
    assert!(selected.starts_with(&expect), "what is not left out is asked: {selected} instead of {expect}");
    client.did(
        "requests of every other operation, right and wrong ones by chance: no answer is outside of the description",
    );
    client.hold();
}

/// The command that makes the requests.
fn tester(network: &Namespace, python: &Path, folder: &Path, length: Duration, seed: u32) -> Command {
    let mut command = network.inside(&python.with_file_name("st"));
    command.current_dir(folder).env("SCHEMATHESIS_HOOKS", file("schemathesis_hooks.py")).env("NO_COLOR", "1");
    command.args([
        "run",
        "http://127.0.0.1:8500/v1/openapi.json",
        "--phases",
        "coverage,fuzzing",
        "--continue-on-failure",
    ]);
    command.args(["--checks", "no_failure_of_the_server,response_schema_conformance,status_code_conformance"]);
    command.args(["--suppress-health-check", "all", "--request-timeout", "30"]);
    let beginnings = LEFT_OUT.map(|(path, _)| path).join("|");
    command.args(["--exclude-path-regex", &format!("^({beginnings})")]);
    command.args(["--max-time", &length.as_secs().to_string(), "--seed", &seed.to_string()]);
    command
}

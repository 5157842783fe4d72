//! Schemathesis makes requests of the description that the node gives of its interface, right ones and wrong ones, and
//! holds every answer against it: none may be a failure of the server, none may be outside of the description.
//!
//! The node lives in a network of its own, because requests name addresses at will. A minute in a run of all suites, by
//! a seed that is printed; `CALLBOARD_SCHEMATHESIS=60m` goes on for an hour.
#![allow(clippy::print_stdout, reason = "seeds and figures are said where a reader looks")]

use std::time::Duration;

use callboard_tests::namespace::Namespace;
use callboard_tests::node;
use callboard_tests::process::Process;
use callboard_tests::{binaries, length, needs};

use crate::file;

/// What must not be asked: the end of the node, other nodes, answers that go on for ever, and pages.
const LEFT_OUT: &str = "^/v1/agent/(leave|join/|force-leave/|monitor|metrics/stream)|^/v1/operator/raft/|^/ui/";

#[test]
fn no_answer_is_outside_of_the_description() {
    let (Some(python), Some(_)) = (needs::python("schemathesis"), needs::program("ip")) else { return };
    if !needs::is_root() {
        return needs::missing("the right to make a network");
    }
    let length =
        length::given("CALLBOARD_SCHEMATHESIS", Duration::from_secs(60)).unwrap_or_else(|error| panic!("{error}"));
    let seed = std::env::var("CALLBOARD_SEED").ok().and_then(|text| text.parse::<u32>().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u32(..));
    println!("seed: no_answer_is_outside_of_the_description {seed} (CALLBOARD_SEED={seed} repeats its choices)");
    let network = Namespace::make("schema").expect("root can make a network");
    let mut command = network.inside(&binaries::control());
    command.args(["agent", "-dev", "-node", "n1", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-dns-port", "-1"]);
    command.args(["-http-port", "8500"]);
    let mut agent = Process::start(&mut command);
    let _ = node::addresses(&agent);

    let mut command = network.inside(&python.with_file_name("st"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    command.current_dir(&folder).env("SCHEMATHESIS_HOOKS", file("schemathesis_hooks.py")).env("NO_COLOR", "1");
    command.args([
        "run",
        "http://127.0.0.1:8500/v1/openapi.json",
        "--phases",
        "coverage,fuzzing",
        "--continue-on-failure",
    ]);
    command.args(["--checks", "no_failure_of_the_server,response_schema_conformance,status_code_conformance"]);
    command.args(["--suppress-health-check", "all", "--request-timeout", "30", "--exclude-path-regex", LEFT_OUT]);
    command.args(["--max-time", &length.as_secs().to_string(), "--seed", &seed.to_string()]);
    let mut tester = Process::start(&mut command);
    let status = tester.wait(length.saturating_mul(3) + Duration::from_secs(300));
    let said = tester.stdout();
    let cases = said.lines().rfind(|line| line.contains("generated")).unwrap_or("no number of cases").trim().to_owned();
    println!("figure: {cases}");
    assert!(status.success(), "{said}\n{}", tester.stderr());
    assert!(agent.is_alive(), "{}", agent.stderr());
    agent.terminate();
    assert!(agent.wait(Duration::from_secs(20)).success(), "{}", agent.stderr());
}

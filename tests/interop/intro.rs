//! The introductory program in Python: register Redis with a check, find it, use it; then Redis is stopped, the check
//! goes critical, the name goes away and the blocked query returns.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use callboard_tests::dns::{RecordType, ResponseCode};
use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::wait;

use crate::page::Client;
use crate::{file, free_port};

/// How long a step of the program may take; its check runs every second.
const STEP: Duration = Duration::from_secs(20);

#[test]
fn the_introduction_works_with_python_consul() {
    introduction("python-consul");
}

#[test]
fn the_introduction_works_with_py_consul() {
    introduction("py-consul");
}

fn introduction(package: &str) {
    let (Some(python), Some(redis_server)) = (needs::python(package), needs::program("redis-server")) else { return };
    let node = Node::dev();
    let port = free_port();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut redis = Command::new(redis_server);
    redis.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
    redis.arg("--dir").arg(folder.path());
    let mut redis = Process::start(&mut redis);
    wait::until_true("Redis", STEP, || TcpStream::connect(("127.0.0.1", port)).is_ok());

    let mut program = Command::new(python);
    program.arg(file("redis_intro.py")).args([node.http.address.port().to_string(), port.to_string()]);
    let mut program = Process::start(&mut program);
    assert_eq!(program.line(STEP), "passing");
    assert_eq!(node.dns().services("redis.service.consul"), [(port, 1)], "the name is there");
    assert_eq!(program.line(STEP), "used");
    assert_eq!(program.line(STEP), "blocked");
    node.until_waiters(1);
    redis.terminate();
    assert!(redis.wait(STEP).success(), "Redis stops");
    assert_eq!(program.line(STEP), "critical");
    assert_eq!(program.line(STEP), "gone");
    assert!(program.wait(STEP).success(), "{}", program.stderr());
    let answer = node.dns().ask("redis.service.consul", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "the name is gone");
    let mut client = Client::new(&format!("{package}, the introduction"));
    client.did("registers Redis with a check and finds it by HTTP and by DNS");
    client.did("is woken when Redis stops: the check is critical, the instance and its name are gone");
    client.hold();
}

/// The name goes away with the check, before anybody deregisters.
#[test]
fn a_stopped_redis_leaves_dns() {
    let Some(redis_server) = needs::program("redis-server") else { return };
    let node = Node::dev();
    let port = free_port();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut redis = Command::new(redis_server);
    redis.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
    redis.arg("--dir").arg(folder.path());
    let mut redis = Process::start(&mut redis);
    wait::until_true("Redis", STEP, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let check = serde_json::json!({"TCP": format!("127.0.0.1:{port}"), "Interval": "1s"});
    let register = serde_json::json!({"Name": "redis", "Port": port, "Check": check});
    node.http.put_json("/v1/agent/service/register", &register);
    let name = "redis.service.consul";
    wait::until_true("the name", STEP, || node.dns().services(name) == [(port, 1)]);
    redis.kill();
    wait::until_true("the name to go", STEP, || {
        node.dns().ask(name, RecordType::SRV).metadata.response_code == ResponseCode::NXDomain
    });
}

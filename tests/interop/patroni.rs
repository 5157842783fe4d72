//! Patroni with a real PostgreSQL: three members agree by a key of a control node who leads. The leader's Patroni and its
//! PostgreSQL are killed at once; the lock moves when the session of the dead one runs out, another member takes over
//! with what was written, and the old one comes back as a replica.
#![allow(clippy::print_stdout, reason = "figures are said where a reader looks")]

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use callboard_tests::http::Http;
use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::wait;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::page::{Client, version_of};
use crate::{file, free_port};

/// A cluster is made by one `initdb` and two copies of it.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a failover may take.
const FAILOVER: Duration = Duration::from_secs(30);

const LEADER: &str = "/v1/kv/service/batman/leader";

#[test]
fn patroni_fails_over_when_its_leader_is_killed() {
    let (Some(python), Some(programs)) = (needs::python("patroni"), needs::postgres()) else { return };
    let node = Node::dev();
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let user = User::of_postgres();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).expect("the folder is ours");
    let mut members: Vec<Member> = (1..=3)
        .map(|number| Member::start(&format!("p{number}"), home.path(), &user, &python, &programs, node.http))
        .collect();

    let (first, session) = wait::until("a leader", PATIENCE, || holder(&node.http));
    wait::until_true("a leader and two replicas that stream", PATIENCE, || {
        roles(&members) == ["leader", "replica", "replica"]
    });
    let leader = members.iter().position(|member| member.name == first).expect("the leader is a member");
    members[leader]
        .sql("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('before')")
        .expect("the leader writes");
    for member in &members {
        wait::until_true("the row on every member", PATIENCE, || member.words().is_ok_and(|words| words == ["before"]));
    }
    wait::until_true("the leader's name in DNS", PATIENCE, || {
        node.dns().services("primary.batman.service.consul") == [(members[leader].port, 1)]
    });

    let begun = Instant::now();
    members[leader].kill();
    let (second, moved) =
        wait::until("another leader", FAILOVER, || holder(&node.http).filter(|(name, _)| *name != first));
    let lock = begun.elapsed();
    let successor = members.iter().position(|member| member.name == second).expect("the leader is a member");
    wait::until_true("the new leader to write", FAILOVER, || {
        members[successor].sql("INSERT INTO kept VALUES ('after')").is_ok()
    });
    let took = begun.elapsed();
    assert_ne!(session, moved, "the lock is held by another session");
    assert!(took < FAILOVER, "the failover took {took:?}");
    assert_eq!(members[successor].words().expect("it answers"), ["after", "before"], "nothing that was copied is lost");
    println!("figure: Patroni's lock moved {lock:?} after kill -9, and the new leader wrote after {took:?}");

    members[leader].revive();
    wait::until_true("the old leader to come back as a replica", PATIENCE, || {
        roles(&members) == ["leader", "replica", "replica"]
            && members[leader].words().is_ok_and(|words| words == ["after", "before"])
    });
    assert_eq!(holder(&node.http).map(|(name, _)| name), Some(second), "it took nothing back");
    assert!(members[leader].sql("INSERT INTO kept VALUES ('no')").is_err(), "a replica takes no writes");
    for member in &mut members {
        member.process.terminate();
    }
    for member in &mut members {
        let status = member.process.wait(PATIENCE);
        assert!(status.success(), "{}", member.process.stderr());
    }
    let mut client = Client::new("Patroni, with PostgreSQL").version(&version_of(&python, "patroni"));
    client.did("three members agree on a leader by a key and a session, and replicas stream from it");
    client.did("the leader's name is in DNS");
    client.did("the leader is killed: within thirty seconds another holds the lock by another session and writes");
    client.did("the old leader comes back as a replica");
    client.hold();
}

/// Who holds the lock: the member's name and its session.
fn holder(node: &Http) -> Option<(String, String)> {
    let name = node.get(&format!("{LEADER}?raw"));
    let entry = node.get(LEADER);
    if name.status != 200 || entry.status != 200 {
        return None;
    }
    let session = entry.json()[0]["Session"].as_str()?.to_owned();
    Some((name.text(), session))
}

/// The roles of all members that run, sorted, as the first one that answers tells it.
fn roles(members: &[Member]) -> Vec<String> {
    let told = members.iter().find_map(|member| {
        let reply = Http::new(([127, 0, 0, 1], member.rest).into()).request("GET", "/cluster", b"").ok()?;
        serde_json::from_slice::<Value>(&reply.body).ok()
    });
    let Some(told) = told else { return Vec::new() };
    let running = |member: &&Value| member["state"] == "running" || member["state"] == "streaming";
    let listed = told["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut roles: Vec<String> =
        listed.iter().filter(running).map(|member| member["role"].as_str().unwrap_or_default().to_owned()).collect();
    roles.sort();
    roles
}

/// PostgreSQL refuses to run as root: then its own user runs it.
struct User {
    name: Option<&'static str>,
}

impl User {
    fn of_postgres() -> Self {
        Self { name: needs::is_root().then_some("postgres") }
    }

    fn command(&self, program: &Path) -> Command {
        let Some(name) = self.name else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={name}")).arg(format!("--regid={name}")).arg("--clear-groups").arg(program);
        command
    }

    fn own(&self, folder: &Path) {
        let Some(name) = self.name else { return };
        let id = |which: &str| -> u32 {
            let output = Command::new("id").args([which, name]).output().expect("`id` starts");
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("the user postgres exists")
        };
        chown(folder, Some(id("-u")), Some(id("-g"))).expect("root may give a folder away");
    }
}

/// A member: Patroni, and the PostgreSQL that it runs.
struct Member {
    name: String,
    port: u16,
    rest: u16,
    folder: PathBuf,
    programs: PathBuf,
    python: PathBuf,
    user: Option<&'static str>,
    process: Process,
}

impl Member {
    fn start(name: &str, home: &Path, user: &User, python: &Path, programs: &Path, node: Http) -> Self {
        let folder = home.join(name);
        std::fs::create_dir(&folder).expect("a folder can be made");
        user.own(&folder);
        let (port, rest) = (free_port(), free_port());
        let settings = std::fs::read_to_string(file("patroni.yml"))
            .expect("the suite has its settings")
            .replace("{name}", name)
            .replace("{folder}", &folder.display().to_string())
            .replace("{programs}", &programs.display().to_string())
            .replace("{http}", &node.address.port().to_string())
            .replace("{rest}", &rest.to_string())
            .replace("{port}", &port.to_string());
        std::fs::write(folder.join("patroni.yml"), settings).expect("the folder can be written to");
        let process = Process::start(&mut patroni(user, python, &folder));
        Self {
            name: name.to_owned(),
            port,
            rest,
            folder,
            programs: programs.to_path_buf(),
            python: python.to_path_buf(),
            user: user.name,
            process,
        }
    }

    fn revive(&mut self) {
        self.process = Process::start(&mut patroni(&User { name: self.user }, &self.python, &self.folder));
    }

    /// Ends Patroni and PostgreSQL as a power cut does.
    fn kill(&mut self) {
        self.process.kill();
        // The first line of this file is the id of the process that all others of this PostgreSQL end with.
        let Ok(text) = std::fs::read_to_string(self.folder.join("data/postmaster.pid")) else { return };
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Runs a statement and returns its answer, a row a line.
    fn sql(&self, statement: &str) -> Result<String, String> {
        let output = Command::new(self.programs.join("psql"))
            .env("PGPASSWORD", "postgres")
            .env("PGCONNECT_TIMEOUT", "3")
            .args(["--host=127.0.0.1", "--username=postgres", "--dbname=postgres", "--no-psqlrc", "--tuples-only"])
            .args(["--no-align", "--set=ON_ERROR_STOP=1"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--command={statement}"))
            .output()
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn words(&self) -> Result<Vec<String>, String> {
        let said = self.sql("SELECT word FROM kept ORDER BY word")?;
        Ok(said.lines().map(str::to_owned).collect())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn patroni(user: &User, python: &Path, folder: &Path) -> Command {
    let mut command = user.command(python);
    // Nothing is written beside the packages, which belong to somebody else.
    command.args(["-B", "-m", "patroni"]).arg(folder.join("patroni.yml")).current_dir(folder).env("HOME", folder);
    command
}

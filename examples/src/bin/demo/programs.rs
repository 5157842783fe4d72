//! The programs of the demo: where they are, how one is started, and how it is ended by its own id.
//!
//! Builds them with the cargo, the profile and the target folder of the demo itself. What the programs are told is
//! decided by `stage`.

use std::path::{Path, PathBuf};
use std::process::{Command as Build, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Error;

/// How long a program may take until it says where it listens: the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a program may take to end in good order.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Where the programs are.
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub(crate) fn control(&self) -> PathBuf {
        self.folder.join("callboard")
    }

    pub(crate) fn sidecar(&self) -> PathBuf {
        self.folder.join("callboard-sidecar")
    }
}

/// Builds the control node and the sidecar beside this program. Without a cargo around it (a program that was
/// copied somewhere) they must lie there already.
pub(crate) fn build() -> Result<Programs, Error> {
    let own = std::env::current_exe()?;
    let folder = own.parent().ok_or("this program is in no folder")?.to_path_buf();
    let programs = Programs { folder };
    if let Some(cargo) = std::env::var_os("CARGO") {
        build_with(Path::new(&cargo), &programs.folder)?;
    }
    for path in [programs.control(), programs.sidecar()] {
        if !path.is_file() {
            let path = path.display();
            return Err(format!("{path} is missing: start the demo by `cargo demo`, which builds it").into());
        }
    }
    Ok(programs)
}

fn build_with(cargo: &Path, folder: &Path) -> Result<(), Error> {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the examples lie in no workspace")?;
    let mut command = Build::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--quiet", "--profile", profile, "--bin", "callboard", "--bin", "callboard-sidecar"])
        // With the examples among them, so that features, and so the artifacts, are those of the demo's own build.
        .args(["-p", "callboard-control", "-p", "callboard-sidecar", "-p", "callboard-examples"])
        .stdin(Stdio::null());
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    // What `cargo run` sets for this package must not reach the packages built here, or they are built anew.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    if command.status()?.success() { Ok(()) } else { Err("building the control node and the sidecar failed".into()) }
}

/// A running program. Dropping it kills it.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) started: Instant,
    child: Child,
    // An instance ends when nobody holds this any more, so that none outlives a killed demo.
    _stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts a program, with its log in a file of its name in `logs`.
    pub(crate) fn start(name: &str, mut command: Command, logs: &Path) -> Result<Self, Error> {
        let log = std::fs::File::create(log_of(logs, name))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in a terminal goes to a whole group; the demo ends its programs itself, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("starting {name}: {error}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("standard output is not piped")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { name: name.to_owned(), started: Instant::now(), child, _stdin: stdin, lines })
    }

    /// Waits for the line of JSON that every program says once it serves.
    pub(crate) async fn said(&mut self) -> Result<serde_json::Value, Error> {
        let name = &self.name;
        match tokio::time::timeout(START_LIMIT, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok(serde_json::from_str(&line)?),
            Ok(Ok(None)) => Err(format!("{name} ended before it served").into()),
            Ok(Err(error)) => Err(format!("reading what {name} says: {error}").into()),
            Err(_) => Err(format!("{name} did not serve within {START_LIMIT:?}").into()),
        }
    }

    /// Says whether it is running.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGKILL; returns when that was.
    pub(crate) async fn kill(&mut self) -> Result<Instant, Error> {
        self.child.start_kill()?;
        let killed = Instant::now();
        self.child.wait().await?;
        Ok(killed)
    }

    /// Asks it to end, and makes it end if it does not.
    pub(crate) async fn end(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // Gone already is as good as told.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(END_LIMIT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Where the log of a program is.
pub(crate) fn log_of(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.log"))
}

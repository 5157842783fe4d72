//! Programs that are measured beside ours or make load, and what the system says of a process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Makes sure that a program is there, installing its Debian package if not.
pub(crate) fn program(name: &str, package: &str) -> Result<()> {
    let found = |name: &str| {
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
    };
    if found(name) {
        return Ok(());
    }
    // Bounded, so that a machine without a mirror says so instead of hanging.
    let apt = |arguments: &[&str]| {
        Command::new("timeout").args(["300", "apt-get", "-q"]).args(arguments).stdout(Stdio::null()).status()
    };
    apt(&["update"]).context("running apt-get update")?;
    apt(&["install", "-y", "--no-install-recommends", package]).context("running apt-get install")?;
    ensure!(found(name), "{name} is missing and the package {package} could not be installed");
    Ok(())
}

/// Runs a load generator to its end and returns what it printed.
pub(crate) async fn output(name: &str, arguments: &[&str]) -> Result<String> {
    let (program, owned): (String, Vec<String>) =
        (name.to_owned(), arguments.iter().map(|&argument| argument.to_owned()).collect());
    let output = tokio::task::spawn_blocking(move || Command::new(program).args(owned).output())
        .await?
        .with_context(|| format!("running {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// Processor time that a process has used, all threads.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold spaces; user and system time are fields 14 and 15, in hundredths.
    let after = stat.rsplit_once(')').context("/proc/PID/stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |place: usize| -> Result<u64> { Ok(fields.get(place).context("/proc/PID/stat")?.parse()?) };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Resident memory of a process, in bytes.
pub(crate) struct Resident {
    pub(crate) all: u64,
    /// What it wrote itself: heap, stacks, tables.
    pub(crate) own: u64,
    /// Pages of files, nearly all of them its code: shared by all who run it, and read again when they were taken away.
    pub(crate) files: u64,
}

/// Reads how much of a process is in memory.
pub(crate) fn resident(pid: u32) -> Result<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    };
    Ok(Resident { all: bytes("VmRSS:")?, own: bytes("RssAnon:")?, files: bytes("RssFile:")? })
}

/// How many 4 KiB appends a second the disk makes durable, one after the other: the floor under every write.
pub(crate) fn disk_floor(dir: &Path, time: Duration) -> Result<f64> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join("floor"))?;
    let block = [7; 4096];
    let begun = std::time::Instant::now();
    let mut writes = 0;
    while begun.elapsed() < time {
        file.write_all(&block)?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(f64::from(writes) / begun.elapsed().as_secs_f64())
}

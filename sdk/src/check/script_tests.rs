//! Scripts by example, with real processes: how they end, and that nothing of them outlives its time.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use CheckStatus::{Critical, Passing, Warning};
use callboard_proto::CheckStatus;
use callboard_proto::definition::{CheckDefinition, Limits, Probe, Thresholds};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::check::{Context, Report, probe};

fn definition(args: &[&str], timeout: Duration, output_max: usize) -> CheckDefinition {
    CheckDefinition {
        probe: Probe::Script { args: args.iter().map(|&arg| arg.into()).collect() },
        interval: Duration::from_secs(10),
        timeout,
        thresholds: Thresholds::default(),
        reap_after: None,
        output_max,
        limits: Limits::default(),
    }
}

async fn sh(script: &str, timeout: Duration) -> Report {
    probe(&definition(&["sh", "-c", script], timeout, 64), &Context::new()).await
}

#[track_caller]
fn is(report: Report, status: CheckStatus, output: &str) {
    assert_eq!((report.status, report.output.as_str()), (status, output));
}

#[tokio::test]
async fn the_exit_code_is_the_status() {
    is(sh("echo fine", Duration::ZERO).await, Passing, "fine\n");
    is(sh("echo out; echo err >&2; echo out; exit 1", Duration::ZERO).await, Warning, "out\nerr\nout\n");
    is(sh("exit 2", Duration::ZERO).await, Critical, "");
    is(sh("kill -9 $$", Duration::ZERO).await, Critical, "");
    // A script that closes its output may still take its time to end.
    is(sh("exec >&- 2>&-; exit 1", Duration::ZERO).await, Warning, "");
    let absent = definition(&["/nonexistent/program"], Duration::ZERO, 64);
    let expected = "running /nonexistent/program: no such file or directory";
    is(probe(&absent, &Context::new()).await, Critical, expected);
    is(probe(&definition(&[], Duration::ZERO, 64), &Context::new()).await, Critical, "the script has no program");
}

#[tokio::test]
async fn the_end_of_a_long_output_is_kept() {
    let report = sh("i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); done", Duration::ZERO).await;
    let total: usize = (0..3000).map(|i: usize| format!("line-{i}\n").len()).sum();
    assert!(report.output.starts_with(&format!("Captured 64 of {total} bytes\n...\n")), "{}", report.output);
    assert!(report.output.ends_with("line-2998\nline-2999\n"));
}

/// A named pipe that every process of a script keeps open for writing as long as it lives. Its reader sees
/// an end only when all of them are gone.
fn lifeline(folder: &Path) -> String {
    let path = folder.join("lifeline");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

/// A script with a child, both of which say through the lifeline that they run, and then only sleep.
fn forking(lifeline: &str) -> String {
    format!("exec 3>{lifeline}; (printf a >&3; exec sleep 1000) & printf b >&3; sleep 1000")
}

/// Waits until script and child run, on a thread of its own. Tokio's paused clock stands still meanwhile.
fn both_run(lifeline: String) -> JoinHandle<File> {
    spawn_blocking(move || {
        let mut reader = File::open(lifeline).unwrap();
        reader.read_exact(&mut [0; 2]).unwrap();
        reader
    })
}

/// Returns when nobody holds the lifeline any more; while one of them sleeps on, it does not.
async fn all_are_gone(mut lifeline: File) {
    let rest = spawn_blocking(move || lifeline.read_to_end(&mut Vec::new()).unwrap()).await.unwrap();
    assert_eq!(rest, 0);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_the_script_and_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let path = lifeline(folder.path());
    let running = both_run(path.clone());
    is(sh(&forking(&path), Duration::ZERO).await, Critical, "Timed out (30s) running check");
    all_are_gone(running.await.unwrap()).await;
}

#[tokio::test]
async fn a_run_nobody_waits_for_ends_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let path = lifeline(folder.path());
    let script = forking(&path);
    let run = tokio::spawn(async move { sh(&script, Duration::from_secs(1000)).await });
    let running = both_run(path).await.unwrap();
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    all_are_gone(running).await;
}

#[tokio::test]
async fn a_child_left_behind_does_not_hold_up_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = lifeline(folder.path());
    // Both ends at once, so that neither opening nor reading waits: the child reads until this one closes.
    let held = File::options().read(true).write(true).open(&path).unwrap();
    let script = format!("echo started; (read line <{path}) & exit 0");
    is(sh(&script, Duration::from_secs(1000)).await, Passing, "started\n");
    drop(held);
}

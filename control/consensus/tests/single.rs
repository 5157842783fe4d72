//! One node on a disk: what was acknowledged survives, and damage is told, never guessed around.

#![allow(clippy::unwrap_used, reason = "a test may stop at what should not happen")]

mod common;

use std::path::{Path, PathBuf};

use callboard_consensus::{Barrier, Error, Options, Raft, Role};
use common::{Journal, numbers, options, propose, start};

/// The kept checkpoints, oldest first.
fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ckpt"))
        .collect();
    found.sort();
    found
}

fn flip_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_new_node_leads_at_once_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, journal) = start(dir.path()).await;
    let status = raft.status();
    assert_eq!((status.role, status.ready), (Role::Leader, true));
    assert_eq!(status.leader.map(|leader| leader.id), Some(raft.node_id()));
    assert_eq!(raft.propose(b"a".to_vec()).await.unwrap().answer, b"1:a");
    assert_eq!(raft.propose(b"b".to_vec()).await.unwrap().answer, b"2:b");
    // acked_is_visible
    assert_eq!(journal.lines(), ["a", "b"]);
    raft.read_barrier(Barrier::Lease).await.unwrap();
    raft.read_barrier(Barrier::Quorum).await.unwrap();
    raft.shutdown().await;
}

#[tokio::test]
async fn a_node_in_memory_works_alike() {
    let journal = Journal::default();
    let raft = Raft::start(Options::default(), journal.clone(), None).await.unwrap();
    propose(&raft, 0..100).await;
    assert_eq!(journal.lines(), numbers(0..100));
    assert!(raft.checkpoint_now().await.unwrap() > 100);
    propose(&raft, 100..200).await;
    raft.checkpoint_now().await.unwrap();
    propose(&raft, 200..300).await;
    assert_eq!(journal.lines(), numbers(0..300));
    raft.shutdown().await;
}

#[tokio::test]
async fn restart_keeps_acknowledged_writes_and_identity() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    let mut id = None;
    for _ in 0..4 {
        let (raft, journal) = start(dir.path()).await;
        assert_eq!(*id.get_or_insert(raft.node_id()), raft.node_id());
        // Ready means that nothing acknowledged before is missing, without waiting for anything.
        assert!(raft.status().ready);
        assert_eq!(journal.lines(), numbers(0..written));
        propose(&raft, written..written + 50).await;
        written += 50;
        raft.shutdown().await;
    }
}

#[tokio::test]
async fn a_restart_without_shutdown_keeps_acknowledged_writes() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let (raft, _) = start(dir.path()).await;
    propose(&raft, 0..50).await;
    // What a crash leaves: the files as they are while the node runs.
    std::fs::copy(dir.path().join("log.redb"), copy.path().join("log.redb")).unwrap();
    let (again, journal) = start(copy.path()).await;
    assert_eq!(journal.lines(), numbers(0..50));
    again.shutdown().await;
    raft.shutdown().await;
}

#[tokio::test]
async fn checkpoints_shorten_the_log_and_survive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, _) = start(dir.path()).await;
    propose(&raft, 0..100).await;
    let first = raft.checkpoint_now().await.unwrap();
    propose(&raft, 100..200).await;
    assert_eq!(raft.status().purged, 0, "one checkpoint alone does not replace the log");
    let second = raft.checkpoint_now().await.unwrap();
    propose(&raft, 200..300).await;
    let mut status = raft.subscribe();
    status.wait_for(|status| status.purged == first).await.unwrap();
    let third = raft.checkpoint_now().await.unwrap();
    propose(&raft, 300..310).await;
    status.wait_for(|status| status.purged == second).await.unwrap();
    assert!(third > second && second > first);
    assert_eq!(checkpoints(dir.path()).len(), 2);
    raft.shutdown().await;

    let (raft, journal) = start(dir.path()).await;
    assert_eq!(journal.lines(), numbers(0..310));
    assert_eq!(raft.status().checkpoint, third);
    propose(&raft, 310..320).await;
    assert_eq!(journal.lines(), numbers(0..320));
    raft.shutdown().await;
}

#[tokio::test]
async fn checkpoints_are_taken_while_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::default();
    let options = Options { checkpoint_every: 50, ..options(dir.path()) };
    let raft = Raft::start(options, journal.clone(), None).await.unwrap();
    propose(&raft, 0..400).await;
    let mut status = raft.subscribe();
    status.wait_for(|status| status.purged > 0).await.unwrap();
    raft.shutdown().await;
    let (raft, journal) = start(dir.path()).await;
    assert_eq!(journal.lines(), numbers(0..400));
    raft.shutdown().await;
}

/// A folder with two checkpoints and a log that begins after the older one.
async fn two_checkpoints(dir: &Path) {
    let (raft, _) = start(dir).await;
    propose(&raft, 0..100).await;
    let first = raft.checkpoint_now().await.unwrap();
    propose(&raft, 100..200).await;
    raft.checkpoint_now().await.unwrap();
    propose(&raft, 200..300).await;
    raft.subscribe().wait_for(|status| status.purged == first).await.unwrap();
    raft.shutdown().await;
}

#[tokio::test]
async fn a_damaged_checkpoint_falls_back_to_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    two_checkpoints(dir.path()).await;
    flip_a_bit(&checkpoints(dir.path())[1]);
    let (raft, journal) = start(dir.path()).await;
    assert_eq!(journal.lines(), numbers(0..300));
    assert_eq!(checkpoints(dir.path()).len(), 1);
    propose(&raft, 300..310).await;
    raft.checkpoint_now().await.unwrap();
    raft.shutdown().await;
    let (raft, journal) = start(dir.path()).await;
    assert_eq!(journal.lines(), numbers(0..310));
    raft.shutdown().await;
}

#[tokio::test]
async fn two_damaged_checkpoints_are_an_error_that_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    two_checkpoints(dir.path()).await;
    for path in checkpoints(dir.path()) {
        flip_a_bit(&path);
    }
    for _ in 0..2 {
        let journal = Journal::default();
        let Err(error) = Raft::start(options(dir.path()), journal.clone(), None).await else { panic!("started") };
        assert!(matches!(error, Error::CheckpointsLost { .. }), "{error}");
        assert!(journal.lines().is_empty());
    }
}

#[tokio::test]
async fn a_refused_checkpoint_is_not_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, _) = start(dir.path()).await;
    raft.propose(b"a".to_vec()).await.unwrap();
    raft.checkpoint_now().await.unwrap();
    raft.propose(b"refuse".to_vec()).await.unwrap();
    raft.checkpoint_now().await.unwrap();
    raft.shutdown().await;
    let Err(error) = Raft::start(options(dir.path()), Journal::default(), None).await else { panic!("started") };
    assert!(matches!(error, Error::RestoreCheckpoint { .. }), "{error}");
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_is_reported_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { checkpoint_every: 50, ..options(dir.path()) };
    let raft = Raft::start(options, Journal::default(), None).await.unwrap();
    // A folder where the unfinished files would be: they cannot be created.
    for serial in 0..2 {
        std::fs::create_dir(dir.path().join(format!("state-{serial}.tmp"))).unwrap();
    }
    assert!(matches!(raft.checkpoint_now().await, Err(Error::WriteCheckpoint(_))));
    propose(&raft, 0..60).await;
    let mut status = raft.subscribe();
    status.wait_for(|status| status.checkpoint_failure.is_some()).await.unwrap();
    propose(&raft, 60..200).await;
    status.wait_for(|status| status.checkpoint > 0 && status.checkpoint_failure.is_none()).await.unwrap();
    raft.shutdown().await;
    for serial in 0..2 {
        std::fs::remove_dir(dir.path().join(format!("state-{serial}.tmp"))).unwrap();
    }
    let (raft, journal) = start(dir.path()).await;
    assert_eq!(journal.lines(), numbers(0..200));
    raft.shutdown().await;
}

#[tokio::test]
async fn a_folder_is_served_by_one_node() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, _) = start(dir.path()).await;
    let Err(error) = Raft::start(options(dir.path()), Journal::default(), None).await else { panic!("started") };
    assert!(matches!(&error, Error::DataDirLocked { path } if path == dir.path()), "{error}");
    raft.shutdown().await;
    let other = Options { node_id: Some(7), ..options(dir.path()) };
    let Err(error) = Raft::start(other, Journal::default(), None).await else { panic!("started") };
    assert!(matches!(error, Error::NodeIdMismatch { wanted: 7, .. }), "{error}");
    let (raft, _) = start(dir.path()).await;
    raft.shutdown().await;
}

#[tokio::test]
async fn bounds_are_named() {
    let narrow = Options { proposal_bytes_max: 2048, ..Options::default() };
    let raft = Raft::start(narrow, Journal::default(), None).await.unwrap();
    raft.propose(vec![0; 2048]).await.unwrap();
    let refused = raft.propose(vec![0; 2049]).await;
    assert!(matches!(refused, Err(Error::Busy { max: 2048, .. })), "{refused:?}");
    raft.shutdown().await;
    let small = Options { entry_max: 10, proposals_max: 0, ..Options::default() };
    let raft = Raft::start(small, Journal::default(), None).await.unwrap();
    assert!(matches!(raft.propose(vec![0; 11]).await, Err(Error::TooLarge { len: 11, max: 10 })));
    assert!(matches!(raft.propose(vec![0; 10]).await, Err(Error::Busy { max: 0, .. })));
    raft.shutdown().await;
    let wrong = Options { heartbeat: std::time::Duration::from_secs(9), ..Options::default() };
    assert!(matches!(Raft::start(wrong, Journal::default(), None).await, Err(Error::Settings { .. })));
}

#[tokio::test]
async fn a_machine_that_panics_stops_the_node_and_is_never_acknowledged() {
    let raft = Raft::start(Options::default(), Journal::default(), None).await.unwrap();
    assert!(matches!(raft.propose(b"panic".to_vec()).await, Err(Error::Fatal { .. })));
    let mut status = raft.subscribe();
    let stopped = status.wait_for(|status| status.fatal.is_some()).await.unwrap().clone();
    assert_eq!((stopped.role, stopped.ready), (Role::Stopped, false));
    assert!(matches!(raft.propose(b"a".to_vec()).await, Err(Error::Fatal { .. })));
    assert!(raft.read_barrier(Barrier::Lease).await.is_err());
    raft.shutdown().await;
}

#[tokio::test]
async fn after_shutdown_nothing_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, _) = start(dir.path()).await;
    raft.shutdown().await;
    raft.shutdown().await;
    assert!(matches!(raft.propose(b"a".to_vec()).await, Err(Error::Fatal { .. })));
    raft.subscribe().wait_for(|status| status.role == Role::Stopped).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_proposers_are_each_answered_once_in_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, journal) = start(dir.path()).await;
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let raft = raft.clone();
            tokio::spawn(async move {
                let mut places = Vec::new();
                for n in 0..20 {
                    let answer = raft.propose(format!("{task}-{n}").into_bytes()).await.unwrap().answer;
                    places.push(String::from_utf8(answer).unwrap());
                }
                places
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.extend(task.await.unwrap());
    }
    answers.sort_by_key(|answer| answer.split_once(':').unwrap().0.parse::<u32>().unwrap());
    let expected: Vec<String> = (1..).zip(journal.lines()).map(|(place, line)| format!("{place}:{line}")).collect();
    assert_eq!(answers, expected);
    raft.shutdown().await;
}

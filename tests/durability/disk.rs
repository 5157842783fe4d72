//! A disk that is full or a folder that cannot be written: a clear error, an exit code that is not 0, and never an
//! acknowledgement of what is not kept.
//!
//! The full disk is a small tmpfs where this process may mount one (root), else a limit on the size of files. Modes are
//! no help to make a folder unwritable: root passes them. A file in its place is refused to everyone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use callboard_tests::http::Connection;
use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;

/// A folder that holds about so many bytes: a tmpfs, unmounted when dropped.
struct Small {
    folder: tempfile::TempDir,
}

impl Small {
    /// `None` where mounting is not allowed.
    fn mount(size: &str) -> Option<Self> {
        if !needs::is_root() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let option = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.arg("-o").arg(format!("remount,{options}")).arg(self.path());
        assert!(mount.output().is_ok_and(|output| output.status.success()), "a tmpfs can be remounted {options}");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, because the node may still hold a file while it is being ended.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// Values are written until the disk is full. What was acknowledged before is there when the disk has room again.
#[test]
fn a_full_disk_ends_the_node_and_loses_nothing() {
    let Some(small) = Small::mount("24m") else {
        return needs::missing("the right to mount a tmpfs, for the test of a full disk");
    };
    let mut node = Node::durable(small.path());
    let acknowledged = fill(&mut node);
    assert!(acknowledged > 0, "the first writes find room");
    let status = node.process.wait(Duration::from_secs(20));
    let log = node.process.stderr();
    assert!(!status.success(), "a node whose disk is full ends with a failure, not with {status}: {log}");
    assert!(log.contains("No space left") || log.contains("os error 28"), "its log says why: {log}");

    small.remount("size=512m");
    let node = node.killed_and_started();
    for number in 0..acknowledged {
        let value = node.http.get(&format!("/v1/kv/fill/{number}?raw")).ok().body;
        assert!(value == content(number), "value {number} was acknowledged and is there, whole");
    }
}

/// The same with a limit on the size of files, which needs no right at all.
#[test]
fn a_limit_on_file_size_ends_the_node_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut shell = Command::new("sh");
    // Blocks of 512 bytes in a POSIX shell: 16 MiB. The signal of the limit is ignored, so that the write fails.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 32768; exec \"$@\"", "sh"]);
    let command = Node::command(Some(folder.path()), &[]);
    shell.arg(command.get_program()).args(command.get_args());
    let mut node = Node::from_command(&mut shell, Some(folder.path()));
    let acknowledged = fill(&mut node);
    assert!(acknowledged > 0, "the first writes find room");
    let status = node.process.wait(Duration::from_secs(20));
    let log = node.process.stderr();
    assert!(!status.success(), "it ends with a failure, not with {status}: {log}");
    assert!(log.contains("too large") || log.contains("os error 27"), "its log says why: {log}");

    let node = Node::durable(folder.path());
    for number in 0..acknowledged {
        let value = node.http.get(&format!("/v1/kv/fill/{number}?raw")).ok().body;
        assert!(value == content(number), "value {number} was acknowledged and is there, whole");
    }
}

#[test]
fn a_folder_that_is_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("data");
    std::fs::write(&file, b"not a folder").expect("a file can be written");
    refused(&file);
    refused(&file.join("below"));
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"not a folder");
}

#[test]
fn a_read_only_folder_is_refused() {
    let Some(small) = Small::mount("8m") else {
        return needs::missing("the right to mount a tmpfs, for the test of a read-only folder");
    };
    small.remount("ro");
    refused(small.path());
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let first = Node::durable(folder.path());
    let _ = first.http.put("/v1/kv/a", "1").ok();
    refused(folder.path());
    assert_eq!(first.http.get("/v1/kv/a?raw").ok().text(), "1", "the first goes on");
}

/// Starts a node that must end by itself with a failure, say which folder it could not use, and never that it serves.
fn refused(data_dir: &Path) {
    let mut process = Process::start(&mut Node::command(Some(data_dir), &[]));
    let status = process.wait(Duration::from_secs(20));
    let log = process.stderr();
    assert!(!status.success(), "{status} with {} as data folder: {log}", data_dir.display());
    assert!(log.contains(&*data_dir.to_string_lossy()), "the error names {}: {log}", data_dir.display());
    assert!(process.stdout().trim().is_empty(), "it never said that it serves: {}", process.stdout());
}

/// Writes values until one is not acknowledged, and returns how many were.
fn fill(node: &mut Node) -> u64 {
    const MOST: u64 = 4000;
    let mut connection = Connection::open(node.http.address).expect("the node listens");
    for number in 0..MOST {
        match connection.request("PUT", &format!("/v1/kv/fill/{number}"), &content(number)) {
            Ok(reply) if reply.status == 200 => assert_eq!(reply.text().trim(), "true"),
            Ok(reply) => {
                assert!(reply.status >= 500, "a write that cannot be kept is the server's error: {}", reply.text());
                return number;
            }
            Err(_) => return number,
        }
    }
    panic!("{MOST} values of 64 KiB fit on a small disk");
}

/// 64 KiB that tell the number they belong to and do not compress.
fn content(number: u64) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(number);
    (0..65_536).map(|_| dice.u8(..)).collect()
}

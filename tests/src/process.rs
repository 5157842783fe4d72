//! One child process: started with its output collected, ended by its own id when the value is dropped.
//! It does not know what the program is; `node` and the suites do.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Bytes kept of each output stream, the newest ones.
const KEPT: usize = 256 * 1024;

/// How long the outputs of an ended process may take to end as well.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Lines of standard output that may wait for [`Process::line`].
const LINES: usize = 1024;

/// A running child. Dropping it kills it and collects it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    lines: Receiver<String>,
    stdout: Arc<Mutex<VecDeque<u8>>>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    readers: [JoinHandle<()>; 2],
}

impl Process {
    /// Starts `command` with both outputs collected and no input.
    ///
    /// # Panics
    /// When the program does not start.
    pub fn start(command: &mut Command) -> Self {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let stdout = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, lines) = sync_channel(LINES);
        let out = child.stdout.take().expect("standard output is piped");
        let err = child.stderr.take().expect("standard error is piped");
        let kept = Arc::clone(&stdout);
        let reads_out = std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                keep(&kept, line.as_bytes());
                keep(&kept, b"\n");
                // Nobody may be listening for lines, or too slowly: the kept bytes still have them.
                let _ = tell.try_send(line);
            }
        });
        let kept = Arc::clone(&stderr);
        let reads_err = std::thread::spawn(move || drain(err, &kept));
        Self { child, name, lines, stdout, stderr, readers: [reads_out, reads_err] }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output.
    ///
    /// # Panics
    /// When none comes within `limit`, with what the process has said so far.
    pub fn line(&self, limit: Duration) -> String {
        match self.lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(error) => panic!("{} said no line within {limit:?} ({error}); its log:\n{}", self.name, self.stderr()),
        }
    }

    /// The next line of standard output, or `None` when the process ends or `limit` passes first.
    pub fn line_if_any(&self, limit: Duration) -> Option<String> {
        self.lines.recv_timeout(limit).ok()
    }

    /// What it has said on standard output, the newest part of it.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has said on standard error, the newest part of it.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Whether it is running.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL and collects the process.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and that is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) else { return };
        // Gone already is as good as told.
        let _ = kill_process(pid, signal);
    }

    /// Waits for its end, and for the last of what it said.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        let status = wait::until(&format!("the end of {name}"), limit, || self.child.try_wait().ok().flatten());
        // A grandchild may hold the pipes open: then what has been read must do.
        let _ = wait::within(LAST_WORDS, || self.readers.iter().all(JoinHandle::is_finished).then_some(()));
        status
    }

    /// Resident memory in bytes, `None` when it has ended.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn drain(mut from: impl Read, kept: &Mutex<VecDeque<u8>>) {
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut part) {
        keep(kept, &part[..count]);
    }
}

fn keep(kept: &Mutex<VecDeque<u8>>, bytes: &[u8]) {
    let mut kept = kept.lock().expect("no thread panics while it keeps bytes");
    kept.extend(bytes);
    let surplus = kept.len().saturating_sub(KEPT);
    kept.drain(..surplus);
}

fn text(kept: &Mutex<VecDeque<u8>>) -> String {
    let kept = kept.lock().expect("no thread panics while it keeps bytes");
    String::from_utf8_lossy(&kept.iter().copied().collect::<Vec<_>>()).into_owned()
}

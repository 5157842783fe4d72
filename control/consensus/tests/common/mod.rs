//! A machine small enough to reason about, and helpers to start nodes around it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use callboard_consensus::{Committed, Machine, Options, Raft};

/// Everything ever applied, in order. Its checkpoint is that list.
#[derive(Clone, Default)]
pub(crate) struct Journal(pub(crate) Arc<Mutex<Vec<Vec<u8>>>>);

impl Journal {
    /// What was applied so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

impl Machine for Journal {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Vec<Vec<u8>> {
        let mut lines = self.0.lock().unwrap();
        entries
            .iter()
            .map(|entry| {
                assert_ne!(entry.data, b"panic", "asked to");
                lines.push(entry.data.to_vec());
                format!("{}:{}", lines.len(), String::from_utf8_lossy(entry.data)).into_bytes()
            })
            .collect()
    }

    fn checkpoint(&self) -> Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send> {
        let lines = self.0.lock().unwrap().clone();
        Box::new(move |to| {
            for line in lines {
                to.write_all(&(line.len() as u32).to_le_bytes())?;
                to.write_all(&line)?;
            }
            Ok(())
        })
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut lines = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let (line, after) = after
                .split_at_checked(u32::from_le_bytes(*len) as usize)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "short line"))?;
            if line == b"refuse" {
                return Err(io::Error::other("refused"));
            }
            lines.push(line.to_vec());
            rest = after;
        }
        *self.0.lock().unwrap() = lines;
        Ok(())
    }
}

/// Settings for a node in a folder that never takes a checkpoint by itself.
pub(crate) fn options(dir: &Path) -> Options {
    Options { data_dir: Some(dir.to_owned()), checkpoint_every: u64::MAX, ..Options::default() }
}

/// Starts a node in a folder.
pub(crate) async fn start(dir: &Path) -> (Raft, Journal) {
    let journal = Journal::default();
    let raft = Raft::start(options(dir), journal.clone(), None).await.unwrap();
    (raft, journal)
}

/// Proposes numbered lines one after the other.
pub(crate) async fn propose(raft: &Raft, lines: std::ops::Range<u32>) {
    for line in lines {
        raft.propose(line.to_string().into_bytes()).await.unwrap();
    }
}

/// The lines of [`propose`].
pub(crate) fn numbers(lines: std::ops::Range<u32>) -> Vec<String> {
    lines.map(|line| line.to_string()).collect()
}

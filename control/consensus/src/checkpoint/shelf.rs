//! Where checkpoints stand: a folder, or memory for a node without one.
//!
//! Two are kept, so that a damaged newest one is not the end: the log is purged only up to the older one
//! (`keeper` asks [`Shelf::purge_upto`]), so the older one and the log still rebuild the state. A new file is
//! written under another name, synced, renamed, and the folder synced, so that a name always means a whole
//! file. It does not decide when a checkpoint is taken.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::LogIdOptionExt;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::format;
use crate::data_dir::sync_dir;
use crate::error::Error;
use crate::machine::{CheckpointWriter, Machine};
use crate::types::{LogId, Meta};

/// How many checkpoints are kept.
const KEEP: usize = 2;
/// A checkpoint received into memory may not be longer than this; one received into a folder is bound by
/// the disk.
const MEMORY_MAX: u64 = 4 << 30;

/// A handle to one checkpoint. The file stays readable through it even after it was removed.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub(crate) len: u64,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    File { path: PathBuf, file: Arc<File> },
    Memory(Arc<Vec<u8>>),
}

impl Checkpoint {
    /// Reads up to `buf.len()` bytes at an offset.
    pub(crate) fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        match &self.source {
            Source::File { file, .. } => std::os::unix::fs::FileExt::read_at(&**file, buf, at),
            Source::Memory(bytes) => {
                let from = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or(&[]);
                let n = from.len().min(buf.len());
                buf[..n].copy_from_slice(&from[..n]);
                Ok(n)
            }
        }
    }

    /// Whether reading it never waits for a disk.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.source, Source::Memory(_))
    }

    fn reader(&self) -> impl Read + '_ {
        BufReader::with_capacity(256 << 10, At { of: self, at: 0 })
    }

    /// Checks every byte.
    pub(crate) fn verify(&self) -> io::Result<format::Layout> {
        format::verify(&mut self.reader(), self.len)
    }

    /// Checks every byte, then hands the state to the machine.
    fn restore(&self, machine: &mut dyn Machine) -> io::Result<Meta> {
        let layout = self.verify()?;
        self.feed(&layout, machine)?;
        Ok(layout.meta)
    }

    fn feed(&self, layout: &format::Layout, machine: &mut dyn Machine) -> io::Result<()> {
        let state = BufReader::with_capacity(256 << 10, At { of: self, at: layout.state_at });
        machine.restore(&mut state.take(layout.state_len))
    }
}

/// A position in a checkpoint. Several may read one file at once.
struct At<'a> {
    of: &'a Checkpoint,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.of.read_at(self.at, buf)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// One kept checkpoint.
#[derive(Clone)]
struct Kept {
    meta: Meta,
    checkpoint: Checkpoint,
}

/// The checkpoints of this node.
pub(crate) struct Shelf {
    folder: Option<PathBuf>,
    /// Newest first.
    kept: Mutex<Vec<Kept>>,
    /// Gives unfinished files their names.
    serial: AtomicU64,
    /// Held while a checkpoint is written. Says whether none may be written any more.
    closed: Mutex<bool>,
}

impl Shelf {
    /// A shelf that is gone with the process.
    pub(crate) fn in_memory() -> Self {
        Self { folder: None, kept: Mutex::default(), serial: AtomicU64::new(0), closed: Mutex::new(false) }
    }

    /// Finds the newest readable checkpoint in a folder, restores the machine from it, and returns what it
    /// reaches to. `purged` is the last entry the log has lost: a checkpoint before that is of no use.
    ///
    /// # Errors
    /// When no checkpoint reaches back to the log, when one is refused, or when the folder cannot be read.
    pub(crate) fn open(
        folder: &Path,
        purged: Option<&LogId>,
        machine: &mut dyn Machine,
    ) -> Result<(Self, Meta), Error> {
        let unusable = |source| Error::DataDir { path: folder.to_owned(), source };
        let mut kept: Vec<Kept> = Vec::new();
        for path in tidy(folder).map_err(unusable)? {
            let readable = open_file(&path).and_then(|checkpoint| Ok((checkpoint.verify()?, checkpoint)));
            let (layout, checkpoint) = match readable {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    warn!(path = %path.display(), error = &error as &dyn std::error::Error, "checkpoint set aside");
                    fs::rename(&path, path.with_extension("bad")).map_err(unusable)?;
                    continue;
                }
                Err(source) => return Err(Error::DataDir { path, source }),
            };
            if kept.is_empty() {
                if layout.meta.last_log_id.next_index() < purged.cloned().next_index() {
                    break;
                }
                // Intact but not understood is not damage: an older one would silently undo writes that a
                // newer version acknowledged.
                checkpoint
                    .feed(&layout, machine)
                    .map_err(|source| Error::RestoreCheckpoint { path: path.clone(), source })?;
                info!(path = %path.display(), "state restored from checkpoint");
            }
            kept.push(Kept { meta: layout.meta, checkpoint });
        }
        let meta = match (kept.first(), purged) {
            (Some(newest), _) => newest.meta.clone(),
            (None, None) => Meta::default(),
            (None, Some(purged)) => {
                return Err(Error::CheckpointsLost { path: folder.to_owned(), purged: purged.index() });
            }
        };
        let shelf = Self {
            folder: Some(folder.to_owned()),
            kept: Mutex::new(kept),
            serial: AtomicU64::new(0),
            closed: Mutex::new(false),
        };
        Ok((shelf, meta))
    }

    /// The newest checkpoint.
    pub(crate) fn newest(&self) -> Option<(Meta, Checkpoint)> {
        self.kept.lock().first().map(|kept| (kept.meta.clone(), kept.checkpoint.clone()))
    }

    /// The length of the newest checkpoint, 0 without one.
    pub(crate) fn newest_len(&self) -> u64 {
        self.kept.lock().first().map_or(0, |kept| kept.checkpoint.len)
    }

    /// The last log entry that no kept checkpoint needs any more.
    pub(crate) fn purge_upto(&self) -> Option<u64> {
        let kept = self.kept.lock();
        if kept.len() < KEEP {
            return None;
        }
        kept.last()?.meta.last_log_id.index()
    }

    /// Whether nothing here waits for a disk.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.folder.is_none()
    }

    /// Writes a checkpoint and makes it the newest. Blocks.
    pub(crate) fn write(&self, meta: Meta, state: CheckpointWriter) -> io::Result<Checkpoint> {
        let closed = self.closed.lock();
        if *closed {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the node is shutting down"));
        }
        let checkpoint = match &self.folder {
            None => {
                let mut bytes = Vec::new();
                format::write(&mut bytes, &meta, state)?;
                Checkpoint { len: bytes.len() as u64, source: Source::Memory(Arc::new(bytes)) }
            }
            Some(folder) => {
                let unfinished = Unfinished::create(folder, &self.serial)?;
                let mut to = BufWriter::with_capacity(256 << 10, &unfinished.file);
                format::write(&mut to, &meta, state)?;
                drop(to);
                unfinished.finish(folder, &meta)?
            }
        };
        self.put(Kept { meta, checkpoint: checkpoint.clone() });
        Ok(checkpoint)
    }

    /// Restores the machine from a checkpoint that came from elsewhere and keeps it as the only one: the
    /// log it belongs to begins after it. Blocks. After an error the old state and checkpoints stand.
    pub(crate) fn install(&self, from: &Checkpoint, machine: &mut dyn Machine) -> io::Result<Meta> {
        let closed = self.closed.lock();
        if *closed {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the node is shutting down"));
        }
        let meta = from.restore(machine)?;
        let checkpoint = match &self.folder {
            None => {
                let mut bytes = Vec::new();
                from.reader().read_to_end(&mut bytes)?;
                Checkpoint { len: from.len, source: Source::Memory(Arc::new(bytes)) }
            }
            Some(folder) => {
                let unfinished = Unfinished::create(folder, &self.serial)?;
                io::copy(&mut from.reader(), &mut &unfinished.file)?;
                unfinished.finish(folder, &meta)?
            }
        };
        let old = std::mem::take(&mut *self.kept.lock());
        self.put(Kept { meta, checkpoint: checkpoint.clone() });
        for kept in old {
            if let (Source::File { path, .. }, Source::File { path: new, .. }) =
                (&kept.checkpoint.source, &checkpoint.source)
                && path != new
            {
                remove(path);
            }
        }
        Ok(self.newest().map(|(meta, _)| meta).unwrap_or_default())
    }

    /// Waits for a write under way and lets no other begin. Blocks.
    pub(crate) fn close(&self) {
        *self.closed.lock() = true;
    }

    /// Begins to receive a checkpoint of `len` bytes from another node.
    pub(crate) fn receive(&self, len: u64) -> io::Result<Incoming> {
        let to = match &self.folder {
            Some(folder) => Destination::File(Unfinished::create(folder, &self.serial)?),
            None if len > MEMORY_MAX => return Err(io::Error::other("the checkpoint is too long for memory")),
            None => Destination::Memory(Vec::new()),
        };
        Ok(Incoming { to, left: len, len })
    }

    fn put(&self, new: Kept) {
        let mut kept = self.kept.lock();
        // The same entry again replaces its own file.
        kept.retain(|old| old.meta.last_log_id != new.meta.last_log_id);
        kept.insert(0, new);
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.meta.last_log_id));
        let keep = KEEP.min(kept.len());
        for gone in kept.split_off(keep) {
            if let Source::File { path, .. } = &gone.checkpoint.source {
                remove(path);
            }
        }
    }
}

/// A checkpoint being received.
pub(crate) struct Incoming {
    to: Destination,
    left: u64,
    len: u64,
}

enum Destination {
    File(Unfinished),
    Memory(Vec<u8>),
}

impl Incoming {
    /// Adds the next bytes. Blocks.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "more bytes than announced"))?;
        match &mut self.to {
            Destination::File(unfinished) => (&unfinished.file).write_all(bytes),
            Destination::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Whether writing never waits for a disk.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.to, Destination::Memory(_))
    }

    /// Checks what was received. Blocks. The unfinished file goes with the returned guard.
    pub(crate) fn finish(self) -> io::Result<(Meta, Checkpoint, Guard)> {
        if self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "fewer bytes than announced"));
        }
        let (checkpoint, guard) = match self.to {
            Destination::Memory(bytes) => {
                (Checkpoint { len: self.len, source: Source::Memory(Arc::new(bytes)) }, Guard(None))
            }
            Destination::File(unfinished) => {
                let source =
                    Source::File { path: unfinished.path.clone(), file: Arc::new(unfinished.file.try_clone()?) };
                (Checkpoint { len: self.len, source }, Guard(Some(unfinished)))
            }
        };
        let meta = checkpoint.verify()?.meta;
        Ok((meta, checkpoint, guard))
    }
}

/// Removes a received file once it has been installed or given up.
pub(crate) struct Guard(#[expect(dead_code, reason = "held for its drop")] Option<Unfinished>);

/// A file under a temporary name, removed unless finished.
pub(crate) struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn create(folder: &Path, serial: &AtomicU64) -> io::Result<Self> {
        let path = folder.join(format!("state-{}.tmp", serial.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Makes the file durable under its final name.
    fn finish(self, folder: &Path, meta: &Meta) -> io::Result<Checkpoint> {
        self.file.sync_all()?;
        let path = folder.join(format!("state-{:020}.ckpt", meta.last_log_id.index().unwrap_or(0)));
        fs::rename(&self.path, &path)?;
        sync_dir(folder)?;
        let file = self.file.try_clone()?;
        let len = file.metadata()?.len();
        Ok(Checkpoint { len, source: Source::File { path, file: Arc::new(file) } })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already when it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Lists checkpoints, newest first, and removes what an interrupted run left behind.
fn tidy(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("state-"));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("ckpt") if named => found.push(path),
            Some("tmp") if named => fs::remove_file(&path)?,
            _ => {}
        }
    }
    // The number in the name has a fixed width, so names sort like numbers.
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

fn open_file(path: &Path) -> io::Result<Checkpoint> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok(Checkpoint { len, source: Source::File { path: path.to_owned(), file: Arc::new(file) } })
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!(path = %path.display(), error = &error as &dyn std::error::Error, "old checkpoint not removed");
    }
}

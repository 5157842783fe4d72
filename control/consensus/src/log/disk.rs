//! The log file: one redb database behind one thread.
//!
//! It decides how entries look on disk and how writes are grouped: the thread takes what is queued, up to
//! a bound, commits it as one durable transaction, and only then calls back, in order. The first write
//! error is final: everything after it is answered with that error, because a disk that failed once may
//! have dropped what came before. Called by `store` only.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use openraft::entry::RaftEntry;
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error};

use super::tail::{Tail, weight};
use crate::types::{Entry, LogId, Types, Vote};

/// Log index → version byte, then the entry in postcard.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// The few single values: version byte, then postcard.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// First byte of every value; a change of layout changes it.
const VERSION: u8 = 1;

/// Commands waiting for the thread at most; further ones wait in their task.
const QUEUE_MAX: usize = 1024;
/// Commands in one transaction at most.
const BATCH_MAX: usize = 512;
/// Bytes of entries in one transaction, about, so that one flush never takes long.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Entries removed in one transaction when purging, so that writes are not held up behind a large purge.
const PURGE_MAX: u64 = 8192;
/// Pages redb may cache. The tail is in memory already, so little is needed.
const CACHE_BYTES: usize = 16 << 20;

type Done = oneshot::Sender<io::Result<()>>;

/// One thing for the thread to write.
pub(crate) enum Write {
    /// Entries, called back when durable.
    Append(Vec<Entry>, IOFlushed<Types>),
    /// The vote, answered when durable.
    Vote(Vote, Done),
    /// The committed position. Costs no flush of its own: it rides along with the next one, and a position
    /// that is too old after a crash only means entries are applied again from the log.
    Committed(Option<LogId>),
    /// Removes entries from this index on.
    CutFrom(u64, Done),
    /// Removes entries up to this one.
    Purge(LogId),
    /// Writes what is left and ends the thread.
    Close(oneshot::Sender<()>),
}

/// What the file held when it was opened.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) node_id: u64,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

/// The handle to the file and its thread.
pub(crate) struct Disk {
    database: Mutex<Option<Arc<Database>>>,
    queue: mpsc::Sender<Write>,
}

impl Disk {
    /// Opens or creates the file. `fresh_id` becomes the identity when none is stored yet.
    pub(crate) fn open(path: &Path, fresh_id: u64) -> io::Result<(Arc<Database>, Loaded)> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(failed)?;
        Self::load(database, fresh_id)
    }

    /// Reads what a database holds, creating what a new one lacks.
    pub(crate) fn load(database: Database, fresh_id: u64) -> io::Result<(Arc<Database>, Loaded)> {
        let write = database.begin_write().map_err(failed)?;
        let loaded = load(&write, fresh_id)?;
        write.commit().map_err(failed)?;
        Ok((Arc::new(database), loaded))
    }

    /// Starts the thread, which reports to `tail` what has become durable.
    pub(crate) fn run(database: Arc<Database>, tail: Arc<Mutex<Tail>>) -> io::Result<Self> {
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { database: Arc::clone(&database), tail, committed: None, purging: None };
        std::thread::Builder::new().name("callboard-log".into()).spawn(move || writer.run(commands))?;
        Ok(Self { database: Mutex::new(Some(database)), queue })
    }

    /// Queues a write, waiting while the queue is full.
    pub(crate) async fn write(&self, write: Write) -> io::Result<()> {
        self.queue.send(write).await.map_err(|_| closed())
    }

    /// Takes a view of the file as it is now, to be read later.
    pub(crate) fn view(&self) -> io::Result<View> {
        let database = self.database.lock();
        let database = database.as_ref().ok_or_else(closed)?;
        Ok(View(database.begin_read().map_err(failed)?))
    }

    /// Writes what is queued, ends the thread and closes the file.
    pub(crate) async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.queue.send(Write::Close(done)).await.is_ok() {
            // An error means that the thread is gone already.
            let _ = ended.await;
        }
        self.database.lock().take();
    }
}

/// The file as it was at one moment.
pub(crate) struct View(redb::ReadTransaction);

impl View {
    /// Reads entries. A hole or a damaged entry is an error, never a shorter answer.
    pub(crate) fn entries(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let table = self.0.open_table(LOG).map_err(failed)?;
        let mut entries = Vec::new();
        let mut expected = range.start;
        for row in table.range(range.clone()).map_err(failed)? {
            let (index, value) = row.map_err(failed)?;
            if index.value() != expected {
                break;
            }
            entries.push(decode::<Entry>(value.value())?);
            expected += 1;
        }
        if expected != range.end {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("log entry {expected} is missing")));
        }
        Ok(entries)
    }
}

/// Reads the single values, creating what a new file lacks.
fn load(write: &WriteTransaction, fresh_id: u64) -> io::Result<Loaded> {
    let mut meta = write.open_table(META).map_err(failed)?;
    let log = write.open_table(LOG).map_err(failed)?;
    let node_id = match get(&meta, "node_id")? {
        Some(id) => id,
        None => {
            put(&mut meta, "node_id", &fresh_id)?;
            fresh_id
        }
    };
    let purged: Option<LogId> = get(&meta, "purged")?;
    let newest = match log.last().map_err(failed)? {
        Some((_, value)) => Some(decode::<Entry>(value.value())?.log_id()),
        None => None,
    };
    // A purge interrupted half-way leaves entries below `purged`; they count as gone.
    let last = newest.max(purged);
    Ok(Loaded { node_id, vote: get(&meta, "vote")?, committed: get(&meta, "committed")?, purged, last })
}

/// The thread's own state.
struct Writer {
    database: Arc<Database>,
    tail: Arc<Mutex<Tail>>,
    /// A committed position waiting for the next transaction.
    committed: Option<Option<LogId>>,
    /// A purge not yet finished.
    purging: Option<LogId>,
}

/// What to call once a transaction is durable.
enum Callback {
    Flushed(IOFlushed<Types>),
    Done(Done),
}

impl Callback {
    fn call(self, result: io::Result<()>) {
        match self {
            Self::Flushed(done) => done.io_completed(result),
            // A receiver that is gone has stopped waiting.
            Self::Done(done) => drop(done.send(result)),
        }
    }
}

impl Writer {
    fn run(mut self, mut commands: mpsc::Receiver<Write>) {
        let mut failure: Option<String> = None;
        loop {
            let mut batch = Vec::new();
            // While a purge is under way the queue is only looked at; otherwise it is waited on.
            let first = if self.purging.is_some() && failure.is_none() {
                commands.try_recv().ok()
            } else {
                let Some(first) = commands.blocking_recv() else { break };
                Some(first)
            };
            batch.extend(first);
            let mut bytes = batch.iter().map(size).sum::<usize>();
            while !batch.is_empty() && batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(next) = commands.try_recv() else { break };
                bytes += size(&next);
                batch.push(next);
            }
            let mut callbacks = Vec::with_capacity(batch.len());
            let mut close = None;
            let result = match &failure {
                Some(reason) => {
                    refuse(batch, &mut callbacks, &mut close);
                    Err(io::Error::other(reason.clone()))
                }
                None => self.commit(batch, &mut callbacks, &mut close),
            };
            if let (Err(source), None) = (&result, &failure) {
                error!(error = source as &dyn std::error::Error, "log write failed, nothing more will be written");
                failure = Some(source.to_string());
            }
            for callback in callbacks {
                callback.call(match &result {
                    Ok(()) => Ok(()),
                    Err(source) => Err(copy(source)),
                });
            }
            if let Some(done) = close {
                drop(self);
                let _ = done.send(());
                return;
            }
        }
        debug!("log thread ended without being closed");
    }

    /// Writes a batch as one transaction. Callbacks are collected in any case, so that none is lost.
    fn commit(
        &mut self,
        batch: Vec<Write>,
        callbacks: &mut Vec<Callback>,
        close: &mut Option<oneshot::Sender<()>>,
    ) -> io::Result<()> {
        let mut work = Vec::with_capacity(batch.len());
        for write in batch {
            match write {
                Write::Committed(committed) => self.committed = Some(committed),
                Write::Purge(upto) => self.purging = self.purging.max(Some(upto)),
                Write::Close(done) => *close = Some(done),
                Write::Append(entries, done) => {
                    callbacks.push(Callback::Flushed(done));
                    work.push(Job::Append(entries));
                }
                Write::Vote(vote, done) => {
                    callbacks.push(Callback::Done(done));
                    work.push(Job::Vote(vote));
                }
                Write::CutFrom(index, done) => {
                    callbacks.push(Callback::Done(done));
                    work.push(Job::CutFrom(index));
                }
            }
        }
        let lazy_only = work.is_empty() && self.purging.is_none() && close.is_none();
        if lazy_only || (work.is_empty() && self.purging.is_none() && self.committed.is_none()) {
            return Ok(());
        }
        let write = self.database.begin_write().map_err(failed)?;
        let mut durable_end = None;
        {
            let mut log = write.open_table(LOG).map_err(failed)?;
            let mut meta = write.open_table(META).map_err(failed)?;
            let mut buffer = Vec::new();
            for job in work {
                match job {
                    Job::Append(entries) => {
                        for entry in entries {
                            let index = entry.log_id().index();
                            encode(&entry, &mut buffer)?;
                            log.insert(index, buffer.as_slice()).map_err(failed)?;
                            durable_end = Some(index + 1);
                        }
                    }
                    Job::Vote(vote) => put(&mut meta, "vote", &vote)?,
                    Job::CutFrom(index) => {
                        log.retain_in(index.., |_, _| false).map_err(failed)?;
                        durable_end = durable_end.map(|end: u64| end.min(index));
                    }
                }
            }
            if let Some(committed) = self.committed.take() {
                match committed {
                    Some(committed) => put(&mut meta, "committed", &committed)?,
                    None => drop(meta.remove("committed").map_err(failed)?),
                }
            }
            if let Some(upto) = self.purging {
                put(&mut meta, "purged", &upto)?;
                let first = log.first().map_err(failed)?.map(|(index, _)| index.value());
                match first.filter(|first| *first <= upto.index()) {
                    Some(first) => {
                        let end = upto.index().min(first.saturating_add(PURGE_MAX - 1));
                        log.retain_in(..=end, |_, _| false).map_err(failed)?;
                    }
                    None => self.purging = None,
                }
            }
        }
        // Durability::Immediate is the default: this returns after fsync.
        write.commit().map_err(failed)?;
        if let Some(end) = durable_end {
            self.tail.lock().durable(end);
        }
        Ok(())
    }
}

/// The part of a [`Write`] that goes to disk at once.
enum Job {
    Append(Vec<Entry>),
    Vote(Vote),
    CutFrom(u64),
}

/// Collects the callbacks of writes that will not be made.
fn refuse(batch: Vec<Write>, callbacks: &mut Vec<Callback>, close: &mut Option<oneshot::Sender<()>>) {
    for write in batch {
        match write {
            Write::Append(_, done) => callbacks.push(Callback::Flushed(done)),
            Write::Vote(_, done) | Write::CutFrom(_, done) => callbacks.push(Callback::Done(done)),
            Write::Committed(_) | Write::Purge(_) => {}
            Write::Close(done) => *close = Some(done),
        }
    }
}

fn size(write: &Write) -> usize {
    match write {
        Write::Append(entries, _) => entries.iter().map(weight).sum(),
        _ => 64,
    }
}

fn encode<T: Serialize>(value: &T, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    buffer.push(VERSION);
    // `&mut Vec` appends to what it holds.
    postcard::to_io(value, &mut *buffer).map_err(io::Error::other)?;
    Ok(())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
        Some((version, _)) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("log format {version} is not known to this version"),
        )),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "empty value in the log file")),
    }
}

fn get<T: DeserializeOwned>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> io::Result<Option<T>> {
    match meta.get(key).map_err(failed)? {
        Some(value) => decode(value.value()).map(Some),
        None => Ok(None),
    }
}

fn put<T: Serialize>(meta: &mut redb::Table<'_, &'static str, &'static [u8]>, key: &str, value: &T) -> io::Result<()> {
    let mut buffer = Vec::new();
    encode(value, &mut buffer)?;
    meta.insert(key, buffer.as_slice()).map_err(failed)?;
    Ok(())
}

/// Keeps the system's error kind (disk full, permission) where redb has one.
fn failed(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(source) => source,
        other => io::Error::other(other),
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

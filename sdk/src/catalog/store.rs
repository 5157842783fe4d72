//! The last good answer of a service on disk, for a start while no server answers.
//!
//! A file holds magic, format version, checksum (XXH3-64) and the answer as it came; it is written and synced beside
//! its place and renamed, so that a reader sees the old one or the new one, even after a loss of power. Written at most once a
//! second, off the request path. Decides nothing about when it is used: that is `watch`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use callboard_proto::Index;
use callboard_proto::api::query::escape;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;
use twox_hash::XxHash3_64;

const MAGIC: &[u8; 8] = b"CBRDLAST";
const VERSION: u32 = 1;
/// Magic, version, checksum, index, milliseconds since 1970.
const HEAD: usize = 8 + 4 + 8 + 8 + 8;
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Says why a file cannot be used. It is left as it is, and replaced by the next good answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not such a file, or was cut or changed.
    #[error("{path}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// It was written by a later version.
    #[error("{path}: format version {version}; this program knows up to {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// Holds an answer that was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// Its index.
    pub index: Index,
    /// The body as it came.
    pub body: Bytes,
    saved_ms: u64,
}

impl LastGood {
    /// Takes an answer that came just now.
    #[must_use]
    pub fn now(index: Index, body: Bytes) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { index, body, saved_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Returns when it came.
    #[must_use]
    pub fn saved(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.saved_ms)).unwrap_or_else(SystemTime::now)
    }

    fn encode(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(HEAD + self.body.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&[0; 8]);
        file.extend_from_slice(&self.index.0.to_le_bytes());
        file.extend_from_slice(&self.saved_ms.to_le_bytes());
        file.extend_from_slice(&self.body);
        let sum = XxHash3_64::oneshot(&file[20..]);
        file[12..20].copy_from_slice(&sum.to_le_bytes());
        file
    }

    fn decode(file: Vec<u8>, path: &Path) -> Result<Self, StoreError> {
        let corrupt = |what| StoreError::Corrupt { path: path.to_owned(), what };
        let word = |at: usize| {
            let bytes = file.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        if file.len() < HEAD || !file.starts_with(MAGIC) {
            return Err(corrupt("not a last-good file"));
        }
        let version = file.get(8..12).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
        match version {
            Some(VERSION) => {}
            Some(version) => return Err(StoreError::Version { path: path.to_owned(), version }),
            None => return Err(corrupt("cut short")),
        }
        let (Some(sum), Some(index), Some(saved_ms)) = (word(12), word(20), word(28)) else {
            return Err(corrupt("cut short"));
        };
        if XxHash3_64::oneshot(&file[20..]) != sum {
            return Err(corrupt("its checksum does not fit its contents"));
        }
        Ok(Self { index: Index(index), body: Bytes::from(file).slice(HEAD..), saved_ms })
    }
}

/// Names the file of one service.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// Builds the store of a service in a folder, which need not exist. `datacenter` keeps answers of several
    /// apart; it may be empty.
    #[must_use]
    pub fn new(folder: &Path, datacenter: &str, service: &str) -> Self {
        let service = service.to_ascii_lowercase();
        let readable: String = escape(&service).to_string().chars().take(80).collect();
        // The hash tells apart what was cut off, and the datacenters.
        let sum = XxHash3_64::oneshot(format!("{datacenter}\0{service}").as_bytes());
        Self { path: folder.join(format!("{readable}-{sum:016x}.last")) }
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is not whole.
    pub fn load(&self) -> Result<Option<LastGood>, StoreError> {
        match std::fs::read(&self.path) {
            Ok(file) => LastGood::decode(file, &self.path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { doing: "reading", path: self.path.clone(), source }),
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When it cannot be written; the old file stands.
    pub fn save(&self, answer: &LastGood) -> Result<(), StoreError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { doing, path, source }
        };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(io("creating", folder))?;
        }
        // Two processes may share the folder, and two clients a process.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let turn = WRITES.fetch_add(1, Ordering::Relaxed);
        let beside = self.path.with_extension(format!("{}-{turn}.tmp", std::process::id()));
        let write = || {
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(&answer.encode())?;
            file.sync_data()
        };
        let replace = || {
            write().map_err(io("writing", &beside))?;
            std::fs::rename(&beside, &self.path).map_err(io("replacing", &self.path))
        };
        if let Err(error) = replace() {
            // What is left beside it helps nobody; the first error is the one to tell.
            let _ = std::fs::remove_file(&beside);
            return Err(error);
        }
        // The new name itself lives in the folder.
        #[cfg(unix)]
        if let Some(folder) = self.path.parent() {
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("syncing", folder))?;
        }
        Ok(())
    }

    /// Starts writing answers behind the caller's back.
    pub(crate) fn start(self, tracker: &TaskTracker) -> Writer {
        let (sender, receiver) = watch::channel(None);
        let end = CancellationToken::new();
        tracker.spawn(self.write_behind(receiver, end.clone()));
        Writer { sender, _end: end.drop_guard() }
    }

    async fn write_behind(self, mut news: watch::Receiver<Option<LastGood>>, end: CancellationToken) {
        // Ends, after writing what is left, when the watch that feeds it ends.
        while news.changed().await.is_ok() {
            let Some(answer) = news.borrow_and_update().clone() else { continue };
            let store = self.clone();
            let saved = tokio::task::spawn_blocking(move || store.save(&answer)).await;
            if let Ok(Err(error)) = saved {
                warn!(error = crate::error::chain(&error), "last-good file cannot be written");
            }
            // A burst is written once, since only the newest counts.
            end.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await;
        }
    }
}

/// Takes answers to be written.
pub(crate) struct Writer {
    sender: watch::Sender<Option<LastGood>>,
    _end: DropGuard,
}

impl Writer {
    pub(crate) fn write(&self, answer: LastGood) {
        self.sender.send_replace(Some(answer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("deeper"), "dc1", "Web/1");
        assert!(store.load().unwrap().is_none());
        let answer = LastGood::now(Index(7), Bytes::from_static(b"[]"));
        store.save(&answer).unwrap();
        assert_eq!(store.load().unwrap(), Some(answer));
        assert!(Store::new(folder.path(), "dc2", "web").path() != Store::new(folder.path(), "", "web").path());
        let names: Vec<_> = std::fs::read_dir(store.path().parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
        let blocked = Store::new(folder.path(), "", "blocked");
        std::fs::create_dir_all(blocked.path().join("x")).unwrap();
        assert!(blocked.save(&LastGood::now(Index(1), Bytes::new())).is_err());
        let strays = std::fs::read_dir(folder.path()).unwrap().flatten();
        assert!(!strays.map(|file| file.path()).any(|path| path.extension().is_some_and(|end| end == "tmp")));
        let long = Store::new(folder.path(), "", &"ü".repeat(256));
        long.save(&LastGood::now(Index(1), Bytes::new())).unwrap();
    }

    #[test]
    fn a_later_format_is_named() {
        let mut file = LastGood::now(Index(7), Bytes::new()).encode();
        file[8] = 2;
        let error = LastGood::decode(file, Path::new("x")).unwrap_err();
        assert!(matches!(error, StoreError::Version { version: 2, .. }));
    }

    proptest! {
        #[test]
        fn no_damage_goes_unnoticed(body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index) {
            let file = LastGood::now(Index(7), Bytes::from(body)).encode();
            let mut flipped = file.clone();
            flipped[at.index(file.len())] ^= 1 << bit;
            prop_assert!(LastGood::decode(flipped, Path::new("x")).is_err());
            let cut = file[..cut.index(file.len())].to_vec();
            prop_assert!(LastGood::decode(cut, Path::new("x")).is_err());
        }
    }
}

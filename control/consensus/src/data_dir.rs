//! The data folder: its lock, the names inside it, and making a new name durable.
//!
//! It decides that one process at a time works in a folder. It does not read or write what the files hold.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A folder that this process holds. Dropping it lets others in.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Held locked for as long as it is open. The system releases it when the process dies.
    _lock: File,
}

impl DataDir {
    /// Creates the folder if needed and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::DataDir { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::DataDirLocked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // A lock file that exists already says nothing about whether new files can be made.
        sync_dir(path).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The log file.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.path.join("log.redb")
    }
}

/// Makes the names in a folder durable: without it a renamed file may be gone after a power cut.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder");
        let held = DataDir::open(&path).unwrap();
        let Err(Error::DataDirLocked { path: named }) = DataDir::open(&path) else { panic!("taken twice") };
        assert_eq!(named, path);
        drop(held);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        assert!(matches!(DataDir::open(&path), Err(Error::DataDir { path: named, .. }) if named == path));
    }
}

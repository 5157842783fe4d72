//! A registry as an archive that is kept elsewhere: a gzip of a tar of `meta.json`, `state.bin` and `SHA256SUMS`.
//!
//! Nothing is believed of an archive before all of it was read, every checksum compared and the state audited; older
//! formats of the state are read too. Bounded: an archive that unpacks without end is refused. How a state that was read
//! replaces the present one is not decided here. Called by the HTTP door.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::registry::{CheckpointError, Registry};

/// The largest archive that is taken, in bytes.
pub const ARCHIVE_MAX: usize = 256 << 20;
/// The most that one unpacks to, in bytes.
const UNPACKED_MAX: u64 = 1 << 30;

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapshotMeta {
    /// Of which state it is.
    #[serde(rename = "ID")]
    pub id: String,
    /// The index of that state.
    pub index: u64,
    /// The length of the state, in bytes.
    pub size: u64,
    /// The format of the state.
    pub format: u8,
    /// The version of the interface of whoever wrote it.
    pub version: String,
}

/// Why an archive is not taken. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It ends too early, or is no gzip of a tar.
    #[error("the archive cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Another file, or one twice.
    #[error("the archive holds {0:?}, which does not belong there")]
    Surplus(String),
    /// A file is not there.
    #[error("the archive holds no {0}")]
    Missing(&'static str),
    /// A file or its checksum was changed.
    #[error("the checksum of {0} is another: the archive is damaged")]
    Sum(&'static str),
    /// There is something behind the archive.
    #[error("{0} bytes follow the archive")]
    Trailing(usize),
    /// It is too large.
    #[error("the archive unpacks to more than {UNPACKED_MAX} bytes")]
    TooLarge,
    /// What it says of itself cannot be read.
    #[error("{META}: {0}")]
    Meta(#[from] serde_json::Error),
    /// The state is none.
    #[error("{STATE}: {0}")]
    State(#[from] CheckpointError),
}

/// Writes a state as an archive. The same state makes the same bytes.
///
/// # Errors
/// When there is no memory for it.
pub fn write(registry: &Registry, version: &str) -> Result<Vec<u8>, SnapshotError> {
    let mut state = Vec::new();
    registry.write_to(&mut state)?;
    let index = registry.index().0;
    let meta = SnapshotMeta {
        id: format!("callboard-{index}"),
        index,
        size: state.len() as u64,
        format: state.first().copied().unwrap_or_default(),
        version: version.to_owned(),
    };
    let meta = serde_json::to_vec(&meta)?;
    let sums = format!("{}  {META}\n{}  {STATE}\n", sum(&meta), sum(&state));
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in [(META, meta.as_slice()), (STATE, &state), (SUMS, sums.as_bytes())] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        tar.append_data(&mut header, name, bytes)?;
    }
    Ok(tar.into_inner()?.finish()?)
}

/// An archive that may be believed.
#[derive(Debug)]
pub struct Unpacked {
    /// What it says of itself.
    pub meta: SnapshotMeta,
    /// The state as bytes.
    pub state: Vec<u8>,
}

/// Reads an archive whole, and the state in it.
///
/// # Errors
/// Says what is wrong with it.
pub fn read(archive: &[u8]) -> Result<Unpacked, SnapshotError> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(UNPACKED_MAX));
    let mut files: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let known = [META, STATE, SUMS].into_iter().find(|name| *name == path && !files.contains_key(name));
        let name = known.ok_or_else(|| SnapshotError::Surplus(path.chars().take(64).collect()))?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != entry.header().size()? {
            return Err(SnapshotError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        files.insert(name, bytes);
    }
    // To the very end, where the gzip's own checksum stands.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    if rest.limit() == 0 {
        return Err(SnapshotError::TooLarge);
    }
    let behind = rest.into_inner().into_inner();
    if !behind.is_empty() {
        return Err(SnapshotError::Trailing(behind.len()));
    }
    let mut take = |name| files.remove(name).ok_or(SnapshotError::Missing(name));
    let (meta, state, sums) = (take(META)?, take(STATE)?, take(SUMS)?);
    let sums = String::from_utf8_lossy(&sums);
    for (name, bytes) in [(META, &meta), (STATE, &state)] {
        let listed = sums.lines().filter_map(|line| line.split_once("  ")).find(|(_, of)| *of == name);
        if listed.is_none_or(|(listed, _)| listed != sum(bytes)) {
            return Err(SnapshotError::Sum(name));
        }
    }
    let meta = serde_json::from_slice(&meta)?;
    Registry::read_from(&mut state.as_slice())?;
    Ok(Unpacked { meta, state })
}

fn sum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::registry::{Command, KvCondition, Touched};

    fn registry() -> Registry {
        let mut registry = Registry::default();
        for n in 0..50_u8 {
            let (key, value) = (format!("key/{n}").into(), Arc::from([n; 32]));
            let command = Command::KvSet { key, value, flags: 0, condition: KvCondition::Always };
            registry.apply(command, &mut Touched::default());
        }
        registry
    }

    fn state(registry: &Registry) -> Vec<u8> {
        let mut state = Vec::new();
        registry.write_to(&mut state).unwrap();
        state
    }

    #[test]
    fn what_is_written_is_read() {
        let registry = registry();
        let archive = write(&registry, "1.2.3").unwrap();
        assert_eq!(archive[..2], [0x1f, 0x8b]);
        assert_eq!(archive, write(&registry, "1.2.3").unwrap());
        let unpacked = read(&archive).unwrap();
        assert_eq!(unpacked.state, state(&registry));
        assert_eq!((unpacked.meta.index, &*unpacked.meta.version), (50, "1.2.3"));
    }

    #[test]
    fn what_does_not_belong_there_is_refused() {
        let archive = write(&registry(), "1").unwrap();
        let with_more = [&archive[..], b"x"].concat();
        assert!(matches!(read(&with_more), Err(SnapshotError::Trailing(1))));
        assert!(matches!(read(b"junk"), Err(SnapshotError::Read(_))));
        assert!(matches!(read(b""), Err(SnapshotError::Read(_))));
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        tar.append_data(&mut header, "other", &b"x"[..]).unwrap();
        let other = tar.into_inner().unwrap().finish().unwrap();
        assert!(matches!(read(&other), Err(SnapshotError::Surplus(name)) if name == "other"));
        let empty = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let empty = empty.into_inner().unwrap().finish().unwrap();
        assert!(matches!(read(&empty), Err(SnapshotError::Missing(META))));
    }

    proptest! {
        /// Whatever is changed or cut off: it is refused, or says the same.
        #[test]
        fn a_damaged_archive_is_refused(place in any::<prop::sample::Index>(), flip in 1u8.., cut: bool) {
            let registry = registry();
            let mut archive = write(&registry, "1").unwrap();
            let place = place.index(archive.len());
            if cut { archive.truncate(place) } else { archive[place] ^= flip }
            if let Ok(unpacked) = read(&archive) {
                prop_assert!(!cut, "cut at {}", place);
                prop_assert_eq!(unpacked.state, state(&registry));
            }
        }
    }
}

//! A snapshot's archive, read: a gzip of a tar of a few files and the checksums of them.
//!
//! Nothing is believed of an archive before every checksum was compared and every file is among them. Bounded: a file that
//! unpacks without end is refused. Knows nothing of what is in the state. Called by `snapshot`.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ring::digest::{Context, SHA256};
use serde_json::Value;

/// The file of checksums, as `sha256sum` writes it.
const SUMS: &str = "SHA256SUMS";
/// The file that says what it is.
const META: &str = "meta.json";
/// The largest of the two, in bytes.
const SMALL_MAX: u64 = 1 << 20;
/// The most that an archive may unpack to, in bytes.
const UNPACKED_MAX: u64 = 64 << 30;
/// The most files in it.
const FILES_MAX: usize = 64;

/// Why an archive is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// It cannot be read, or is no gzip of a tar.
    #[error("it cannot be read as a gzip of a tar")]
    Read(#[from] io::Error),
    /// A file is missing that must be there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A file was changed, or its checksum.
    #[error("the checksum of {0} is another: the archive is damaged")]
    Sum(String),
    /// A file has no checksum.
    #[error("{0} has no checksum")]
    Unsummed(String),
    /// A bound was reached.
    #[error("the bound of {max} {what} was reached")]
    Bound {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// What says what it is cannot be read.
    #[error("{META} cannot be read")]
    Meta(#[from] serde_json::Error),
}

/// What an archive says of itself.
#[derive(Debug)]
pub(super) struct Archive {
    /// The members of its description.
    pub(super) meta: Value,
    /// The files and their lengths in bytes.
    pub(super) files: BTreeMap<String, u64>,
}

/// Reads an archive to its end and compares every checksum.
pub(super) fn verified(from: impl Read) -> Result<Archive, ArchiveError> {
    let unpacked = flate2::read::GzDecoder::new(from).take(UNPACKED_MAX + 1);
    let mut tar = tar::Archive::new(unpacked);
    let (mut files, mut sums, mut small) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if files.len() == FILES_MAX {
            return Err(ArchiveError::Bound { what: "files", max: FILES_MAX as u64 });
        }
        let (mut digest, mut length) = (Context::new(&SHA256), 0u64);
        let mut kept = Vec::new();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = entry.read(&mut piece)?;
            if count == 0 {
                break;
            }
            length += count as u64;
            digest.update(&piece[..count]);
            if name == SUMS || name == META {
                if length > SMALL_MAX {
                    return Err(ArchiveError::Bound { what: "bytes of a description", max: SMALL_MAX });
                }
                kept.extend_from_slice(&piece[..count]);
            }
        }
        let digest = digest.finish();
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        sums.insert(name.clone(), hex);
        small.insert(name.clone(), kept);
        files.insert(name, length);
    }
    // A tar says where it ends; whether the gzip around it is whole is known only at its own end.
    io::copy(&mut tar.into_inner(), &mut io::sink())?;
    if files.values().sum::<u64>() > UNPACKED_MAX {
        return Err(ArchiveError::Bound { what: "bytes unpacked", max: UNPACKED_MAX });
    }
    let listed = small.get(SUMS).ok_or(ArchiveError::Missing(SUMS))?;
    let listed = String::from_utf8_lossy(listed);
    let listed: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(sum, name)| (name.trim_start().trim_start_matches('*'), sum))
        .collect();
    for (name, sum) in sums.iter().filter(|(name, _)| *name != SUMS) {
        match listed.get(name.as_str()) {
            Some(listed) if listed.eq_ignore_ascii_case(sum) => {}
            Some(_) => return Err(ArchiveError::Sum(name.clone())),
            None => return Err(ArchiveError::Unsummed(name.clone())),
        }
    }
    if let Some(lost) = listed.keys().find(|name| !sums.contains_key(**name)) {
        return Err(ArchiveError::Sum((*lost).to_owned()));
    }
    let meta = small.get(META).ok_or(ArchiveError::Missing(META))?;
    Ok(Archive { meta: serde_json::from_slice(meta)?, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs files, and their checksums.
    fn packed(files: &[(&str, &str)], sums: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut add = |name: &str, content: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        };
        for (name, content) in files {
            add(name, content);
        }
        let sum = |content: &str| -> String {
            let digest = ring::digest::digest(&SHA256, content.as_bytes());
            digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let list: String = sums.iter().map(|(name, content)| format!("{}  {name}\n", sum(content))).collect();
        add(SUMS, &list);
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_whole_archive_says_what_it_is() {
        let files = [(META, r#"{"Index": 7}"#), ("state.bin", "state")];
        let archive = verified(&packed(&files, &files)[..]).unwrap();
        assert_eq!((archive.meta["Index"].as_u64(), archive.files["state.bin"]), (Some(7), 5));
    }

    #[test]
    fn what_was_changed_or_left_out_is_named() {
        let files = [(META, "{}"), ("state.bin", "state")];
        let check = |files: &[(&str, &str)], sums: &[(&str, &str)], part: &str| {
            let text = verified(&packed(files, sums)[..]).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        };
        check(&files, &[(META, "{}"), ("state.bin", "other")], "checksum of state.bin");
        check(&files, &files[..1], "state.bin has no checksum");
        check(&files[..1], &files, "checksum of state.bin");
        check(&files[1..], &files[1..], "it has no meta.json");
        let whole = packed(&files, &files);
        for cut in [0, 1, 20, whole.len() / 2, whole.len() - 9] {
            assert!(verified(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(verified(&b"no archive"[..]).is_err());
    }
}

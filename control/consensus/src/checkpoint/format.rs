//! The bytes of a checkpoint: head, state, checksum. PURE over readers and writers.
//!
//! ```text
//! magic     8 bytes  "CALLBRD\0"
//! version   u32 LE   1
//! meta_len  u32 LE
//! meta      postcard: last applied entry and the membership then
//! state     what the machine wrote
//! checksum  u64 LE   XXH3-64 of everything before it
//! ```
//!
//! The same bytes are a file on disk and what a leader sends to a follower. A checksum finds damage, not
//! malice: the transport authenticates the sender.

use std::hash::Hasher;
use std::io::{self, Read, Write};

use twox_hash::XxHash3_64;

use crate::types::Meta;

const MAGIC: &[u8; 8] = b"CALLBRD\0";
const VERSION: u32 = 1;
/// A membership of a hundred thousand nodes would not reach this.
const META_MAX: u32 = 16 << 20;
const CHECKSUM_LEN: u64 = 8;
const COPY_LEN: usize = 256 << 10;

/// Where the parts of a verified checkpoint lie.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) meta: Meta,
    /// Offset of the state.
    pub(crate) state_at: u64,
    /// Length of the state.
    pub(crate) state_len: u64,
}

/// Passes bytes on and remembers their checksum and length.
struct Summing<W> {
    to: W,
    hash: XxHash3_64,
    len: u64,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.to.write(buf)?;
        self.hash.write(&buf[..n]);
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes a whole checkpoint and returns its length.
pub(crate) fn write(
    to: impl Write,
    meta: &Meta,
    state: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let mut to = Summing { to, hash: XxHash3_64::new(), len: 0 };
    let meta = postcard::to_stdvec(meta).map_err(io::Error::other)?;
    let meta_len = u32::try_from(meta.len()).map_err(io::Error::other)?;
    to.write_all(MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    to.write_all(&meta_len.to_le_bytes())?;
    to.write_all(&meta)?;
    state(&mut to)?;
    let sum = to.hash.finish();
    to.write_all(&sum.to_le_bytes())?;
    to.flush()?;
    Ok(to.len)
}

/// Reads a checkpoint of `len` bytes from end to end and checks it.
pub(crate) fn verify(from: &mut impl Read, len: u64) -> io::Result<Layout> {
    let mut head = [0; 16];
    let mut from = from.take(len);
    from.read_exact(&mut head).map_err(|_| damaged("it ends within its head"))?;
    if &head[..8] != MAGIC {
        return Err(damaged("it does not begin like a checkpoint"));
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    // Every version begins with the magic and ends with the checksum, so damage is told from novelty.
    let version = word(8);
    let meta_len = if version == VERSION { word(12) } else { 0 };
    let state_at = 16 + u64::from(meta_len);
    if meta_len > META_MAX || state_at + CHECKSUM_LEN > len {
        return Err(damaged("its head is longer than the file"));
    }
    let mut hash = XxHash3_64::new();
    hash.write(&head);
    let mut meta = vec![0; meta_len as usize];
    from.read_exact(&mut meta).map_err(|_| damaged("it ends within its head"))?;
    hash.write(&meta);
    let state_len = len - state_at - CHECKSUM_LEN;
    let mut left = state_len;
    let mut buffer = vec![0; COPY_LEN];
    while left > 0 {
        let n = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        from.read_exact(&mut buffer[..n]).map_err(|_| damaged("it is shorter than its length"))?;
        hash.write(&buffer[..n]);
        left -= n as u64;
    }
    let mut sum = [0; CHECKSUM_LEN as usize];
    from.read_exact(&mut sum).map_err(|_| damaged("its checksum is missing"))?;
    if u64::from_le_bytes(sum) != hash.finish() {
        return Err(damaged("its checksum does not match"));
    }
    if version != VERSION {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("checkpoint format {version} is not known to this version"),
        ));
    }
    // Decoded only once known to be what was written.
    let meta = postcard::from_bytes(&meta).map_err(|error| damaged(&error.to_string()))?;
    Ok(Layout { meta, state_at, state_len })
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged checkpoint: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint(state: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let len = write(&mut bytes, &Meta::default(), |to| to.write_all(state)).unwrap();
        assert_eq!(len, bytes.len() as u64);
        bytes
    }

    #[test]
    fn what_was_written_is_found() {
        let bytes = checkpoint(b"the state");
        let layout = verify(&mut bytes.as_slice(), bytes.len() as u64).unwrap();
        let at = usize::try_from(layout.state_at).unwrap();
        assert_eq!(&bytes[at..at + usize::try_from(layout.state_len).unwrap()], b"the state");
        assert_eq!(layout.meta, Meta::default());
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = checkpoint(b"the state");
        bytes[8] = 2;
        let end = bytes.len() - 8;
        let mut hash = XxHash3_64::new();
        hash.write(&bytes[..end]);
        bytes[end..].copy_from_slice(&hash.finish().to_le_bytes());
        let error = verify(&mut bytes.as_slice(), bytes.len() as u64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(state in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = checkpoint(&state);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(verify(&mut bytes.as_slice(), bytes.len() as u64).is_err());
        }

        #[test]
        fn any_shorter_file_is_found(state in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
            let bytes = checkpoint(&state);
            let cut = &bytes[..at.index(bytes.len())];
            prop_assert!(verify(&mut &*cut, cut.len() as u64).is_err());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = verify(&mut bytes.as_slice(), bytes.len() as u64);
        }
    }
}

//! Seals what members say to each other, so that only holders of a key can speak and listen.
//!
//! AES-256-GCM under a key made for one process by HKDF-SHA256 (RFC 5869) from the shared key and a random salt; the
//! salt and a counter travel with each message, so a nonce never comes twice. Messages say which key they are under by
//! the first bytes of its hash. What fails is counted and dropped by the caller. Keys are never shown but to operators
//! who list them.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The most keys of one ring.
pub(super) const KEYS_MAX: usize = 16;
/// Where the keys are kept inside the data folder.
const FILE: &str = "gossip.keys";
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const ID_LEN: usize = 4;
const SALT_LEN: usize = 16;
const HEAD_LEN: usize = 1 + ID_LEN + SALT_LEN + 8;
/// By how much sealing lengthens a message, in bytes.
pub(super) const OVERHEAD: usize = HEAD_LEN + 16;

/// Why a key was not taken, changed or removed. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not a key.
    #[error("key must be 16, 24 or 32 bytes, in base64")]
    Malformed,
    /// No key was ever given: gossip is not encrypted, and cannot be made so while it runs.
    #[error("keyring is empty")]
    Empty,
    /// It is not in the ring.
    #[error("requested key is not in the keyring")]
    Unknown,
    /// It is the one in use.
    #[error("removing the primary key is not allowed")]
    Primary,
    /// There are as many as there may be.
    #[error("no more than {KEYS_MAX} keys may be installed")]
    TooMany,
    /// The system gives no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// The keys cannot be kept.
    #[error("keeping the keys in {path}: {source}")]
    Keep {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

#[derive(Clone, PartialEq)]
struct Key {
    id: [u8; ID_LEN],
    secret: Vec<u8>,
}

impl Key {
    fn parse(text: &str) -> Result<Key, KeyError> {
        let secret = STANDARD.decode(text.trim()).map_err(|_| KeyError::Malformed)?;
        if ![16, 24, 32].contains(&secret.len()) {
            return Err(KeyError::Malformed);
        }
        let hash = ring::digest::digest(&ring::digest::SHA256, &secret);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&hash.as_ref()[..ID_LEN]);
        Ok(Key { id, secret })
    }

    fn text(&self) -> String {
        STANDARD.encode(&self.secret)
    }

    /// The key of one process.
    fn of_process(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let prk = Salt::new(HKDF_SHA256, salt).extract(&self.secret);
        let purpose = [&b"callboard gossip 1"[..]];
        let okm = prk.expand(&purpose, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

/// Where keys come from, and how strictly they are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyringOptions<'a> {
    /// A key, in base64; without one gossip is open.
    pub given: Option<&'a str>,
    /// Where keys are kept.
    pub folder: Option<&'a Path>,
    /// Whether messages that are not sealed are heard all the same, while a cluster goes over to keys.
    pub plain_heard: bool,
    /// Whether messages are not sealed yet.
    pub plain_said: bool,
}

/// The keys of this node; the first one seals.
pub struct Keyring {
    keys: RwLock<Vec<Key>>,
    file: Option<PathBuf>,
    salt: [u8; SALT_LEN],
    sent: AtomicU64,
    dropped: AtomicU64,
    plain_heard: bool,
    plain_said: bool,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.read().len())
    }
}

impl Keyring {
    /// The keys kept in a folder, or else the one that is given; none at all leaves gossip open.
    ///
    /// # Errors
    /// When a key is none, or the kept ones cannot be read.
    pub fn open(options: KeyringOptions<'_>) -> Result<Keyring, KeyError> {
        let KeyringOptions { given, folder, plain_heard, plain_said } = options;
        let file = folder.map(|folder| folder.join(FILE));
        let kept = match &file {
            Some(path) if given.is_some() && path.exists() => {
                std::fs::read_to_string(path).map_err(|source| KeyError::Keep { path: path.clone(), source })?
            }
            _ => String::new(),
        };
        let mut keys = kept.lines().map(Key::parse).collect::<Result<Vec<_>, _>>()?;
        if let Some(given) = given {
            let given = Key::parse(given)?;
            if !keys.contains(&given) {
                keys.push(given);
            }
        }
        let mut salt = [0; SALT_LEN];
        SystemRandom::new().fill(&mut salt).map_err(|_| KeyError::Random)?;
        let (keys, sent, dropped) = (RwLock::new(keys), AtomicU64::new(0), AtomicU64::new(0));
        Ok(Keyring { keys, file, salt, sent, dropped, plain_heard, plain_said })
    }

    /// Whether messages are sealed.
    #[must_use]
    pub fn is_sealing(&self) -> bool {
        !self.keys.read().is_empty()
    }

    /// How many messages were dropped because no key fits.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Seals a message; as it is when there is no key.
    pub(super) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let keys = self.keys.read();
        let mut out = Vec::with_capacity(OVERHEAD + plain.len());
        let Some(key) = keys.first().filter(|_| !self.plain_said) else {
            out.push(PLAIN);
            out.extend_from_slice(plain);
            return out;
        };
        let count = self.sent.fetch_add(1, Ordering::Relaxed);
        out.push(SEALED);
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&count.to_be_bytes());
        let mut body = plain.to_vec();
        let cipher = key.of_process(&self.salt).expect("the length of an AES-256 key can be derived");
        let sealed = cipher.seal_in_place_append_tag(nonce(count), Aad::from(&out[..]), &mut body);
        sealed.expect("a message is far shorter than AES-GCM allows");
        out.extend_from_slice(&body);
        out
    }

    /// Opens a message; nothing, and it is counted, when it was not sealed as it must be.
    pub(super) fn open_sealed(&self, message: &[u8]) -> Option<Vec<u8>> {
        let opened = self.try_open(message);
        if opened.is_none() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        opened
    }

    fn try_open(&self, message: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read();
        match message.split_first()? {
            (&PLAIN, plain) if keys.is_empty() || self.plain_heard => Some(plain.to_vec()),
            (&SEALED, _) if message.len() >= OVERHEAD => {
                let (head, body) = message.split_at(HEAD_LEN);
                let key = keys.iter().find(|key| key.id == head[1..1 + ID_LEN])?;
                let salt = &head[1 + ID_LEN..1 + ID_LEN + SALT_LEN];
                let count = u64::from_be_bytes(head[HEAD_LEN - 8..].try_into().ok()?);
                let mut body = body.to_vec();
                let plain = key.of_process(salt)?.open_in_place(nonce(count), Aad::from(head), &mut body).ok()?.len();
                body.truncate(plain);
                Some(body)
            }
            _ => None,
        }
    }

    /// The keys as text, the one in use first.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.keys.read().iter().map(Key::text).collect()
    }

    /// Adds a key that messages may be under from now on.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn install(&self, text: &str) -> Result<(), KeyError> {
        self.change(text, |keys, key| {
            if keys.len() >= KEYS_MAX && !keys.contains(&key) {
                return Err(KeyError::TooMany);
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
            Ok(())
        })
    }

    /// Seals with an installed key from now on.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn use_key(&self, text: &str) -> Result<(), KeyError> {
        self.change(text, |keys, key| {
            let place = keys.iter().position(|other| *other == key).ok_or(KeyError::Unknown)?;
            let key = keys.remove(place);
            keys.insert(0, key);
            Ok(())
        })
    }

    /// Removes a key that is not in use.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn remove(&self, text: &str) -> Result<(), KeyError> {
        self.change(text, |keys, key| match keys.iter().position(|other| *other == key) {
            Some(0) => Err(KeyError::Primary),
            Some(place) => {
                keys.remove(place);
                Ok(())
            }
            None => Ok(()),
        })
    }

    fn change(
        &self,
        text: &str,
        change: impl FnOnce(&mut Vec<Key>, Key) -> Result<(), KeyError>,
    ) -> Result<(), KeyError> {
        let mut keys = self.keys.write();
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        let mut changed = keys.clone();
        change(&mut changed, Key::parse(text)?)?;
        if let Some(path) = &self.file {
            keep(path, &changed).map_err(|source| KeyError::Keep { path: path.clone(), source })?;
        }
        *keys = changed;
        Ok(())
    }
}

fn nonce(count: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Writes the keys where only the owner reads them.
fn keep(path: &Path, keys: &[Key]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    for key in keys {
        writeln!(file, "{}", key.text())?;
    }
    file.sync_all()?;
    std::fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(given: Option<&str>, folder: Option<&Path>) -> Keyring {
        Keyring::open(KeyringOptions { given, folder, ..KeyringOptions::default() }).unwrap()
    }

    fn key(byte: u8, len: usize) -> String {
        STANDARD.encode(vec![byte; len])
    }

    #[test]
    fn what_is_sealed_opens_under_the_same_key_and_no_other() {
        for len in [16, 24, 32] {
            let one = open(Some(&key(1, len)), None);
            let same = open(Some(&key(1, len)), None);
            let other = open(Some(&key(2, len)), None);
            let open = open(None, None);
            let sealed = one.seal(b"hello");
            assert_eq!(sealed.len(), 5 + OVERHEAD);
            assert_ne!(one.seal(b"hello"), sealed, "a nonce never comes twice");
            assert_eq!(same.open_sealed(&sealed).as_deref(), Some(&b"hello"[..]));
            assert_eq!(other.open_sealed(&sealed), None);
            assert_eq!(open.open_sealed(&sealed), None);
            assert_eq!(one.open_sealed(&open.seal(b"hello")), None, "plain words are not heard");
            for place in 0..sealed.len() {
                let mut bent = sealed.clone();
                bent[place] ^= 1;
                assert_eq!(same.open_sealed(&bent), None, "byte {place}");
            }
            assert_eq!(same.dropped(), sealed.len() as u64);
        }
    }

    #[test]
    fn a_cluster_goes_over_to_keys_step_by_step() {
        let (key, plain) = (key(1, 32), open(None, None));
        let soft =
            KeyringOptions { given: Some(&key), plain_heard: true, plain_said: true, ..KeyringOptions::default() };
        let first = Keyring::open(soft).unwrap();
        assert_eq!(plain.open_sealed(&first.seal(b"x")).as_deref(), Some(&b"x"[..]));
        assert_eq!(first.open_sealed(&plain.seal(b"x")).as_deref(), Some(&b"x"[..]));
        let second = Keyring::open(KeyringOptions { plain_said: false, ..soft }).unwrap();
        assert_eq!(first.open_sealed(&second.seal(b"x")).as_deref(), Some(&b"x"[..]));
        assert_eq!(plain.open_sealed(&second.seal(b"x")), None);
    }

    #[test]
    fn keys_rotate_and_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (key(1, 32), key(2, 16));
        let ring = open(Some(&old), Some(folder.path()));
        assert!(matches!(ring.use_key(&new), Err(KeyError::Unknown)));
        ring.install(&new).unwrap();
        let before = ring.seal(b"x");
        ring.use_key(&new).unwrap();
        assert_eq!(ring.list(), [new.clone(), old.clone()]);
        assert!(ring.open_sealed(&before).is_some());
        assert!(matches!(ring.remove(&new), Err(KeyError::Primary)));
        ring.remove(&old).unwrap();
        assert!(ring.open_sealed(&before).is_none());
        assert!(matches!(ring.install("short"), Err(KeyError::Malformed)));
        let again = open(Some(&new), Some(folder.path()));
        assert_eq!(again.list(), [new]);
        assert!(matches!(open(None, None).install(&old), Err(KeyError::Empty)));
        assert_eq!(format!("{again:?}"), "Keyring(1 keys)");
    }
}

//! What a token is told by.
//!
//! A secret is never shown by accident: it prints as `<hidden>`. It is hashed once, when it arrives; everything after
//! compares hashes, in constant time.

use std::fmt;

use callboard_proto::acl::rows::SecretHash;
use callboard_proto::text::Text;
use ring::digest::{SHA256, digest as hash};
use subtle::ConstantTimeEq as _;

/// The secret of a token. Two are the same if their hashes are: nothing compares their texts.
#[derive(Clone)]
pub struct Secret {
    text: Text,
    hash: SecretHash,
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        same(&self.hash, &other.hash)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

impl Secret {
    /// A secret as it was given.
    #[must_use]
    pub fn new(text: &str) -> Secret {
        Secret { text: text.into(), hash: sha256(text.as_bytes()) }
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        self.hash
    }

    /// Whether this is what a hash was made of.
    #[must_use]
    pub fn is(&self, hash: &SecretHash) -> bool {
        same(&self.hash, hash)
    }

    /// The secret itself, for whoever it belongs to.
    #[must_use]
    pub fn reveal(&self) -> &Text {
        &self.text
    }
}

/// Whether two hashes are the same, in a time that does not tell where they differ.
#[must_use]
pub(super) fn same(one: &SecretHash, other: &SecretHash) -> bool {
    one.0.ct_eq(&other.0).into()
}

/// SHA-256 (FIPS 180-4).
#[must_use]
pub fn sha256(bytes: &[u8]) -> SecretHash {
    let mut out = [0; 32];
    out.copy_from_slice(hash(&SHA256, bytes).as_ref());
    SecretHash(out)
}

/// The digest that a row shows of what it says: SHA-256 in base64.
#[must_use]
pub fn digest(parts: &impl serde::Serialize) -> Text {
    use base64::Engine as _;
    let bytes = serde_json::to_vec(parts).unwrap_or_default();
    base64::engine::general_purpose::STANDARD.encode(sha256(&bytes).0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_by_their_hashes_alone() {
        let (one, other) = (Secret::new("swordfish"), Secret::new("mackerel"));
        let dressed = Secret { text: other.text.clone(), hash: one.hash };
        assert!(dressed == one && dressed.is(&one.hash));
        assert!(dressed != other && !dressed.is(&other.hash));
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("swordfish");
        assert_eq!(format!("{secret:?} {:?}", secret.hash()), "<hidden> SecretHash(<hidden>)");
        assert!(same(&secret.hash(), &Secret::new("swordfish").hash()));
        assert!(!same(&secret.hash(), &Secret::new("Swordfish").hash()));
    }
}

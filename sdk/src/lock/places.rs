//! Who is inside a semaphore, as one document that is changed by compare and swap. Pure.
//!
//! The format is that of Consul's Go client, so both can share one semaphore: below a prefix each contender locks a key
//! named after its session; the key `.lock` holds the limit and the sessions that are inside. A session whose contender
//! key is gone or unlocked is not inside any more, whatever the document says. Called by `semaphore`.

use std::collections::{BTreeMap, BTreeSet};

use callboard_proto::Index;
use callboard_proto::api::kv::KvShown;
use serde::{Deserialize, Serialize};

/// The flags by which the keys of a semaphore are known, as Consul's Go client writes them.
pub const SEMAPHORE_FLAGS: u64 = 16_210_313_421_097_356_768;
/// The name of the document below the prefix.
const DOCUMENT: &str = ".lock";

/// Returns the key of a semaphore's document; the prefix ends in a slash.
pub(super) fn document_key(prefix: &str) -> String {
    format!("{prefix}{DOCUMENT}")
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    limit: u32,
    holders: BTreeMap<String, bool>,
}

/// What a look at a semaphore means for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// It is inside.
    Inside,
    /// There is room: write this document, if the old one was last changed at this index (0: if there is none).
    Enter {
        /// The document with the session in it, and without the dead.
        document: Vec<u8>,
        /// The index of the old one.
        cas: Index,
    },
    /// All places are taken.
    Full,
    /// Its own contender key is not locked by it: the session is gone.
    Gone,
    /// The key is used for something else, or by contenders who mean another limit.
    Conflict,
}

/// Reads the keys below a prefix, which ends in a slash, for a session.
#[must_use]
pub(super) fn look(rows: &[KvShown], prefix: &str, session: &str, limit: u32) -> Place {
    let alive: BTreeSet<&str> = rows
        .iter()
        .filter(|row| *row.key != *document_key(prefix) && !row.session.is_empty())
        .map(|row| &*row.session)
        .collect();
    let (mut document, cas) = match read(rows, prefix) {
        Ok(Some((document, _))) if document.limit != limit => return Place::Conflict,
        Ok(Some(known)) => known,
        Ok(None) => (Document { limit, ..Document::default() }, Index::ZERO),
        Err(()) => return Place::Conflict,
    };
    if !alive.contains(session) {
        return Place::Gone;
    }
    if document.holders.contains_key(session) {
        return Place::Inside;
    }
    document.holders.retain(|holder, _| alive.contains(&**holder));
    if document.holders.len() >= limit as usize {
        return Place::Full;
    }
    document.holders.insert(session.to_owned(), true);
    written(&document).map_or(Place::Conflict, |document| Place::Enter { document, cas })
}

/// Returns the document without the session, and the index of the one it replaces; none when the session is not in it.
#[must_use]
pub(super) fn leave(rows: &[KvShown], prefix: &str, session: &str) -> Option<(Vec<u8>, Index)> {
    let (mut document, cas) = read(rows, prefix).ok()??;
    document.holders.remove(session)?;
    written(&document).map(|document| (document, cas))
}

fn read(rows: &[KvShown], prefix: &str) -> Result<Option<(Document, Index)>, ()> {
    let key = document_key(prefix);
    let Some(row) = rows.iter().find(|row| *row.key == *key) else { return Ok(None) };
    if row.flags != SEMAPHORE_FLAGS {
        return Err(());
    }
    let bytes = row.bytes().map_err(drop)?;
    serde_json::from_slice(&bytes).map(|document| Some((document, row.modify_index))).map_err(drop)
}

fn written(document: &Document) -> Option<Vec<u8>> {
    serde_json::to_vec(document).ok()
}

#[cfg(test)]
mod tests {
    use callboard_proto::kv::KvEntry;
    use proptest::prelude::*;

    use super::*;

    fn row(key: &str, value: &str, session: &str, modified: u64) -> KvShown {
        KvShown::of(&KvEntry {
            key: key.into(),
            value: value.as_bytes().into(),
            flags: SEMAPHORE_FLAGS,
            session: session.into(),
            lock_index: 1,
            created: Index(1),
            modified: Index(modified),
        })
    }

    fn entered(place: Place) -> (String, u64) {
        let Place::Enter { document, cas } = place else { panic!("{place:?}") };
        (String::from_utf8(document).unwrap(), cas.0)
    }

    #[test]
    fn the_document_is_that_of_other_clients() {
        let mine = row("s/me", "", "me", 4);
        let first = look(std::slice::from_ref(&mine), "s/", "me", 2);
        assert_eq!(entered(first), (r#"{"Limit":2,"Holders":{"me":true}}"#.into(), 0));
        // The other's contender key is gone, so it is not inside.
        let known = row("s/.lock", r#"{"Limit":2,"Holders":{"dead":true,"b":true}}"#, "", 9);
        let rows = [known, row("s/b", "", "b", 3), mine.clone()];
        assert_eq!(entered(look(&rows, "s/", "me", 2)), (r#"{"Limit":2,"Holders":{"b":true,"me":true}}"#.into(), 9));
        assert_eq!(look(&rows, "s/", "me", 3), Place::Conflict, "another limit");
        assert_eq!(look(&rows, "s/", "b", 2), Place::Inside);
        assert_eq!(look(&rows, "s/", "dead", 2), Place::Gone);
        let full = row("s/.lock", r#"{"Limit":1,"Holders":{"b":true}}"#, "", 9);
        assert_eq!(look(&[full, row("s/b", "", "b", 3), mine], "s/", "me", 1), Place::Full);
        let (left, cas) = leave(&rows, "s/", "b").unwrap();
        assert_eq!(
            (String::from_utf8(left).unwrap(), cas),
            (r#"{"Limit":2,"Holders":{"dead":true}}"#.into(), Index(9))
        );
        assert_eq!(leave(&rows, "s/", "me"), None);
        let foreign = KvShown { flags: 0, ..row("s/.lock", "{}", "", 9) };
        assert_eq!(look(&[foreign], "s/", "me", 1), Place::Conflict);
        assert_eq!(look(&[row("s/.lock", "no json", "", 9)], "s/", "me", 1), Place::Conflict);
    }

    proptest! {
        /// However contenders come, go and die, the document never lists more than the limit who live.
        #[test]
        fn never_more_than_the_limit(limit in 1u32..4, acts in proptest::collection::vec((0usize..6, 0u8..3), 0..60)) {
            let (mut alive, mut document, mut index) = (BTreeSet::new(), None::<(Vec<u8>, u64)>, 0u64);
            for (who, act) in acts {
                let name = format!("c{who}");
                index += 1;
                if act == 2 { alive.remove(&name); } else { alive.insert(name.clone()); }
                let mut rows: Vec<KvShown> = alive.iter().map(|name| row(&format!("s/{name}"), "", name, 1)).collect();
                if let Some((bytes, at)) = &document {
                    rows.push(row("s/.lock", std::str::from_utf8(bytes).unwrap(), "", *at));
                }
                match act {
                    0 => if let Place::Enter { document: new, .. } = look(&rows, "s/", &name, limit) {
                        document = Some((new, index));
                    },
                    1 => if let Some((new, _)) = leave(&rows, "s/", &name) { document = Some((new, index)); },
                    _ => {}
                }
                let holders = document.iter().flat_map(|(bytes, _)| {
                    serde_json::from_slice::<Document>(bytes).unwrap().holders.into_keys()
                });
                prop_assert!(holders.filter(|name| alive.contains(name)).count() <= limit as usize);
            }
        }
    }
}

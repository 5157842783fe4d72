//! The difference of two snapshots: what a subscriber is told.
//!
//! Pure. Computed where a snapshot is published; nobody has to apply it, since the newest snapshot
//! is always at hand, so a subscriber that missed one compares the two it has.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Member, Snapshot};

/// Lists who came, who left and who was described anew, each sorted by identity.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Endpoints only the newer snapshot has.
    pub added: Vec<Arc<Member>>,
    /// Endpoints only the older snapshot has, as they were.
    pub removed: Vec<Arc<Member>>,
    /// Endpoints of the same identity whose row differs, as they are now.
    pub updated: Vec<Arc<Member>>,
}

impl Change {
    /// Compares two snapshots of one service.
    #[must_use]
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let mut change = Self::default();
        let mut olds = old.members().iter().peekable();
        let mut news = new.members().iter().peekable();
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => return change,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.endpoint().identity().cmp(&b.endpoint().identity()),
            };
            // Whoever sorts first is alone on its side; equals are compared.
            let gone = if order.is_le() { olds.next() } else { None };
            let come = if order.is_ge() { news.next() } else { None };
            match (gone, come) {
                (Some(gone), None) => change.removed.push(Arc::clone(gone)),
                (None, Some(come)) => change.added.push(Arc::clone(come)),
                (Some(a), Some(b)) if !Arc::ptr_eq(a, b) && a.endpoint() != b.endpoint() => {
                    change.updated.push(Arc::clone(b));
                }
                _ => {}
            }
        }
    }

    /// Says whether the two were the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.updated.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::Endpoint;

    fn snapshot(before: &Snapshot, rows: &BTreeMap<u8, u8>) -> Snapshot {
        let rows = rows.iter().map(|(id, weight)| Endpoint::new(&id.to_string(), "h", 1).weighted((*weight).into(), 1));
        before.next(rows, 1)
    }

    proptest! {
        #[test]
        fn applying_a_change_to_the_old_gives_the_new(
            old in proptest::collection::btree_map(0u8..20, 0u8..3, 0..20),
            new in proptest::collection::btree_map(0u8..20, 0u8..3, 0..20),
        ) {
            let first = snapshot(&Snapshot::empty("web"), &old);
            let second = snapshot(&first, &new);
            let change = Change::between(&first, &second);
            prop_assert_eq!(change.is_empty(), old == new);
            let mut applied = old;
            let id = |m: &Member| m.endpoint().id().parse::<u8>().unwrap();
            let weight = |m: &Member| u8::try_from(m.endpoint().weight_effective()).unwrap();
            for gone in &change.removed {
                prop_assert!(applied.remove(&id(gone)).is_some());
            }
            for come in &change.added {
                prop_assert!(applied.insert(id(come), weight(come)).is_none());
            }
            for differs in &change.updated {
                let before = applied.insert(id(differs), weight(differs));
                prop_assert!(before.is_some() && before != Some(weight(differs)));
            }
            prop_assert_eq!(applied, new);
        }
    }
}

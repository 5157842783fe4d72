//! What one writer has asked for and been told. It decides what a node may show after it was killed: the last
//! acknowledged value of a thing, or the one that was being written when the answer was lost. Never an older one,
//! never a mixture.

use std::collections::BTreeMap;

/// What is known of one thing (a key, an instance).
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// The last write that was acknowledged; `None` when none was.
    pub(crate) acknowledged: Option<u64>,
    /// A write whose answer never came: it happened or it did not.
    pub(crate) unknown: Option<u64>,
}

impl Entry {
    /// Whether a node may show this value.
    pub(crate) fn allows(&self, shown: Option<u64>) -> bool {
        shown == self.acknowledged || (shown.is_some() && shown == self.unknown)
    }

    /// What was shown is what is: the doubt is over.
    pub(crate) fn settle(&mut self, shown: Option<u64>) {
        self.acknowledged = shown;
        self.unknown = None;
    }
}

/// The things of one writer.
pub(crate) type Ledger = BTreeMap<String, Entry>;

#[test]
fn a_ledger_allows_the_acknowledged_and_the_unknown() {
    let entry = Entry { acknowledged: Some(3), unknown: Some(4) };
    assert!(entry.allows(Some(3)) && entry.allows(Some(4)));
    assert!(!entry.allows(Some(2)) && !entry.allows(None));
    assert!(Entry::default().allows(None) && !Entry::default().allows(Some(1)));
}

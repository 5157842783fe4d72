//! The endpoints of a snapshot in the order of identities, on which all clients agree.

use std::sync::Arc;

use super::chunk::Member;
use super::snapshot::Snapshot;

/// Views the endpoints of a snapshot in the order of identities.
#[derive(Clone, Copy)]
pub struct Members<'a> {
    pub(super) snapshot: &'a Snapshot,
}

impl<'a> Members<'a> {
    /// Counts them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.snapshot.order().len()
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshot.order().is_empty()
    }

    /// Returns the first.
    #[must_use]
    pub fn first(&self) -> Option<&'a Arc<Member>> {
        self.get(0)
    }

    /// Returns the one at a rank in that order.
    #[must_use]
    pub fn get(&self, rank: usize) -> Option<&'a Arc<Member>> {
        self.snapshot.order().get(rank).and_then(|at| self.snapshot.member(*at as usize))
    }

    /// Goes through them in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a Arc<Member>> + use<'a> {
        let snapshot = self.snapshot;
        snapshot.order().iter().filter_map(|at| snapshot.member(*at as usize))
    }
}

impl<'a> IntoIterator for Members<'a> {
    type Item = &'a Arc<Member>;
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

//! Arrays of numbers by position: what policies read of every endpoint without going to it.
//!
//! Successive snapshots share an array until one of its numbers changes. Used by `snapshot` alone.

use std::borrow::Cow;
use std::sync::Arc;

use super::chunk::Member;
use crate::endpoint::NO_CELL;

/// Stands for "no slot".
const NO_SLOT: u32 = u32::MAX;

/// Holds the numbers of one snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    weights: Arc<[u32]>,
    slots: Arc<[u32]>,
    ports: Arc<[u16]>,
    cells: Arc<[u32]>,
}

impl Columns {
    /// Returns the weights that count; 0 for whoever is not eligible, and for nobody.
    #[inline]
    pub(super) fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Returns the slot that the registry gave.
    #[inline]
    pub(super) fn slot(&self, at: usize) -> Option<u32> {
        self.slots.get(at).copied().filter(|slot| *slot != NO_SLOT)
    }

    /// Returns the UDP ports for probes, 0 for none; empty when nobody has one.
    #[inline]
    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Returns where among the gauges that of the endpoint lies.
    #[inline]
    pub(super) fn cell(&self, at: usize) -> Option<u32> {
        self.cells.get(at).copied()
    }

    /// Begins the successor.
    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            before: self,
            weights: Cow::Borrowed(&self.weights),
            slots: Cow::Borrowed(&self.slots),
            ports: Cow::Borrowed(&self.ports),
            cells: Cow::Borrowed(&self.cells),
        }
    }
}

/// The numbers of a snapshot that is being built.
pub(super) struct Draft<'a> {
    before: &'a Columns,
    weights: Cow<'a, [u32]>,
    slots: Cow<'a, [u32]>,
    ports: Cow<'a, [u16]>,
    cells: Cow<'a, [u32]>,
}

impl Draft<'_> {
    /// Counts the positions, the vacant ones included.
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// Sets a position, which is at most one beyond the end.
    pub(super) fn set(&mut self, at: usize, member: &Member) {
        let row = member.endpoint();
        if at == self.len() {
            self.weights.to_mut().push(0);
            self.cells.to_mut().push(NO_CELL);
            if !self.slots.is_empty() {
                self.slots.to_mut().push(NO_SLOT);
            }
            if !self.ports.is_empty() {
                self.ports.to_mut().push(0);
            }
        }
        put(&mut self.weights, at, row.weight_effective());
        put(&mut self.cells, at, member.stats().cell());
        if row.slot().is_some() && self.slots.is_empty() {
            self.slots = vec![NO_SLOT; self.len()].into();
        }
        put(&mut self.slots, at, row.slot().unwrap_or(NO_SLOT));
        if row.probe_port().is_some() && self.ports.is_empty() {
            self.ports = vec![0; self.len()].into();
        }
        put(&mut self.ports, at, row.probe_port().unwrap_or(0));
    }

    /// Clears a position.
    pub(super) fn clear(&mut self, at: usize) {
        put(&mut self.weights, at, 0);
        put(&mut self.cells, at, NO_CELL);
        put(&mut self.slots, at, NO_SLOT);
        put(&mut self.ports, at, 0);
    }

    /// Ends it.
    pub(super) fn finish(self) -> Columns {
        Columns {
            weights: settled(self.weights, &self.before.weights),
            slots: settled(self.slots, &self.before.slots),
            ports: settled(self.ports, &self.before.ports),
            cells: settled(self.cells, &self.before.cells),
        }
    }
}

/// Sets a number where that changes something; a column that nobody needs is empty and stays so.
fn put<T: Copy + PartialEq>(column: &mut Cow<'_, [T]>, at: usize, value: T) {
    if column.get(at).is_some_and(|before| *before != value) {
        column.to_mut()[at] = value;
    }
}

fn settled<T: Copy>(column: Cow<'_, [T]>, before: &Arc<[T]>) -> Arc<[T]> {
    match column {
        Cow::Borrowed(_) => Arc::clone(before),
        Cow::Owned(changed) => changed.into(),
    }
}

//! Where the gauges of one service lie: beside one another, in blocks that successive snapshots share.
//!
//! Two gauges to a cache line, so that those of a hundred thousand endpoints take three megabytes and a pick finds most
//! of them in the processor's cache. Only the first ones have a line each: of few endpoints, neighbours are called at one
//! time and would slow one another; of many, hardly ever. An endpoint keeps its cell for as long as anybody holds its
//! statistics, a guard of a call included; then the next endpoint gets it, the lowest first. Blocks are never given back
//! while the service is known.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Aside, Gauge};

/// Cells per block; a power of two, so that finding one is a shift and a mask.
const BLOCK: usize = 64;
/// So many endpoints have a cache line each.
const APART: u32 = 64;

/// Names no cell.
pub(crate) const NO_CELL: u32 = u32::MAX;

/// Holds the gauges of one service by cell, as a snapshot sees them.
#[derive(Clone, Debug)]
pub(crate) struct Gauges {
    blocks: Vec<Arc<Block>>,
    shared: Arc<Aside>,
    free: Arc<Mutex<Free>>,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Block {
    gauges: [Gauge; BLOCK],
    shared: Arc<Aside>,
    free: Arc<Mutex<Free>>,
}

/// The cells that nobody has, in all snapshots of the service.
#[derive(Debug, Default)]
struct Free {
    returned: BinaryHeap<Reverse<u32>>,
    given: u32,
}

impl Free {
    fn take(&mut self) -> u32 {
        if let Some(Reverse(cell)) = self.returned.pop() {
            return cell;
        }
        let number = self.given;
        self.given += 1;
        // Every other cell of the first ones stays empty.
        let cell = if number < APART { number * 2 } else { number.saturating_add(APART) };
        assert!(cell < NO_CELL, "endpoints are numbered by 32 bits");
        cell
    }
}

impl Gauges {
    /// Builds those of a service without endpoints.
    pub(crate) fn new(shared: &Arc<Aside>) -> Self {
        Self { blocks: Vec::new(), shared: Arc::clone(shared), free: Arc::default() }
    }

    /// Returns the gauge in a cell of an endpoint that this snapshot or an earlier one has.
    #[inline]
    pub(crate) fn get(&self, cell: u32) -> Option<&Gauge> {
        self.blocks.get(cell as usize / BLOCK).map(|block| &block.gauges[cell as usize % BLOCK])
    }

    /// Gives a new endpoint its cell.
    pub(crate) fn cell(&mut self) -> Cell {
        // Whoever panicked under the lock left at worst a cell unused.
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).take();
        while self.blocks.len() <= number as usize / BLOCK {
            let (shared, free) = (Arc::clone(&self.shared), Arc::clone(&self.free));
            self.blocks.push(Arc::new(Block { gauges: std::array::from_fn(|_| Gauge::default()), shared, free }));
        }
        Cell { block: Arc::clone(&self.blocks[number as usize / BLOCK]), number }
    }
}

/// Holds the cell of one endpoint; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Cell {
    block: Arc<Block>,
    number: u32,
}

impl Cell {
    /// Returns the gauge.
    #[inline]
    pub(super) fn gauge(&self) -> &Gauge {
        &self.block.gauges[self.number as usize % BLOCK]
    }

    /// Returns its number.
    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Returns what the endpoints of the service share.
    #[inline]
    pub(super) fn shared(&self) -> &Arc<Aside> {
        &self.block.shared
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.gauge().reset();
        self.block.free.lock().unwrap_or_else(PoisonError::into_inner).returned.push(Reverse(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauges() -> Gauges {
        Gauges::new(&Arc::default())
    }

    #[test]
    fn the_first_have_a_line_each_and_the_others_half_of_one() {
        let mut gauges = gauges();
        let cells: Vec<Cell> = (0..300).map(|_| gauges.cell()).collect();
        let line = |cell: &Cell| std::ptr::from_ref(cell.gauge()) as usize / 64;
        let lines = |cells: &[Cell]| {
            let mut lines: Vec<usize> = cells.iter().map(line).collect();
            lines.dedup();
            lines.len()
        };
        assert_eq!((lines(&cells[..64]), lines(&cells[64..])), (64, 118));
        for cell in &cells {
            assert!(std::ptr::eq(gauges.get(cell.number()).unwrap(), cell.gauge()));
        }
        assert!(gauges.get(NO_CELL).is_none());
    }

    #[test]
    fn a_cell_is_given_again_clean_and_the_lowest_first() {
        let mut gauges = gauges();
        let mut cells: Vec<Cell> = (0..5).map(|_| gauges.cell()).collect();
        cells[1].gauge().begin();
        cells[3].gauge().begin();
        drop(cells.remove(3));
        drop(cells.remove(1));
        let again = [gauges.cell(), gauges.cell(), gauges.cell()];
        assert_eq!(again.each_ref().map(Cell::number), [2, 6, 10]);
        assert!(again.iter().all(|cell| cell.gauge().calls() == 0));
    }

    #[test]
    fn two_successors_of_one_snapshot_share_no_cell() {
        let mut one = gauges();
        let mut other = one.clone();
        let (first, second) = (one.cell(), other.cell());
        assert_ne!(first.number(), second.number());
        first.gauge().begin();
        assert_eq!(second.gauge().in_flight(), 0);
        drop(first);
        let third = other.cell();
        assert_eq!((third.number(), third.gauge().in_flight()), (0, 0));
    }
}

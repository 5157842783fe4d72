//! Gives every living thread a small number, so that counters can belong to one thread each.
//!
//! A counter with one owner is advanced by a load and a store; one that is shared needs a locked
//! instruction, which costs more than the rest of a pick. Numbers of ended threads are given again,
//! the lowest first. Called by `Balancer` on every pick.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

/// Not asked yet.
const UNSEATED: usize = usize::MAX;
/// Asked while the thread was ending: it has no number any more.
const STANDING: usize = usize::MAX - 1;

static SEATS: Mutex<Seats> = Mutex::new(Seats { next: 0, free: BinaryHeap::new() });

thread_local! {
    // Without a destructor, so that the usual path is one load and one comparison.
    static SEAT: Cell<usize> = const { Cell::new(UNSEATED) };
    static LEAVE: Leave = const { Leave };
}

struct Seats {
    next: usize,
    free: BinaryHeap<Reverse<usize>>,
}

/// Returns the number of this thread: no other living thread has it, unless it is `usize::MAX - 1`,
/// which threads have that are about to end.
#[inline]
pub(super) fn seat() -> usize {
    let seat = SEAT.get();
    if seat == UNSEATED { sit_down() } else { seat }
}

#[cold]
fn sit_down() -> usize {
    // Touching it arranges for the number to be given back; refused when the thread is past that.
    let seat = match LEAVE.try_with(|_| ()) {
        Err(_) => STANDING,
        Ok(()) => {
            let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
            match seats.free.pop() {
                Some(Reverse(seat)) => seat,
                None => {
                    seats.next += 1;
                    seats.next - 1
                }
            }
        }
    };
    SEAT.set(seat);
    seat
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // A destructor that runs later in this thread may still pick; it must not use the number.
        let seat = SEAT.replace(STANDING);
        if seat < STANDING {
            let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
            seats.free.push(Reverse(seat));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn living_threads_never_share_a_number() {
        for _ in 0..20 {
            let together = Barrier::new(8);
            let seats: BTreeSet<usize> = thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            let first = seat();
                            together.wait();
                            assert_eq!(first, seat(), "a number stays with its thread");
                            first
                        })
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(seats.len(), 8);
        }
    }
}

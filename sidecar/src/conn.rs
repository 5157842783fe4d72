//! One client connection as the sidecar watches over it: is it busy, how long has it been quiet,
//! should it end?
//!
//! There is no timer per connection or request: each worker looks over its connections once a
//! second (`Register::sweep`) and wakes only those that must go. A connection reads one atomic per
//! poll to learn it. Used by `accept`, which drives connections, and by what they carry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Go on.
    Run = 0,
    /// Finish what is in flight, take nothing new.
    Finish = 1,
    /// End now.
    Drop = 2,
}

/// What a connection shares with the register and with the requests it carries.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    order: AtomicU8,
    waker: AtomicWaker,
    /// Requests whose answers have not been sent whole.
    busy: AtomicU32,
    /// Moves whenever something happens that a quiet connection would not do.
    moves: AtomicU32,
    /// Bytes came while no request was in flight: a head has begun.
    head: AtomicBool,
}

impl Watch {
    /// The order in force.
    #[inline]
    pub(crate) fn order(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            0 => Order::Run,
            1 => Order::Finish,
            _ => Order::Drop,
        }
    }

    /// Makes the calling task be woken when the order changes; once is enough for a task that does
    /// not move between wakers.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Notes a sign of life, such as bytes in a tunnel.
    #[inline]
    pub(crate) fn alive(&self) {
        self.moves.store(self.moves.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Notes that bytes came in.
    #[inline]
    pub(crate) fn received(&self) {
        if self.busy.load(Ordering::Relaxed) == 0 {
            self.head.store(true, Ordering::Relaxed);
        }
    }

    /// Tells whether no request is in flight.
    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    fn command(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// Counts one request in flight on its connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Watch>);

impl Busy {
    /// Begins a request.
    #[inline]
    pub(crate) fn new(watch: &Arc<Watch>) -> Busy {
        watch.busy.fetch_add(1, Ordering::Relaxed);
        watch.head.store(false, Ordering::Relaxed);
        watch.alive();
        Busy(Arc::clone(watch))
    }
}

impl Drop for Busy {
    #[inline]
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.alive();
    }
}

/// What the bytes of a connection are, as far as its patience goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Requests with heads that must become whole in time.
    Http1,
    /// Anything else: only quiet counts.
    Other,
}

/// The connections of one worker.
#[derive(Debug)]
pub(crate) struct Register {
    rows: Mutex<Vec<Row>>,
    /// What newcomers are told.
    standing: AtomicU8,
    head_max: u32,
    quiet_max: u32,
}

#[derive(Debug)]
struct Row {
    watch: Arc<Watch>,
    kind: Kind,
    moves: u32,
    quiet: u32,
    head: u32,
}

/// Time between two sweeps; the patience of connections is counted in these.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

impl Register {
    /// Builds an empty register with the patience its connections get.
    pub(crate) fn new(request_header: Duration, idle: Duration) -> Register {
        let sweeps = |time: Duration| u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX);
        Register {
            rows: Mutex::new(Vec::new()),
            standing: AtomicU8::new(Order::Run as u8),
            head_max: sweeps(request_header),
            quiet_max: sweeps(idle),
        }
    }

    /// Adds a connection; it leaves when nobody else holds its watch.
    pub(crate) fn add(&self, kind: Kind) -> Arc<Watch> {
        let watch = Arc::new(Watch::default());
        let mut rows = self.rows.lock();
        watch.order.store(self.standing.load(Ordering::Relaxed), Ordering::Relaxed);
        rows.push(Row { watch: Arc::clone(&watch), kind, moves: 0, quiet: 0, head: 0 });
        watch
    }

    /// Looks over every connection once: forgets those that are gone, ends those that were quiet or
    /// dawdled over a head for too long.
    pub(crate) fn sweep(&self) {
        self.rows.lock().retain_mut(|row| {
            // Only this register still knows it: the connection has ended.
            if Arc::strong_count(&row.watch) == 1 {
                return false;
            }
            let moves = row.watch.moves.load(Ordering::Relaxed);
            let moved = std::mem::replace(&mut row.moves, moves) != moves;
            if moved || !row.watch.is_idle() {
                (row.quiet, row.head) = (0, 0);
                return true;
            }
            row.quiet += 1;
            let in_head = row.kind == Kind::Http1 && row.watch.head.load(Ordering::Relaxed);
            row.head = if in_head { row.head + 1 } else { 0 };
            if row.head > self.head_max || row.quiet > self.quiet_max.saturating_add(1) {
                row.watch.command(Order::Drop);
            } else if row.quiet > self.quiet_max {
                // A connection that was about to be used still gets its answer.
                row.watch.command(Order::Finish);
            }
            true
        });
    }

    /// Gives every connection an order, those to come included.
    pub(crate) fn command(&self, order: Order) {
        let rows = self.rows.lock();
        self.standing.fetch_max(order as u8, Ordering::Relaxed);
        for row in rows.iter() {
            row.watch.command(order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> Register {
        Register::new(Duration::from_secs(2), Duration::from_secs(5))
    }

    #[test]
    fn a_quiet_connection_is_asked_then_ended() {
        let register = register();
        let watch = register.add(Kind::Http1);
        let orders: Vec<Order> = (0..7)
            .map(|_| {
                register.sweep();
                watch.order()
            })
            .collect();
        assert_eq!(orders[..5], [Order::Run; 5]);
        assert_eq!(orders[5..], [Order::Finish, Order::Drop]);
    }

    #[test]
    fn a_busy_connection_is_left_alone() {
        let register = register();
        let watch = register.add(Kind::Http1);
        let busy = Busy::new(&watch);
        (0..100).for_each(|_| register.sweep());
        assert_eq!(watch.order(), Order::Run);
        drop(busy);
        (0..5).for_each(|_| register.sweep());
        assert_eq!(watch.order(), Order::Run, "patience begins when the answer was sent");
    }

    #[test]
    fn a_head_must_become_whole() {
        let register = register();
        let (slow, other) = (register.add(Kind::Http1), register.add(Kind::Other));
        slow.received();
        other.received();
        (0..3).for_each(|_| register.sweep());
        assert_eq!((slow.order(), other.order()), (Order::Drop, Order::Run));
    }

    #[test]
    fn an_order_reaches_those_who_come_later() {
        let register = register();
        let before = register.add(Kind::Http1);
        register.command(Order::Finish);
        let after = register.add(Kind::Http1);
        assert_eq!((before.order(), after.order()), (Order::Finish, Order::Finish));
    }

    #[test]
    fn signs_of_life_renew_patience_and_the_gone_are_forgotten() {
        let register = register();
        let watch = register.add(Kind::Other);
        for _ in 0..100 {
            watch.alive();
            register.sweep();
        }
        assert_eq!(watch.order(), Order::Run);
        drop(watch);
        register.sweep();
        assert!(register.rows.lock().is_empty());
    }
}

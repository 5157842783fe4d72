//! How a balancer comes to a newer snapshot: what serves at once is published first, the table that it stands in for later.
//!
//! Two steps. The first publishes a layout that knows of the change; one after the other, so that the newest is published last.
//! Where its picker is an interim one, a table is owed. The second builds it, off the lock of the first: what changes meanwhile is
//! seen at once. A table that was overtaken is not published, but follows to the newest snapshot, or gives way to one for it;
//! snapshots in between get no table. After [`ROUNDS_MAX`] rounds that were overtaken the next is built on that lock, so
//! that building comes to its end however fast changes follow one another. One table is built at a time.
//! [`Balancer::publish`] does both; `watch` does the first for all balancers of a service, then the second.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::layout::Layout;
use super::subset::Ordinal;
use super::{Balancer, Current, Shared};
use crate::catalog::Snapshot;

/// Rounds in which a table may be overtaken. To follow takes a millisecond where there are 100,000 endpoints.
const ROUNDS_MAX: u32 = 64;

impl Balancer {
    /// Publishes a newer snapshot with its picker, built on the calling thread, and confirms it. Where a picker takes its
    /// time to build, one that serves until then is published before it, see [`Policy`](super::Policy); on return the one that
    /// is built is published, or that of a newer snapshot.
    /// One that is older than what is published is left aside; returns whether it was taken.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> bool {
        let taken = self.announce(snapshot);
        if taken {
            self.complete();
        }
        taken
    }

    /// Publishes a newer snapshot with what serves at once, and confirms it; [`Self::complete`] builds what is owed. Where
    /// nothing can serve, the picker is built here.
    pub(crate) fn announce(&self, snapshot: Arc<Snapshot>) -> bool {
        let ordinal = self.shared.publishing();
        if snapshot.generation() < self.shared.current.load().snapshot.generation() {
            return false;
        }
        self.shared.lay_out(snapshot, *ordinal);
        self.confirm();
        true
    }

    /// Says whether a picker serves for one that is to be built.
    pub(crate) fn is_owing(&self) -> bool {
        self.shared.current.load().is_interim()
    }

    /// Builds what is owed, until nothing is. Waits for another thread that is at it.
    pub(crate) fn complete(&self) {
        // A build that panicked left nothing behind under either lock.
        let _alone = self.shared.completing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut overtaken: Option<Current> = None;
        let mut rounds = 0;
        while self.is_owing() {
            let current = self.shared.current.load_full();
            let ordinal = *self.shared.publishing();
            let build = |snapshot: &Arc<Snapshot>, ordinal, before: &Current, table: Option<&Current>| {
                let Shared { settings, seed, .. } = &*self.shared;
                Current::build(settings, Arc::clone(snapshot), *seed, ordinal, (Some(before), table))
            };
            let table = build(&current.snapshot, ordinal, &current, overtaken.as_ref());
            let ordinal = self.shared.publishing();
            let newest = self.shared.current.load_full();
            overtaken = None;
            if Arc::ptr_eq(&newest, &current) {
                self.shared.put(table);
            } else if newest.is_interim() && rounds >= ROUNDS_MAX {
                self.shared.put(build(&newest.snapshot, *ordinal, &newest, Some(&table)));
            } else if !table.is_interim() {
                overtaken = Some(table);
            }
            rounds += 1;
        }
        self.shared.retired.sweep();
    }

    /// Tells which of all clients of the service this one is, so that [`subset`](super::BalancerSettings::subset) spreads them
    /// evenly. Before, a balancer takes a place at random.
    pub fn set_ordinal(&self, client: Ordinal) {
        let mut ordinal = self.shared.publishing();
        let changes = *ordinal != client && self.shared.settings.subset.is_some();
        *ordinal = client;
        if changes {
            self.shared.lay_out(self.snapshot(), client);
            drop(ordinal);
            self.complete();
        }
    }
}

impl Shared {
    fn publishing(&self) -> MutexGuard<'_, Ordinal> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays out a snapshot and publishes it, with the lock held. What was published last may serve on.
    fn lay_out(&self, snapshot: Arc<Snapshot>, ordinal: Ordinal) {
        let before = self.current.load_full();
        self.put(Current::build(&self.settings, snapshot, self.seed, ordinal, (Some(&before), Some(&before))));
        drop(before);
        self.retired.sweep();
    }

    fn put(&self, current: Current) {
        self.retired.keep(self.current.swap(Arc::new(current)));
    }
}

impl Current {
    fn is_interim(&self) -> bool {
        self.layout.as_ref().is_some_and(Layout::is_interim)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::super::tests::{row, rows, snapshot};
    use super::super::{Ask, Follower, Group, Picker, Policy, Worker};
    use super::*;

    /// Picks the last one, and serves on for any later group until one is built.
    struct Slow;

    impl Picker for Slow {
        fn pick(&self, group: &Group, _: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            Some(group.at(group.len() - 1))
        }

        fn follow(&self, _: &Group, _: &Group) -> Option<Follower> {
            Some(Follower::interim(Self))
        }
    }

    /// A policy that tells how many a picker is built for, and waits to be let on.
    fn slow() -> (Policy, Receiver<u32>, Sender<()>) {
        let ((tell, told), (let_on, wait)) = (channel(), channel());
        let wait = Mutex::new(wait);
        let policy = Policy::custom("slow", move |group| {
            tell.send(group.len()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            Slow
        });
        (policy, told, let_on)
    }

    fn picked(balancer: &Balancer) -> String {
        balancer.choose(&Ask::any(), |member| member.endpoint().id().to_owned()).unwrap()
    }

    #[test]
    fn changes_are_seen_while_a_table_is_built_and_only_the_newest_gets_another() {
        let (_clock, mut newest) = snapshot(rows(3));
        let (policy, told, let_on) = slow();
        let_on.send(()).unwrap();
        let balancer = Balancer::with_seed(policy, Arc::clone(&newest), 1);
        assert_eq!(told.recv().unwrap(), 3);
        let mut next = |number: usize| {
            newest = Arc::new(newest.changed([row(number)], &[], 2));
            Arc::clone(&newest)
        };
        let fourth = next(3);
        thread::scope(|scope| {
            // Dropped where this fails, which lets the builder go.
            let let_on = let_on;
            let publisher = scope.spawn(|| balancer.publish(fourth));
            assert_eq!(told.recv().unwrap(), 4, "a table is being built");
            assert_eq!(picked(&balancer), "web-003");
            for number in 4..9 {
                assert!(balancer.announce(next(number)));
                assert_eq!(picked(&balancer), format!("web-{number:03}"));
            }
            assert!(told.try_recv().is_err(), "one at a time");
            let_on.send(()).unwrap();
            assert_eq!(told.recv().unwrap(), 9, "those in between get none");
            assert!(balancer.is_owing());
            assert_eq!(picked(&balancer), "web-008", "what was overtaken is not published");
            let_on.send(()).unwrap();
            assert!(publisher.join().unwrap());
        });
        assert!(!balancer.is_owing() && told.try_recv().is_err());
        assert_eq!((picked(&balancer), balancer.snapshot().members().len()), ("web-008".to_owned(), 9));
    }

    /// Serves on for groups of about the size of its own.
    struct Near(u32);

    impl Picker for Near {
        fn pick(&self, group: &Group, _: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            Some(group.at(group.len() - 1))
        }

        fn follow(&self, _: &Group, now: &Group) -> Option<Follower> {
            (self.0.abs_diff(now.len()) < 3).then(|| Follower::interim(Self(self.0)))
        }
    }

    #[test]
    fn a_change_does_not_wait_where_what_was_overtaken_cannot_follow() {
        let (_clock, first) = snapshot(rows(3));
        let ((tell, told), (let_on, wait)) = (channel(), channel());
        let wait = Mutex::new(wait);
        let policy = Policy::custom("near", move |group| {
            tell.send(group.len()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            Near(group.len())
        });
        let_on.send(()).unwrap();
        let balancer = Balancer::with_seed(policy, Arc::clone(&first), 1);
        assert_eq!(told.recv().unwrap(), 3);
        let more = Arc::new(first.changed([row(3), row(4)], &[], 2));
        let fewer = Arc::new(more.changed([], &[("web-002", ""), ("web-003", ""), ("web-004", "")], 3));
        thread::scope(|scope| {
            let let_on = let_on;
            let publisher = scope.spawn(|| balancer.publish(more));
            assert_eq!(told.recv().unwrap(), 5);
            // The one for three follows, the one that is being built will not.
            assert!(balancer.announce(Arc::clone(&fewer)));
            let_on.send(()).unwrap();
            assert_eq!(told.recv().unwrap(), 2, "another is being built");
            assert!(balancer.announce(Arc::new(fewer.changed([row(5)], &[], 4))));
            assert_eq!(picked(&balancer), "web-005");
            let_on.send(()).unwrap();
            let_on.send(()).unwrap();
            assert!(publisher.join().unwrap());
        });
        assert!(!balancer.is_owing());
        assert_eq!(picked(&balancer), "web-005");
    }

    #[test]
    fn what_is_older_is_left_aside() {
        let (_clock, first) = snapshot(rows(3));
        let balancer = Balancer::with_seed(Policy::Maglev, Arc::clone(&first), 1);
        let second = Arc::new(first.changed([row(3)], &[], 2));
        assert!(balancer.publish(second) && !balancer.is_owing());
        assert!(!balancer.publish(first));
        assert_eq!(balancer.snapshot().members().len(), 4);
    }
}

//! The subscriber's side of a watch: the newest snapshot, a wait for the next, and how much to trust it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::balance::{Balancer, BalancerSettings, Ordinal};
use crate::catalog::Snapshot;
use crate::error::Error;
use crate::load::{ProbeBudget, Prober, ProberSettings};

/// Says where the published snapshot came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nothing is known yet.
    Nowhere,
    /// The registry.
    Registry,
    /// The last-good file; no server has answered since the start.
    File,
    /// DNS, by [`crate::ClientBuilder`]'s `dns_fallback`; no server has answered since the start, and no file was there.
    Dns,
    /// [`crate::ClientBuilder::static_endpoints`]; nobody has answered since the start.
    Static,
    /// The program itself, by [`crate::catalog::Catalog::fixed`].
    Fixed,
}

/// What the task writes and the handles read.
pub(crate) struct Shared {
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) trust: Mutex<Trust>,
    // Also the lock under which snapshots are published, so that a new balancer misses none.
    balancers: Mutex<Vec<(String, Balancer)>>,
    // The zone of balancers whose settings name none.
    zone: Option<String>,
    ordinal: Mutex<Option<Ordinal>>,
    // Set by whoever starts the task that takes part among the clients of the service.
    company: AtomicBool,
    // Somebody was told to complete what is owed, and has not begun to: one at it and one that waits are enough.
    completes: AtomicBool,
    completing: Mutex<()>,
}

pub(crate) struct Trust {
    origin: Origin,
    confirmed: Option<Instant>,
    // Only for a snapshot from a file: the age it had when it was read.
    age_before: Duration,
    error: Option<Arc<Error>>,
    held: Option<(Instant, usize)>,
}

impl Trust {
    fn age(&self) -> Option<Duration> {
        self.confirmed.map(|then| then.elapsed() + self.age_before)
    }

    fn held(&self) -> Option<Held> {
        self.held.map(|(since, missing)| Held { missing, age: since.elapsed() })
    }
}

/// Tells that the snapshot is held against an answer of the registry that takes nearly everybody away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How many endpoints the registry does not list any more.
    pub missing: usize,
    /// For how long it has been held.
    pub age: Duration,
}

/// Tells a balancer something for which a user's picker may have to be built. If that panics, it goes on as it was.
fn tell(balancer: &Balancer, what: impl FnOnce(&Balancer)) {
    if catch_unwind(AssertUnwindSafe(|| what(balancer))).is_err() {
        let (snapshot, policy) = (balancer.snapshot(), balancer.policy().name());
        warn!(service = &**snapshot.service(), policy, "building a picker panicked; the one before serves on");
    }
}

impl Shared {
    pub(crate) fn new(snapshot: Snapshot, zone: Option<String>) -> Self {
        Self {
            zone,
            ordinal: Mutex::new(None),
            company: AtomicBool::new(false),
            completes: AtomicBool::new(false),
            completing: Mutex::new(()),
            snapshot: watch::Sender::new(Arc::new(snapshot)),
            trust: Mutex::new(Trust {
                origin: Origin::Nowhere,
                confirmed: None,
                age_before: Duration::ZERO,
                error: None,
                held: None,
            }),
            balancers: Mutex::new(Vec::new()),
        }
    }

    /// Publishes a snapshot to the balancers and the subscribers; picks go by it on return. True when tables are owed that others
    /// serve for, and nobody has been told yet to [`Self::complete`] them.
    #[must_use]
    pub(crate) fn publish(&self, snapshot: Snapshot, origin: Origin) -> bool {
        let snapshot = Arc::new(snapshot);
        let mut balancers = self.balancers.lock();
        balancers.retain(|(_, balancer)| balancer.is_held());
        // Those first that nothing has to be built for, as far as their settings tell.
        for may_wait in [false, true] {
            for (_, balancer) in balancers.iter().filter(|(_, balancer)| balancer.settings().may_wait() == may_wait) {
                tell(balancer, |balancer| {
                    balancer.announce(Arc::clone(&snapshot));
                });
            }
        }
        self.trust.lock().origin = origin;
        self.snapshot.send_replace(snapshot);
        let owing = balancers.iter().any(|(_, balancer)| balancer.is_owing());
        owing && !self.completes.swap(true, Ordering::AcqRel)
    }

    /// Builds the tables that are owed. Takes its time, and belongs on a thread that may.
    pub(crate) fn complete(&self) {
        let _alone = self.completing.lock();
        // What is published from here on may come too late for this round, and asks for another, which waits for this one.
        self.completes.store(false, Ordering::Release);
        self.balancers().iter().for_each(|balancer| tell(balancer, Balancer::complete));
    }

    /// Notes that what is published was confirmed just now.
    pub(crate) fn confirm(&self, now: Instant) {
        for (_, balancer) in &*self.balancers.lock() {
            balancer.confirm();
        }
        let mut trust = self.trust.lock();
        (trust.confirmed, trust.age_before, trust.error, trust.held) = (Some(now), Duration::ZERO, None, None);
        trust.origin = Origin::Registry;
    }

    /// Notes that what is published was saved at a time in the past.
    pub(crate) fn confirmed_then(&self, saved: SystemTime, now: Instant) {
        let mut trust = self.trust.lock();
        trust.confirmed = Some(now);
        trust.age_before = saved.elapsed().unwrap_or_default();
    }

    pub(crate) fn fail(&self, error: Error) {
        self.trust.lock().error = Some(Arc::new(error));
    }

    /// Notes that what is published is held, since then, against an answer that misses so many.
    pub(crate) fn hold(&self, since: Instant, missing: usize, error: Error) {
        let mut trust = self.trust.lock();
        (trust.held, trust.error) = (Some((since, missing)), Some(Arc::new(error)));
    }

    /// Returns every balancer that was asked for.
    pub(crate) fn balancers(&self) -> Vec<Balancer> {
        self.balancers.lock().iter().map(|(_, balancer)| balancer.clone()).collect()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.trust.lock().origin
    }

    pub(crate) fn view(&self) -> WatchView {
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let trust = self.trust.lock();
        WatchView {
            service: Arc::clone(snapshot.service()),
            index: snapshot.index(),
            known: snapshot.members().len(),
            callable: snapshot.eligible_len() as usize,
            origin: trust.origin,
            age: trust.age(),
            held: trust.held(),
            error: trust.error.clone(),
        }
    }

    /// Says whether the snapshot is the registry's, is not held against it, and was confirmed within this time.
    pub(crate) fn is_live(&self, within: Duration) -> bool {
        let trust = self.trust.lock();
        let fresh = trust.confirmed.is_some_and(|then| then.elapsed() <= within);
        trust.origin == Origin::Registry && trust.held.is_none() && trust.error.is_none() && fresh
    }

    /// Returns the balancer of these settings, built on the first call.
    pub(crate) fn balancer(&self, mut settings: BalancerSettings) -> Balancer {
        settings.zone = settings.zone.or_else(|| self.zone.clone());
        // Settings are told apart by their Debug form; a custom policy is known by its name.
        let key = format!("{settings:?}");
        let mut balancers = self.balancers.lock();
        if let Some((_, known)) = balancers.iter().find(|(given, _)| *given == key) {
            return known.clone();
        }
        // Settings that rules made come and go with them.
        balancers.retain(|(_, known)| known.is_held());
        let balancer = Balancer::new(settings, Arc::clone(&self.snapshot.borrow()));
        if let Some(ordinal) = *self.ordinal.lock() {
            balancer.set_ordinal(ordinal);
        }
        balancers.push((key, balancer.clone()));
        balancer
    }

    /// Lets time pass for the balancers. Work that walks endpoints happens outside the lock.
    pub(crate) fn tick(&self) {
        self.balancers().iter().for_each(Balancer::tick);
    }

    /// Tells all balancers, the later ones too, which of the clients this one is.
    pub(crate) fn set_ordinal(&self, ordinal: Ordinal) {
        let balancers: Vec<Balancer> = {
            let balancers = self.balancers.lock();
            *self.ordinal.lock() = Some(ordinal);
            balancers.iter().map(|(_, balancer)| balancer.clone()).collect()
        };
        // It may have to wait for a table, and nobody for it.
        balancers.iter().for_each(|balancer| tell(balancer, |balancer| balancer.set_ordinal(ordinal)));
    }

    pub(crate) fn ordinal(&self) -> Option<Ordinal> {
        *self.ordinal.lock()
    }

    /// Returns the size of the largest subset that a balancer keeps to, unless one calls everybody.
    pub(crate) fn subset_size(&self) -> Option<u32> {
        self.balancers
            .lock()
            .iter()
            .map(|(_, balancer)| balancer.settings().subset)
            .try_fold(0, |most, size| Some(most.max(size?)))
    }

    pub(crate) fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// True for the first to ask.
    pub(crate) fn begins_company(&self) -> bool {
        !self.company.swap(true, Ordering::Relaxed)
    }
}

/// Ends the task when the last handle goes.
pub(crate) struct WatchHandle {
    pub(crate) shared: Arc<Shared>,
    // Cancelled when the client is shut down.
    pub(crate) ended: CancellationToken,
    pub(crate) _end: Option<DropGuard>,
    // None where nobody is probed.
    pub(crate) probing: Option<Probing>,
}

/// What probers of a client share.
#[derive(Clone)]
pub(crate) struct Probing {
    pub(crate) tracker: TaskTracker,
    pub(crate) budget: Arc<ProbeBudget>,
}

impl WatchHandle {
    /// Returns the balancer of these settings, and probes for it if its policy wants that.
    pub(crate) fn balancer(&self, settings: BalancerSettings) -> Balancer {
        let balancer = self.shared.balancer(settings);
        if let Some(Probing { tracker, budget }) = &self.probing
            && let Some(prober) = Prober::new(balancer.clone(), ProberSettings::default(), Arc::clone(budget))
        {
            let ended = self.ended.clone();
            tracker.spawn(async move { ended.run_until_cancelled(prober.run()).await });
        }
        balancer
    }
}

/// Follows one service. Clones follow the same; when the last one is dropped, the watch ends.
#[derive(Clone)]
pub struct Watch {
    handle: Arc<WatchHandle>,
    receiver: watch::Receiver<Arc<Snapshot>>,
}

/// Tells how one watch stands, for whoever looks after the process.
#[derive(Debug, Clone)]
pub struct WatchView {
    /// The service.
    pub service: Arc<str>,
    /// The registry's index of the snapshot; 0 before anything is known.
    pub index: u64,
    /// How many endpoints are known, and how many of them may be called.
    pub known: usize,
    /// See [`Self::known`].
    pub callable: usize,
    /// Where the snapshot came from.
    pub origin: Origin,
    /// See [`Watch::age`].
    pub age: Option<Duration>,
    /// See [`Watch::held`].
    pub held: Option<Held>,
    /// See [`Watch::error`].
    pub error: Option<Arc<Error>>,
}

impl Watch {
    pub(crate) fn new(handle: Arc<WatchHandle>) -> Self {
        Self { receiver: handle.shared.snapshot.subscribe(), handle }
    }

    /// Returns the newest snapshot, which is empty with index 0 before anything is known.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.receiver.borrow())
    }

    /// Waits for a snapshot that this handle has not returned yet, and returns the newest. Those in
    /// between are skipped: compare two by [`crate::catalog::Change::between`].
    ///
    /// # Errors
    /// [`Error::Closed`] when the client was shut down.
    pub async fn changed(&mut self) -> Result<Arc<Snapshot>, Error> {
        match self.handle.ended.run_until_cancelled(self.receiver.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return Err(Error::Closed),
        }
        Ok(Arc::clone(&self.receiver.borrow_and_update()))
    }

    /// Waits until at least `min` endpoints may be called, and returns that snapshot.
    ///
    /// # Errors
    /// [`Error::NotReady`] when the time is over; the watch goes on.
    pub async fn ready(&mut self, min: usize, timeout: Duration) -> Result<Arc<Snapshot>, Error> {
        let enough = |snapshot: &Arc<Snapshot>| snapshot.eligible_len() as usize >= min && snapshot.generation() > 0;
        let waiting = async { self.receiver.wait_for(enough).await.map(|snapshot| Arc::clone(&snapshot)) };
        let waiting = self.handle.ended.run_until_cancelled(waiting);
        match tokio::time::timeout(timeout, waiting).await {
            Ok(Some(Ok(snapshot))) => Ok(snapshot),
            Ok(Some(Err(_)) | None) => Err(Error::Closed),
            Err(_) => {
                let snapshot = self.snapshot();
                Err(Error::NotReady {
                    service: snapshot.service().to_string(),
                    known: snapshot.eligible_len() as usize,
                    wanted: min,
                    after: timeout,
                })
            }
        }
    }

    /// Returns the time since the registry last confirmed the snapshot; none while nothing is known.
    /// A snapshot from the last-good file has the age of the file, one from DNS that of its answer, and one from the
    /// static list has none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.handle.shared.trust.lock().age()
    }

    /// Says where the snapshot came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.handle.shared.origin()
    }

    /// Tells whether the snapshot is held against an answer that takes nearly everybody away, while those taken away
    /// still answer; [`Self::error`] says the same in words. It ends with the hold of [`super::DoubtSettings`].
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        self.handle.shared.trust.lock().held()
    }

    /// Returns the error of the last question, if the last question failed. The snapshot stays.
    #[must_use]
    pub fn error(&self) -> Option<Arc<Error>> {
        self.handle.shared.trust.lock().error.clone()
    }

    /// Returns the balancer of this service with a policy or whole settings; the same one for equal settings. It is fed for as
    /// long as a handle of the watch, or the client that gave it out, lives.
    #[must_use]
    pub fn balancer(&self, settings: impl Into<BalancerSettings>) -> Balancer {
        self.handle.balancer(settings.into())
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let snapshot = self.receiver.borrow();
        f.debug_struct("Watch")
            .field("service", snapshot.service())
            .field("index", &snapshot.index())
            .field("known", &snapshot.members().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;

//! A balancer for one worker: the same choices, without a single locked instruction.
//!
//! Keeps the published snapshot in hand and looks with one load whether there is a newer one, and
//! counts turns for itself. The price: a `Local` that is not asked keeps the snapshot of its last
//! pick alive, which is why it is a handle to hold and not something hidden per thread.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::{ArcSwap, Cache};

use super::{Ask, Balancer, Current, NoEndpoint, Picked, Shared, Turns};
use crate::catalog::Member;

/// Picks as its [`Balancer`] does, for one caller at a time; built by [`Balancer::local`].
pub struct Local {
    balancer: Balancer,
    current: Cache<Published, Arc<Current>>,
    counter: AtomicU64,
}

/// Lets a cache look at the pointer inside the balancer.
struct Published(Arc<Shared>);

impl Deref for Published {
    type Target = ArcSwap<Current>;

    fn deref(&self) -> &Self::Target {
        &self.0.current
    }
}

impl Local {
    pub(super) fn new(balancer: Balancer, turn: u64) -> Self {
        Self { current: Cache::new(Published(Arc::clone(&balancer.shared))), balancer, counter: AtomicU64::new(turn) }
    }

    /// Returns the balancer.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Picks as [`Balancer::pick`] does.
    ///
    /// # Errors
    ///
    /// As [`Balancer::pick`].
    #[inline]
    pub fn pick(&mut self, ask: &Ask<'_>) -> Result<Picked, NoEndpoint> {
        let timed = self.balancer.policy().is_timed();
        self.choose(ask, |member| Picked::new(Arc::clone(member), timed))
    }

    /// Chooses as [`Balancer::choose`] does.
    ///
    /// # Errors
    ///
    /// As [`Balancer::pick`].
    #[inline]
    pub fn choose<R>(&mut self, ask: &Ask<'_>, show: impl FnOnce(&Arc<Member>) -> R) -> Result<R, NoEndpoint> {
        let current = self.current.load();
        match current.choose(*ask, Turns::alone(&self.counter)) {
            Some(member) => Ok(show(member)),
            None => Err(self.balancer.no_endpoint(&current.snapshot, ask.tried().len())),
        }
    }
}

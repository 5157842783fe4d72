//! The guard an application holds while it is signed in, and the order in which it leaves.

use std::sync::Arc;
use std::time::Duration;

use callboard_proto::CheckStatus;
use callboard_proto::definition::Figures;
use tokio_util::sync::CancellationToken;

use super::flight::InFlight;
use super::state::{Phase, Shared, Standing};
use crate::error::Error;

/// Says how to leave.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// How long callers are given to see that the instance is critical, while it still serves: 2 s by
    /// default. Watching callers see it in milliseconds; those that poll or resolve names need longer.
    pub settle: Duration,
    /// How long what is in flight may take to finish, 30 s by default.
    pub grace: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { settle: Duration::from_secs(2), grace: Duration::from_secs(30) }
    }
}

/// Tells how leaving went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Whether everything in flight was finished within the grace.
    pub finished: bool,
    /// Whether the registry confirmed that the instance is gone. If not, the missing beat will tell it.
    pub deregistered: bool,
}

/// Keeps an instance registered. [`Self::drain`] leaves in good order; dropping the guard takes the
/// registration back behind the caller's back, as well as it can while the runtime still runs.
#[derive(Debug)]
#[must_use = "dropping the guard deregisters the instance"]
pub struct Registered {
    shared: Arc<Shared>,
    end: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("instance", &self.instance)
            .field("standing", &*self.standing.borrow())
            .finish()
    }
}

impl Registered {
    pub(super) fn new(shared: Arc<Shared>, end: CancellationToken) -> Self {
        Self { shared, end }
    }

    /// Returns the instance's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.instance
    }

    /// Says how the registration stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.shared.standing.borrow().clone()
    }

    /// Waits until the registration stands so that `wanted` says yes, and returns how it stands.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Standing) -> bool) -> Standing {
        let mut standing = self.shared.standing.subscribe();
        match standing.wait_for(|standing| wanted(standing)).await {
            Ok(standing) => standing.clone(),
            // The sender lives in `shared`, which is held here.
            Err(_) => self.standing(),
        }
    }

    /// Returns a view of how the registration stands that may outlive the guard.
    #[cfg(feature = "axum")]
    pub(crate) fn subscribe(&self) -> tokio::sync::watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Waits for the first confirmation or refusal.
    pub(super) async fn settled(&self) -> Result<(), Error> {
        let standing = self.wait_for(|standing| !matches!(standing.phase, Phase::Registering)).await;
        match standing.phase {
            Phase::Registered | Phase::Registering => Ok(()),
            Phase::Gone | Phase::Abandoned => Err(Error::Closed),
            Phase::Refused => {
                drop(standing);
                let error = self.shared.standing.send_replace(Standing {
                    phase: Phase::Refused,
                    registrations: 0,
                    beats: 0,
                    status: None,
                    error: None,
                });
                Err(error.error.and_then(Arc::into_inner).unwrap_or(Error::Closed))
            }
        }
    }

    /// Says how well the instance is; sent at once when the status is another one than before. Counts together
    /// with the checks that run in this process: the worst is sent.
    pub fn set_status(&self, status: CheckStatus, output: impl Into<String>) {
        self.shared.set_own(status, output.into());
    }

    /// Sets figures that go with the next beats, in place of what [`Self::in_flight`] measures; what is left out is taken
    /// from there, and the memory from the system.
    pub fn report(&self, figures: Figures) {
        self.shared.set_figures(figures);
    }

    /// Returns how long the application's runtime last took to run a task that was handed to it, measured about once a
    /// second; none before the first time, and where beats have no thread of their own.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        self.shared.lag()
    }

    /// Returns the counter of what is being served; a drain waits until it is at none.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.shared.in_flight.clone()
    }

    /// Leaves without losing a call: goes critical, waits until callers can have seen it, waits for what is in
    /// flight, deregisters.
    pub async fn drain(self, drain: Drain) -> Drained {
        let in_flight = self.in_flight();
        self.drain_with(drain, in_flight.idle()).await
    }

    /// Stays until `shutdown` is, which [`crate::signal::shutdown`] is for, and leaves as [`Self::drain`].
    pub async fn run_until_drained(self, shutdown: impl Future<Output = ()>, drain: Drain) -> Drained {
        shutdown.await;
        self.drain(drain).await
    }

    /// Leaves as [`Self::drain`], but what is in flight is finished when `finished` is; it is first polled when callers
    /// can have seen that the instance leaves, so it may stop accepting then.
    pub async fn drain_with(self, drain: Drain, finished: impl Future<Output = ()>) -> Drained {
        self.shared.set_draining();
        let seen = async {
            if self.standing().phase == Phase::Registered {
                self.wait_for(|standing| standing.status == Some(CheckStatus::Critical)).await;
            }
            tokio::time::sleep(drain.settle).await;
        };
        // A registry that cannot be told must not keep the process from ending.
        let _ = tokio::time::timeout(drain.settle + drain.grace.min(Duration::from_secs(5)), seen).await;
        let finished = tokio::time::timeout(drain.grace, finished).await.is_ok();
        self.end.cancel();
        let standing = self.wait_for(|standing| matches!(standing.phase, Phase::Gone | Phase::Abandoned)).await;
        Drained { finished, deregistered: standing.phase == Phase::Gone }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The task does the rest.
        self.end.cancel();
    }
}

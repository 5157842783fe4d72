//! Looks after the killed instance: until when was it still chosen?
//!
//! The SDK's own statistics say how many calls it was given and when the last one was. A sidecar does not tell its calls
//! by instance; it shows when it set one aside, and when the registry's news had come, after which it chooses it no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard::catalog::Member;
use parking_lot::Mutex;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::load::Plain;
use crate::stage::{Open, SERVICE};

/// How often the SDK's statistics are looked at: two atomic reads.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often the sidecar is asked: a page of metrics.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Tells what became of the dead instance by one way. Times are since its death.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Afterlife {
    /// Calls that were given to it; only known of the SDK.
    pub(crate) calls: u64,
    /// When the last of them was.
    pub(crate) chosen_last: Option<Duration>,
    /// When it was set aside for the first time.
    pub(crate) aside_first: Option<Duration>,
    /// When the news of its death had come from the registry.
    pub(crate) out: Option<Duration>,
}

/// What is known of the dead instance, by way.
#[derive(Clone, Default)]
pub(crate) struct Dead {
    seen: Arc<Mutex<[Afterlife; 2]>>,
}

impl Dead {
    /// Begins to look, `killed` being the moment of death and `before` the calls that were given to it until then.
    pub(crate) fn watch(
        open: Open,
        member: Arc<Member>,
        before: u64,
        killed: Instant,
        stop: CancellationToken,
    ) -> Self {
        let dead = Self::default();
        let (sdk, sidecar) = (dead.clone(), dead.clone());
        let admin = open.admin.clone();
        let end = stop.clone();
        tokio::spawn(async move { end.run_until_cancelled(sdk.look(&open, &member, before, killed)).await });
        tokio::spawn(async move { stop.run_until_cancelled(sidecar.ask(&admin, killed)).await });
        dead
    }

    /// Returns what is known so far, by way.
    pub(crate) fn seen(&self) -> [Afterlife; 2] {
        *self.seen.lock()
    }

    async fn look(&self, open: &Open, member: &Member, before: u64, killed: Instant) {
        let (id, node) = member.endpoint().identity();
        let mut calls = before;
        let mut pace = interval(LOOK_EVERY);
        loop {
            pace.tick().await;
            let now = member.stats().calls();
            let snapshot = open.watch.snapshot();
            let called = snapshot.find(id, node).is_some_and(|member| member.endpoint().weight_effective() > 0);
            let mut seen = self.seen.lock();
            let life = &mut seen[0];
            if now > calls {
                calls = now;
                (life.calls, life.chosen_last) = (now - before, Some(killed.elapsed()));
            }
            if snapshot.aside_len() > 0 {
                life.aside_first.get_or_insert_with(|| killed.elapsed());
            }
            if !called {
                life.out.get_or_insert_with(|| killed.elapsed());
            }
        }
    }

    async fn ask(&self, admin: &str, killed: Instant) {
        let mut admin = Plain::new(admin);
        let mut pace = interval(ASK_EVERY);
        loop {
            pace.tick().await;
            let Ok((_, page)) = admin.get("/metrics").await else { continue };
            let page = String::from_utf8_lossy(&page);
            let (Some(unhealthy), Some(aside)) = (gauge(&page, "unhealthy"), gauge(&page, "aside")) else { continue };
            let mut seen = self.seen.lock();
            let life = &mut seen[1];
            if aside > 0 {
                life.aside_first.get_or_insert_with(|| killed.elapsed());
            }
            if unhealthy > 0 {
                life.out = Some(killed.elapsed());
                return;
            }
        }
    }
}

/// Reads how many endpoints are in a state.
fn gauge(page: &str, state: &str) -> Option<usize> {
    let name = format!("callboard_client_endpoints{{service=\"{SERVICE}\",state=\"{state}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name))?.trim().parse().ok()
}

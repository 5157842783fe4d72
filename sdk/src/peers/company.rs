//! The task that keeps a client's seat and votes while its session lives, and tells balancers what came of it.
//!
//! Decides nothing: which seat is asked for is `seat`'s, what is voted and what follows is `quorum`'s. Without the
//! registry nothing is lost: balancers keep the last ordinal, and each client ejects for itself as always.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::query::escape;
use callboard_proto::session::SessionBehavior;
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::quorum::{Electorate, SharedEjection, Vote, Votes, ballot};
use super::seat::{SEATS_MAX, Seats};
use crate::catalog::{Member, Snapshot};
use crate::client::{Client, KvPut, KvRemove, kv_path};
use crate::error::{Error, chain};
use crate::lock::{Session, SessionSettings};
use crate::watch::{Cursor, Follow, News, Shared, of_the_leader, shown};

/// How often a client looks whether its votes still say what it sees.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most keys of other clients that are taken in.
const KEYS_MAX: usize = 1 << 17;

/// What the task needs.
pub(crate) struct Company {
    pub(crate) client: Client,
    /// The folded name.
    pub(crate) service: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ejection: Option<SharedEjection>,
}

impl Company {
    /// Runs until the token is cancelled; the session ends then, and its keys with it.
    pub(crate) async fn run(self, end: CancellationToken) {
        // Boxed: a session, two lists that are followed and what is asked about them are held at once.
        end.run_until_cancelled(Box::pin(self.keep())).await;
    }

    async fn keep(&self) {
        let settings = SessionSettings {
            name: format!("client of {}", self.service),
            lock_delay: Duration::ZERO,
            behavior: SessionBehavior::Delete,
            ..SessionSettings::default()
        };
        let mut failures = 0u32;
        loop {
            match self.client.session(&settings).await {
                Ok(session) => {
                    failures = 0;
                    tokio::select! {
                        lost = session.lost() => debug!(service = self.service, cause = ?lost, "a client's session was lost"),
                        ((), ()) = async { tokio::join!(self.sit(&session), self.vote(&session)) } => {}
                    }
                }
                Err(Error::Closed) => return,
                Err(error) => {
                    if failures == 0 {
                        warn!(
                            service = self.service,
                            error = chain(&error),
                            "no session among the clients of a service"
                        );
                    }
                    failures = failures.saturating_add(1);
                }
            }
            sleep(self.client.backoff().delay(failures.max(1), fastrand::u32(..))).await;
        }
    }

    /// Keeps a seat. Never returns.
    async fn sit(&self, session: &Session) {
        let prefix = format!("callboard/clients/{}/", self.service);
        let mut follow = self.follow(&prefix);
        let mut seats = Seats::default();
        let mut full = false;
        loop {
            match follow.next().await {
                News::Changed(keys) => {
                    let number = |key: &String| key.strip_prefix(&prefix)?.parse().ok();
                    seats.see(keys.unwrap_or_default().iter().filter_map(number).filter(|n| *n < SEATS_MAX).collect());
                }
                News::Unchanged => {}
                News::Failed(error) => {
                    debug!(service = self.service, error = chain(&error), "seats are not followed");
                    continue;
                }
            }
            while let Some(seat) = seats.wanted(fastrand::u32(..)) {
                let how = KvPut { acquire: Some(session.id().to_owned()), ..KvPut::default() };
                let name = Bytes::from(std::process::id().to_string());
                let won = self.client.kv_put(&format!("{prefix}{seat}"), name, &how).await;
                match won {
                    Ok(won) => {
                        if let Some(left) = seats.answered(seat, won) {
                            self.delete(&format!("{prefix}{left}")).await;
                        }
                    }
                    Err(error) => {
                        debug!(service = self.service, seat, error = chain(&error), "seat could not be asked for");
                        sleep(self.client.backoff().delay(1, fastrand::u32(..))).await;
                        // It may be taken by this session all the same: the list says so, as of anybody's.
                        break;
                    }
                }
            }
            match seats.ordinal() {
                Some(ordinal) => self.shared.set_ordinal(ordinal),
                None if !full && seats.clients() == SEATS_MAX => {
                    full = true;
                    warn!(
                        service = self.service,
                        max = SEATS_MAX,
                        "more clients than seats; this one keeps a random place"
                    );
                }
                None => {}
            }
        }
    }

    /// Reports endpoints that are aside, and sets aside whom a quorum reports. Never returns.
    async fn vote(&self, session: &Session) {
        let Some(rule) = &self.ejection else { return std::future::pending().await };
        let prefix = format!("callboard/ejections/{}/", self.service);
        let votes = Mutex::new(Votes::default());
        let reading = async {
            let mut follow = self.follow(&prefix);
            loop {
                match follow.next().await {
                    News::Changed(keys) => {
                        let keys = keys.unwrap_or_default();
                        let standing = keys.iter().filter_map(|key| vote(key.strip_prefix(&prefix)?)).collect();
                        votes.lock().see(standing, self.now());
                    }
                    News::Unchanged => {}
                    News::Failed(error) => {
                        debug!(service = self.service, error = chain(&error), "votes are not followed");
                    }
                }
            }
        };
        let looking = async {
            let (mut cast, mut known) = (BTreeSet::new(), BTreeSet::new());
            loop {
                sleep(LOOK_EVERY).await;
                let snapshot = self.shared.newest();
                self.report(rule, session, &prefix, &snapshot, &mut cast).await;
                let of = Electorate { clients: self.callers(&snapshot), eligible: snapshot.eligible_len() };
                let verdict = votes.lock().verdict(rule, of, self.now());
                if verdict != known {
                    self.follow_verdict(&snapshot, &verdict, &known);
                    known = verdict;
                }
            }
        };
        tokio::join!(reading, looking);
    }

    /// Casts and takes back votes; one write per endpoint and time aside.
    async fn report(
        &self,
        rule: &SharedEjection,
        session: &Session,
        prefix: &str,
        snapshot: &Snapshot,
        cast: &mut BTreeSet<String>,
    ) {
        let aside: BTreeSet<String> = if snapshot.aside().any() {
            snapshot.eligible().filter(|(_, member)| member.stats().is_held_against()).map(|(_, m)| name(m)).collect()
        } else {
            BTreeSet::new()
        };
        let (new, back) = ballot(rule, cast, &aside, snapshot.eligible_len());
        for endpoint in new {
            let how = KvPut { acquire: Some(session.id().to_owned()), ..KvPut::default() };
            match self.client.kv_put(&format!("{prefix}{endpoint}/{}", session.id()), Bytes::new(), &how).await {
                Ok(_) => drop(cast.insert(endpoint)),
                Err(error) => debug!(service = self.service, endpoint, error = chain(&error), "vote could not be cast"),
            }
        }
        for endpoint in back {
            if self.delete(&format!("{prefix}{endpoint}/{}", session.id())).await {
                cast.remove(&endpoint);
            }
        }
    }

    /// Sets aside whom the verdict adds. Whoever comes back by a trial of this client's own stays.
    fn follow_verdict(&self, snapshot: &Snapshot, verdict: &BTreeSet<String>, known: &BTreeSet<String>) {
        for (_, member) in snapshot.eligible() {
            let name = name(member);
            if verdict.contains(&name) && !known.contains(&name) && member.stats().eject_for_all() {
                info!(
                    service = self.service,
                    endpoint = member.endpoint().authority(),
                    "set aside by a quorum of clients"
                );
            }
        }
    }

    /// Estimates how many clients call a given endpoint.
    fn callers(&self, snapshot: &Snapshot) -> u32 {
        let clients = self.shared.ordinal().map_or(0, |ordinal| ordinal.clients);
        let known = snapshot.members().len().max(1) as u64;
        match self.shared.subset_size() {
            Some(size) if u64::from(size) < known => (u64::from(clients) * u64::from(size)).div_ceil(known) as u32,
            _ => clients,
        }
    }

    fn now(&self) -> u64 {
        self.shared.newest().aside().clock().exact()
    }

    async fn delete(&self, key: &str) -> bool {
        let deleted = self.client.kv_delete(key, KvRemove::One).await;
        if let Err(error) = &deleted {
            // It goes with the session at the latest.
            debug!(key, error = chain(error), "key could not be deleted");
        }
        deleted.is_ok()
    }

    fn follow(&self, prefix: &str) -> Follow<Vec<String>> {
        let read = |answer: &crate::http::Answer| {
            let keys: Vec<String> = shown(answer)?;
            if keys.len() > KEYS_MAX {
                return Err(Error::Bound { what: "keys of the clients of one service", max: KEYS_MAX });
            }
            Ok(Some(keys))
        };
        // The leader's word: a list that is older than this client's own write would take the write for undone.
        let cursor = Cursor::new(of_the_leader(self.client.cursor_settings()));
        Follow::new(self.client.api().clone(), format!("{}?keys", kv_path(prefix)), cursor, Box::new(read))
    }
}

/// Names an endpoint in a key.
fn name(member: &Member) -> String {
    let (id, node) = member.endpoint().identity();
    format!("{}/{}", escape(id), escape(node))
}

/// Reads `<instance>/<node>/<session>`.
fn vote(key: &str) -> Option<Vote> {
    let (endpoint, client) = key.rsplit_once('/')?;
    (endpoint.matches('/').count() == 1 && !client.is_empty()).then(|| (endpoint.to_owned(), client.to_owned()))
}

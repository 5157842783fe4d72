//! Follows the registry's rules: one task for a client, whatever the number of services it calls.
//!
//! Four blocking queries, one for each kind of entry, run side by side. Whatever goes wrong leaves what was known: an
//! error is retried after a growing wait, a server that has no such entries or shows them to nobody (4xx) is asked
//! again once a minute, an index that goes back is believed only of the leader. When anything changed, the rules of every
//! service that is called are compiled here and swapped by one pointer. Run by the client; read by `service`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use callboard_proto::Index;
use callboard_proto::api::config::ConfigShown;
use callboard_proto::api::query::{Consistency, ReadOptions};
use callboard_proto::config_entry::{ConfigEntry, EntryKind};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::plan::{Plan, Watches};
use crate::backoff::Backoff;
use crate::balance::BalancerSettings;
use crate::client::Api;
use crate::error::{Error, chain};
use crate::route::{Entries, RuleError, compile};

/// The kinds that are followed.
const KINDS: [EntryKind; 4] =
    [EntryKind::ServiceResolver, EntryKind::ServiceSplitter, EntryKind::ServiceRouter, EntryKind::ServiceDefaults];
/// How long to leave a server alone that answered with a 4xx.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// The shortest time from one question to the next, however fast the servers answer.
const PACE: Duration = Duration::from_millis(100);
/// How long new rules wait for services that were not watched before.
const KNOWN_MAX: Duration = Duration::from_secs(2);

/// Says what the rules of a service are at present.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RulesState {
    /// The registry has not been heard yet; calls go to the service by its name.
    Unknown,
    /// There are none, or nobody tells them; calls go to the service by its name.
    None,
    /// They are followed; what of them is not, in words.
    Followed(Arc<[String]>),
    /// They cannot be followed; the ones before hold, if there were any.
    Refused(Arc<RuleError>),
}

/// The rules of one service, as the calls of it see them.
pub(crate) struct Followed {
    service: String,
    base: BalancerSettings,
    plan: ArcSwapOption<Plan>,
    state: watch::Sender<RulesState>,
}

impl Followed {
    /// Returns the plan, where there are rules.
    pub(super) fn plan(&self) -> Option<Arc<Plan>> {
        self.plan.load().as_ref().map(Arc::clone)
    }

    pub(super) fn state(&self) -> watch::Receiver<RulesState> {
        self.state.subscribe()
    }
}

/// What the task needs.
pub(crate) struct FollowSettings {
    pub(crate) datacenter: String,
    pub(crate) wait: Duration,
    pub(crate) stale: bool,
    pub(crate) backoff: Backoff,
}

/// Follows the entries for a client.
pub(crate) struct Follower {
    api: Arc<Api>,
    watches: Box<Watches>,
    settings: FollowSettings,
    book: Mutex<Book>,
    changed: Notify,
}

#[derive(Default)]
struct Book {
    kinds: [Option<Vec<ConfigEntry>>; KINDS.len()],
    /// Whether every kind has been answered, or refused, once.
    heard: [bool; KINDS.len()],
    followed: Vec<Weak<Followed>>,
}

impl Follower {
    pub(crate) fn new(api: Arc<Api>, watches: Box<Watches>, settings: FollowSettings) -> Arc<Self> {
        Arc::new(Self { api, watches, settings, book: Mutex::default(), changed: Notify::new() })
    }

    /// Adds a service whose rules are to be kept ready.
    pub(crate) fn follow(&self, service: &str, base: BalancerSettings) -> Arc<Followed> {
        let followed = Arc::new(Followed {
            service: service.to_owned(),
            base,
            plan: ArcSwapOption::empty(),
            state: watch::Sender::new(RulesState::Unknown),
        });
        self.book.lock().followed.push(Arc::downgrade(&followed));
        self.changed.notify_one();
        followed
    }

    /// Runs until the token is cancelled.
    pub(crate) async fn run(self: Arc<Self>, end: CancellationToken) {
        let all = async {
            let [a, b, c, d] = [0, 1, 2, 3].map(|place| self.follow_kind(place));
            tokio::join!(a, b, c, d, self.follow_changes());
        };
        end.run_until_cancelled(Box::pin(all)).await;
    }

    /// Compiles whatever changed, one after the other, so that the newest is swapped in last.
    async fn follow_changes(&self) {
        loop {
            self.changed.notified().await;
            let (entries, followed) = {
                let mut book = self.book.lock();
                book.followed.retain(|one| one.strong_count() > 0);
                if !book.heard.iter().all(|heard| *heard) {
                    continue;
                }
                let entries: Entries = book.kinds.iter().flatten().flatten().cloned().collect();
                (entries, book.followed.iter().filter_map(Weak::upgrade).collect::<Vec<_>>())
            };
            for followed in followed {
                self.compile(&entries, &followed).await;
            }
        }
    }

    async fn follow_kind(&self, place: usize) {
        let kind = KINDS[place];
        let (mut seen, mut confirm, mut failures) = (Index::ZERO, false, 0);
        loop {
            let asked = Instant::now();
            let consistency = if confirm || !self.settings.stale { Consistency::Leader } else { Consistency::Stale };
            let options = ReadOptions {
                index: (seen > Index::ZERO && !confirm && failures == 0).then_some(seen),
                wait: Some(self.settings.wait),
                consistency,
                ..ReadOptions::default()
            };
            let answer = self.api.read::<Vec<ConfigShown>>(&format!("/v1/config/{kind}"), &options).await;
            let pause = match answer {
                Ok(read) if read.meta.index < seen && !confirm => {
                    confirm = true;
                    PACE
                }
                // A server without a leader, or without an index, may have lost what it knew.
                Ok(read) if read.meta.index > Index::ZERO && (read.meta.known_leader || !read.value.is_empty()) => {
                    let news = read.meta.index != seen || failures > 0;
                    (seen, confirm, failures) = (read.meta.index, false, 0);
                    if news {
                        self.heard(place, Some(read.value.into_iter().map(|shown| shown.entry).collect()));
                    }
                    PACE
                }
                other => {
                    failures += 1;
                    let refused = other.as_ref().err().is_some_and(is_refusal);
                    self.failed(kind, failures, other.err());
                    self.heard(place, None);
                    if refused { REFUSED_PAUSE } else { self.settings.backoff.delay(failures, fastrand::u32(..)) }
                }
            };
            tokio::time::sleep_until(asked + pause.max(PACE)).await;
        }
    }

    fn failed(&self, kind: EntryKind, failures: u32, error: Option<Error>) {
        let text = error.map_or_else(|| "an answer without an index or a leader".to_owned(), |error| chain(&error));
        if failures == 1 {
            debug!(kind = kind.as_str(), error = text, "rules are not told; the last good ones stay");
        }
    }

    /// Takes the entries of a kind; none: nothing new was said, and what was known stays.
    fn heard(&self, place: usize, entries: Option<Vec<ConfigEntry>>) {
        let mut book = self.book.lock();
        let first = !book.heard[place];
        book.heard[place] = true;
        match entries {
            Some(entries) if book.kinds[place].as_ref() == Some(&entries) => {}
            Some(entries) => book.kinds[place] = Some(entries),
            None if first => {}
            None => return,
        }
        drop(book);
        self.changed.notify_one();
    }

    /// Compiles the rules of a service, and swaps them in.
    async fn compile(&self, entries: &Entries, followed: &Followed) {
        let Followed { service, base, plan, state } = followed;
        match compile(entries, service, &self.settings.datacenter) {
            Ok(None) => {
                plan.store(None);
                state.send_replace(RulesState::None);
            }
            Ok(Some(rules)) => {
                let skipped: Arc<[String]> = rules.skipped().into();
                match Plan::build(rules, base, &*self.watches) {
                    Ok(new) => {
                        // A service that nobody called before is asked for first, or calls would find nobody.
                        new.known(KNOWN_MAX).await;
                        plan.store(Some(Arc::new(new)));
                        state.send_replace(RulesState::Followed(skipped));
                    }
                    // Too many services watched, or the client is at its end.
                    Err(error) => warn!(service, error = chain(&error), "rules cannot be followed"),
                }
            }
            Err(error) => {
                warn!(service, error = chain(&error), "rules cannot be followed; the ones before hold");
                state.send_replace(RulesState::Refused(Arc::new(error)));
            }
        }
    }
}

/// Says whether nobody can answer the question until somebody changes something.
fn is_refusal(error: &Error) -> bool {
    match error.status() {
        Some(status) => status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS,
        None => false,
    }
}

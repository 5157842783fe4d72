//! What every part of a client works with: the way to the servers, the settings, and the bounds and the end of its tasks.
//!
//! Holds nothing that was begun for a caller; that is the client's own (`watched`, `beats`, rules). So a task of the client
//! may hold this without keeping alive what ends it.

use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Api;
use crate::call::RetryBudget;
use crate::config::ClientBuilder;
use crate::endpoint::Clock;
use crate::error::Error;
use crate::http::{Address, Transport, TransportSettings};
use crate::load::ProbeBudget;
#[cfg(feature = "dns")]
use crate::resolve::Resolver;
use crate::watch::CursorSettings;
#[cfg(feature = "dns")]
use crate::watch::DnsSource;

/// How long a question rests that was refused.
const REFUSED_PAUSE: std::time::Duration = std::time::Duration::from_secs(30);
/// Probes that a client sends per second at most, over all services.
const PROBES_MAX: u32 = 2_000;

/// Holds what a client's parts share.
pub(super) struct Base {
    pub(super) api: Arc<Api>,
    pub(super) transport: TransportSettings,
    pub(super) config: ClientBuilder,
    /// A permit for each key, prefix, entry or session that is followed.
    followed: Arc<Semaphore>,
    pub(super) tracker: TaskTracker,
    pub(super) probe_budget: Arc<ProbeBudget>,
    pub(super) end: CancellationToken,
    #[cfg(feature = "dns")]
    pub(super) dns: Option<DnsSource>,
    /// The retries of what is dialled without settings of its own.
    pub(super) budget: Arc<RetryBudget>,
}

impl Base {
    /// Builds it; connects to nobody.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting cannot be used.
    pub(super) fn new(config: ClientBuilder) -> Result<Self, Error> {
        let servers = config.check()?;
        let dialer = config.dialer_to(&servers)?;
        let token = config.token.as_deref().map(|text| secret("token", text)).transpose()?;
        let authorization = config.authorization.as_deref().map(|text| secret("authorization", text)).transpose()?;
        let encrypted = servers.iter().any(Address::is_https);
        let transport = TransportSettings {
            servers,
            token,
            authorization,
            connect_timeout: config.connect_timeout,
            // Inside TLS each connection speaks HTTP/1.1.
            multiplex: config.multiplex_waits && !encrypted,
            dialer,
            #[cfg(feature = "dns")]
            name_server: config.name_server,
        };
        let api = Arc::new(Api::new(Transport::new(transport.clone())?, &config));
        #[cfg(feature = "dns")]
        let dns = config
            .dns
            .clone()
            .map(|(domain, server)| DnsSource { resolver: server.map_or_else(Resolver::system, Resolver::at), domain });
        Ok(Self {
            #[cfg(feature = "dns")]
            dns,
            api,
            transport,
            followed: Arc::new(Semaphore::new(config.watches_max)),
            config,
            tracker: TaskTracker::new(),
            probe_budget: Arc::new(ProbeBudget::new(PROBES_MAX, Clock::process())),
            end: CancellationToken::new(),
            budget: Arc::default(),
        })
    }

    /// Returns what a task needs that follows something: its place among the bounded many, and its end.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end, [`Error::Bound`] when as many are followed as may be.
    pub(super) fn follower(&self) -> Result<(OwnedSemaphorePermit, CancellationToken), Error> {
        self.open()?;
        let permit = Arc::clone(&self.followed).try_acquire_owned();
        let bound = Error::Bound { what: "keys, entries and sessions followed at once", max: self.config.watches_max };
        Ok((permit.map_err(|_| bound)?, self.end.child_token()))
    }

    /// Says whether the client goes on.
    ///
    /// # Errors
    /// [`Error::Closed`] when it was shut down.
    pub(super) fn open(&self) -> Result<(), Error> {
        if self.end.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Returns how something is followed.
    pub(super) fn cursor_settings(&self) -> CursorSettings {
        CursorSettings {
            wait: self.config.wait,
            stale: self.config.stale_reads,
            backoff: self.config.backoff,
            refused_pause: REFUSED_PAUSE,
        }
    }
}

/// A header's value that is not shown.
fn secret(setting: &'static str, text: &str) -> Result<HeaderValue, Error> {
    let reason = "it holds characters that no header can carry";
    let value = HeaderValue::from_str(text).map_err(|_| Error::Config { setting, reason: reason.into() });
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

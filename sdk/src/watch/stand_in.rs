//! What stands in for the registry while it has not answered since the start: the last-good file, then DNS, then the list
//! that the program brought along. The first that names an endpoint is used, and each says who it is by its [`Origin`].
//!
//! Decides the order and what each is worth; when it is asked is decided by `poll`. An answer of the registry ends it for
//! good: from then on the last good answer is in memory.

#[cfg(feature = "dns")]
use std::time::Duration;
use std::time::SystemTime;

use callboard_proto::ServiceName;
use tokio::task::JoinHandle;
#[cfg(feature = "dns")]
use tokio::time::Instant;
use tracing::{info, warn};

use super::handle::Origin;
use super::rows::endpoints;
use crate::catalog::{LastGood, Store, StoreError};
use crate::endpoint::Endpoint;
use crate::error::chain;
#[cfg(feature = "dns")]
use crate::resolve::Resolver;

/// How often DNS is asked at most.
#[cfg(feature = "dns")]
const DNS_EVERY: Duration = Duration::from_secs(5);

/// The reading of a file under way.
type Reading = JoinHandle<Result<Option<(LastGood, Result<Vec<Endpoint>, serde_json::Error>)>, StoreError>>;

/// What was found to begin with.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) rows: Vec<Endpoint>,
    pub(super) origin: Origin,
    /// The registry's index of the rows; 0 when it was not the registry who said so.
    pub(super) index: u64,
    /// When the rows were said, if anybody said them.
    pub(super) said: Option<SystemTime>,
}

/// Asks DNS for the endpoints of a service.
#[cfg(feature = "dns")]
#[derive(Debug, Clone)]
pub(crate) struct DnsSource {
    pub(crate) resolver: Resolver,
    /// What follows the service in its name, as `service.consul`.
    pub(crate) domain: String,
}

/// Holds the sources in their order.
#[derive(Debug)]
pub(crate) struct StandIn {
    service: ServiceName,
    store: Option<Store>,
    file: Option<Reading>,
    #[cfg(feature = "dns")]
    dns: Option<DnsSource>,
    #[cfg(feature = "dns")]
    asked_dns: Option<Instant>,
    listed: Vec<Endpoint>,
    standing: Option<Origin>,
}

impl StandIn {
    pub(crate) fn new(service: ServiceName, store: Option<Store>, listed: Vec<Endpoint>) -> Self {
        Self {
            service,
            store,
            file: None,
            #[cfg(feature = "dns")]
            dns: None,
            #[cfg(feature = "dns")]
            asked_dns: None,
            listed,
            standing: None,
        }
    }

    #[cfg(feature = "dns")]
    pub(crate) fn with_dns(mut self, dns: Option<DnsSource>) -> Self {
        self.dns = dns;
        self
    }

    /// Begins to read the file, so that it is there when it is needed.
    pub(super) fn prepare(&mut self) {
        let Some(store) = self.store.clone() else { return };
        self.file = Some(tokio::task::spawn_blocking(move || {
            let file = store.load()?;
            Ok(file.map(|file| {
                let rows = endpoints(&file.body);
                (file, rows)
            }))
        }));
    }

    /// Returns the best there is, if it may be better than what it returned before.
    pub(super) async fn find(&mut self) -> Option<Found> {
        if self.standing == Some(Origin::File) {
            return None;
        }
        // Read once: only this process's own registry answers change it.
        if let Some(reading) = self.file.take()
            && let Some(found) = self.read_file(reading).await
        {
            return self.stand(found);
        }
        if let Some(found) = self.ask_dns().await {
            return self.stand(found);
        }
        if self.standing.is_none() && !self.listed.is_empty() {
            let rows = self.listed.clone();
            return self.stand(Found { rows, origin: Origin::Static, index: 0, said: None });
        }
        None
    }

    fn stand(&mut self, found: Found) -> Option<Found> {
        if self.standing != Some(found.origin) {
            info!(
                service = %self.service, origin = ?found.origin, known = found.rows.len(),
                "no server answers; beginning with another source"
            );
        }
        self.standing = Some(found.origin);
        Some(found)
    }

    async fn read_file(&self, reading: Reading) -> Option<Found> {
        match reading.await.ok()? {
            Ok(Some((file, Ok(rows)))) if !rows.is_empty() => {
                Some(Found { rows, origin: Origin::File, index: file.index.0, said: Some(file.saved()) })
            }
            Ok(Some((_, Ok(_))) | None) => None,
            Ok(Some((_, Err(error)))) => {
                warn!(service = %self.service, error = %error, "last-good file holds no rows");
                None
            }
            Err(error) => {
                warn!(service = %self.service, error = chain(&error), "last-good file cannot be used");
                None
            }
        }
    }

    #[cfg(feature = "dns")]
    async fn ask_dns(&mut self) -> Option<Found> {
        let dns = self.dns.as_ref()?;
        let now = Instant::now();
        if self.asked_dns.is_some_and(|then| now - then < DNS_EVERY) {
            return None;
        }
        self.asked_dns = Some(now);
        let name = format!("{}.{}.", self.service, dns.domain.trim_matches('.'));
        match dns.resolver.endpoints(&name).await {
            Ok(rows) => Some(Found { rows, origin: Origin::Dns, index: 0, said: Some(SystemTime::now()) }),
            Err(error) => {
                warn!(service = %self.service, name, error = %error, "DNS does not stand in for the registry");
                None
            }
        }
    }

    #[cfg(not(feature = "dns"))]
    #[allow(clippy::unused_async, reason = "with DNS it waits")]
    async fn ask_dns(&mut self) -> Option<Found> {
        None
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use callboard_proto::Index;

    use super::*;

    fn stand_in(file: Option<Store>, listed: &[&str]) -> StandIn {
        let listed = listed.iter().map(|id| Endpoint::new(id, "10.0.0.1", 80)).collect();
        let mut stand_in = StandIn::new(ServiceName::parse("web").unwrap(), file, listed);
        stand_in.prepare();
        stand_in
    }

    const BODY: &[u8] = br#"[{"Node":{"Node":"n","Address":"10.0.0.1"},
        "Service":{"ID":"a","Service":"web","Port":1},"Checks":[]}]"#;

    #[tokio::test]
    async fn the_first_that_names_somebody_stands_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "", "web");
        store.save(&LastGood::now(Index(7), Bytes::from_static(BODY))).unwrap();
        let mut both = stand_in(Some(store.clone()), &["x"]);
        let found = both.find().await.unwrap();
        assert_eq!((found.origin, found.index, found.rows[0].id()), (Origin::File, 7, "a"));
        assert!(both.find().await.is_none(), "nothing is better");
        // A file of nobody is worth nothing.
        store.save(&LastGood::now(Index(8), Bytes::from_static(b"[]"))).unwrap();
        let mut both = stand_in(Some(store), &["x"]);
        let found = both.find().await.unwrap();
        assert_eq!((found.origin, found.said, found.rows[0].id()), (Origin::Static, None, "x"));
        assert!(both.find().await.is_none());
        assert!(stand_in(None, &[]).find().await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "", "web");
        store.save(&LastGood::now(Index(7), Bytes::from_static(BODY))).unwrap();
        let whole = std::fs::read(store.path()).unwrap();
        let mut later = whole.clone();
        later[8] += 1;
        let mut flipped = whole.clone();
        flipped[whole.len() - 1] ^= 1;
        for damaged in [&whole[..whole.len() - 1], &whole[..10], &[], &later, &flipped, b"[]"] {
            std::fs::write(store.path(), damaged).unwrap();
            assert!(store.load().is_err(), "{} bytes", damaged.len());
            let found = stand_in(Some(store.clone()), &["x"]).find().await.unwrap();
            assert_eq!(found.origin, Origin::Static);
        }
    }
}

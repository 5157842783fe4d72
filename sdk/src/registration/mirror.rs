//! The process's own row as the registry shows it to everybody: read in the watch of the service, if there is one.
//!
//! Decides whether a row is as it should be; what follows from it is decided in `plan`. A row that differs in the watch is
//! a reason to ask, not yet to register: a watch may be behind. Called by `keeper`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use callboard_proto::api::agent::ServiceRequest;
use tokio::sync::watch;

use crate::catalog::Snapshot;
use crate::endpoint::{Endpoint, Health};
use crate::watch::Shared as Watched;

/// Finds the watch of the service at this moment.
pub(crate) type FindWatch = Box<dyn Fn() -> Option<Arc<Watched>> + Send + Sync>;

/// Reads the watch of the own service.
pub(super) struct Mirror {
    find: FindWatch,
    node: Option<String>,
    // How long a watch may be silent and still be trusted.
    silence_max: Duration,
    seen: Option<(Weak<Watched>, watch::Receiver<Arc<Snapshot>>)>,
}

impl Mirror {
    pub(super) fn new(find: FindWatch, node: Option<String>, silence_max: Duration) -> Self {
        Self { find, node, silence_max, seen: None }
    }

    /// Waits until the watch shows something new; for ever while nobody watches.
    pub(super) async fn changed(&mut self) {
        self.attach();
        if let Some((_, receiver)) = &mut self.seen
            && receiver.changed().await.is_ok()
        {
            return;
        }
        self.seen = None;
        std::future::pending::<()>().await;
    }

    fn attach(&mut self) {
        if self.seen.as_ref().is_some_and(|(watched, _)| watched.strong_count() > 0) {
            return;
        }
        self.seen = (self.find)().map(|watched| (Arc::downgrade(&watched), watched.snapshot.subscribe()));
    }

    /// Says whether the registry shows the row as it should be; none when nobody watches, or not well.
    pub(super) fn fits(&self, wanted: &ServiceRequest, id: &str) -> Option<bool> {
        let watched = self.seen.as_ref()?.0.upgrade()?;
        if !watched.is_live(self.silence_max) {
            return None;
        }
        let snapshot = Arc::clone(&watched.snapshot.borrow());
        let ours = |row: &Endpoint| {
            row.id() == id && self.node.as_ref().is_none_or(|node| node.eq_ignore_ascii_case(row.node()))
        };
        let mut rows = snapshot.members().iter().map(|member| member.endpoint()).filter(|row| ours(row));
        Some(rows.any(|row| fits(wanted, row)))
    }
}

/// Compares a row with what was asked for. What the registry fills in (an address that was left out) is not compared.
fn fits(wanted: &ServiceRequest, row: &Endpoint) -> bool {
    let weights = wanted.weights.unwrap_or_default();
    let weight = match row.health() {
        Health::Passing => Some(weights.passing),
        Health::Warning => Some(weights.warning),
        Health::Critical => None,
    };
    let address = match wanted.address.is_empty() {
        true => row.port() == wanted.port,
        false => row.authority() == Endpoint::new("", &wanted.address, wanted.port).authority(),
    };
    address
        && (wanted.enable_tag_override || row.tags() == wanted.tags)
        && *row.meta() == wanted.meta
        && weight.is_none_or(|weight| weight == i64::from(row.weight_effective()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::Service;

    #[test]
    fn a_row_is_compared_in_what_was_asked_for() {
        let wanted = Service::new("web").address("::1").port(80).tags(["a"]).meta("k", "v").weight(3).request;
        let meta: std::collections::BTreeMap<_, _> = [("k".to_owned(), "v".to_owned())].into();
        let row = Endpoint::new("web", "::1", 80).tagged(vec!["a".into()]).with_meta(meta).weighted(3, 1);
        assert!(fits(&wanted, &row));
        assert!(fits(&wanted, &row.clone().with_health(Health::Critical)), "health is no part of it");
        assert!(!fits(&wanted, &row.clone().with_health(Health::Warning).weighted(3, 2)));
        assert!(!fits(&wanted, &row.clone().weighted(2, 1)));
        assert!(!fits(&wanted, &row.clone().tagged(Vec::new())));
        assert!(!fits(&wanted, &row.with_meta(Default::default())));
        let anywhere = Service::new("web").port(80).request;
        assert!(fits(&anywhere, &Endpoint::new("web", "10.0.0.9", 80)));
        assert!(!fits(&anywhere, &Endpoint::new("web", "10.0.0.9", 81)));
    }
}

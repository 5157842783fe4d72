//! The certificates of services on this node: one for each service, handed out until it grows old or its root goes.
//!
//! A certificate is made when first asked for, and again at 60 to 90 % of its life (when exactly is rolled, so that
//! those of many services do not fall due together) or when another root is active. Readers wait here for the next one.
//! Keys live in memory only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::text::Text;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::settings::CaOptions;
use super::{Authority, Error, now, sign};
use crate::registry::{Command, ConnectCommand, Hidden, Outcome, Topic};

/// The most services that one node keeps certificates for.
const LEAVES_MAX: usize = 4096;
/// The soonest that a certificate is replaced, however short its life.
const RENEW_MIN: Duration = Duration::from_secs(60);

/// A certificate for a service. Times are seconds since 1970.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The service.
    pub service: Text,
    /// The number that its root counts it by.
    pub serial: u64,
    /// The certificate, then those between it and any root that is still trusted, PEM.
    pub chain: Text,
    /// Its private key, PEM.
    pub key: Hidden,
    /// Its SPIFFE id.
    pub uri: Text,
    /// When it begins to be valid.
    pub valid_after: i64,
    /// When that ends.
    pub valid_before: i64,
    /// Its place in history.
    pub index: Index,
    root: Text,
    renew_at: i64,
}

/// A place for one certificate; whoever makes it holds the lock, so that it is made once.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Leaf>>>>;

/// What was handed out.
#[derive(Default)]
pub(super) struct Leaves(Mutex<HashMap<Text, Slot>>);

impl Leaves {
    fn slot(&self, service: &str, now: i64) -> Result<Slot, Error> {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.get(service) {
            return Ok(slot.clone());
        }
        if slots.len() >= LEAVES_MAX {
            let over = |slot: &Slot| match slot.try_lock() {
                Ok(leaf) => leaf.as_ref().is_none_or(|leaf| leaf.valid_before <= now),
                Err(_) => false,
            };
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || !over(slot));
        }
        if slots.len() >= LEAVES_MAX {
            return Err(Error::TooManyLeaves { max: LEAVES_MAX });
        }
        Ok(slots.entry(service.into()).or_default().clone())
    }
}

/// After which part of its life a certificate is replaced: 60 to 90 %, by a roll of 0 to 1.
fn renewal(lifetime: Duration, roll: f64) -> Duration {
    lifetime.mul_f64(0.6 + 0.3 * roll.clamp(0.0, 1.0)).max(RENEW_MIN)
}

impl Authority {
    /// The certificate of a service. With an index, one that is newer than it, or the present one once the wait is
    /// over.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn leaf(&self, service: &str, seen: Option<Index>, wait: Duration) -> Result<Arc<Leaf>, Error> {
        let deadline = Instant::now() + wait;
        loop {
            let mut roots = self.shared.cluster.hub().subscribe(&[Topic::CaRoots]);
            let leaf = self.current(service).await?;
            if seen.is_none_or(|seen| leaf.index > seen) {
                return Ok(leaf);
            }
            let left = leaf.renew_at.saturating_sub(now().unix_timestamp()).max(1);
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Ok(leaf),
                () = tokio::time::sleep(Duration::from_secs(left.unsigned_abs())) => {}
                () = roots.changed() => {}
            }
        }
    }

    async fn current(&self, service: &str) -> Result<Arc<Leaf>, Error> {
        let slot = self.shared.leaves.slot(service, now().unix_timestamp())?;
        let mut held = slot.lock().await;
        let registry = self.begun().await?;
        let root = registry.ca_active().ok_or(Error::Busy)?;
        let fresh = |leaf: &&Arc<Leaf>| leaf.root == root.id && now().unix_timestamp() < leaf.renew_at;
        if let Some(leaf) = held.as_ref().filter(fresh) {
            return Ok(leaf.clone());
        }
        let outcome = self.shared.cluster.propose(Command::Connect(ConnectCommand::NextSerial)).await?;
        let Outcome::Serial { number, index } = outcome else { return Err(Error::Busy) };
        let ttl = CaOptions::from_body(&registry.ca_settings().body).leaf_ttl;
        let (domain, datacenter, now) = (registry.trust_domain(), &self.shared.options.datacenter, now());
        let signed = sign::service(root, domain, datacenter, service, number, ttl, now)?;
        let lifetime = Duration::from_secs(signed.not_after.saturating_sub(now.unix_timestamp()).max(0).unsigned_abs());
        let leaf = Arc::new(Leaf {
            service: service.into(),
            serial: number,
            chain: signed.chain.into(),
            key: signed.key,
            uri: signed.uri.into(),
            valid_after: signed.not_before,
            valid_before: signed.not_after,
            index,
            root: root.id.clone(),
            renew_at: now.unix_timestamp() + super::seconds(renewal(lifetime, fastrand::f64())),
        });
        *held = Some(leaf.clone());
        Ok(leaf)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn renewal_falls_between_60_and_90_percent_of_a_life(hours in 1u64..100_000, roll in 0.0f64..=1.0) {
            let life = Duration::from_secs(hours * 3600);
            let due = renewal(life, roll);
            prop_assert!(due >= life.mul_f64(0.599) && due <= life.mul_f64(0.901));
        }
    }

    #[test]
    fn a_short_life_does_not_spin() {
        assert_eq!(renewal(Duration::ZERO, 0.0), RENEW_MIN);
    }
}

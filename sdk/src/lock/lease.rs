//! For how long a session may be trusted, and when it is renewed. Pure: time and the dice are arguments.
//!
//! The server counts the TTL from the moment at which it serves a renewal, which is not before the client sent it. So until
//! `sent + TTL` by the client's own clock the session is there, whatever happens to the network, if no server ends it
//! for another reason. What is trusted is 1 % less, for clocks that do not run alike. A renewal is sent at a third of
//! the TTL; after a failure again and again, faster than the backoff of other calls, because the end is near.
//! Called by `session`.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The server took it.
    Done,
    /// Nobody knows.
    Failed,
}

/// Holds the times of a session.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    ttl: Duration,
    backoff: Backoff,
    // When the last renewal that was taken had been sent.
    sent: Instant,
    next: Instant,
    failures: u32,
}

impl Lease {
    /// Builds the lease of a session whose creation was asked for at `sent`.
    #[must_use]
    pub(super) fn new(ttl: Duration, sent: Instant) -> Self {
        let backoff = Backoff { base: ttl / 100, max: ttl / 10 };
        Self { ttl, backoff, sent, next: sent + ttl / 3, failures: 0 }
    }

    /// Returns until when the session may be trusted.
    #[must_use]
    pub(super) fn deadline(&self) -> Instant {
        self.sent + (self.ttl - self.ttl / 100)
    }

    /// Returns when the next renewal is to be sent; never after the deadline.
    #[must_use]
    pub(super) fn renew_at(&self) -> Instant {
        self.next.min(self.deadline())
    }

    /// Returns the time that one renewal may take: two more fit in before the deadline.
    #[must_use]
    pub(super) fn patience(&self) -> Duration {
        self.ttl / 6
    }

    /// Notes what became of the renewal that was sent at `sent`. What has expired stays so: somebody may have seen it.
    pub(super) fn told(&mut self, renewal: Renewal, sent: Instant, now: Instant, dice: u32) {
        match renewal {
            Renewal::Done if now >= self.deadline() => {}
            Renewal::Done => {
                // Answers may overtake one another; the lease never shrinks.
                self.sent = self.sent.max(sent);
                (self.next, self.failures) = (self.sent + self.ttl / 3, 0);
            }
            Renewal::Failed => {
                self.failures = self.failures.saturating_add(1);
                self.next = now + self.backoff.delay(self.failures, dice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    #[test]
    fn it_renews_at_a_third_and_trusts_what_was_sent() {
        let start = Instant::now();
        let mut lease = Lease::new(TTL, start);
        assert_eq!(lease.renew_at(), start + Duration::from_secs(5));
        let sent = start + Duration::from_secs(5);
        lease.told(Renewal::Done, sent, sent + Duration::from_secs(4), 0);
        assert_eq!(lease.deadline(), sent + Duration::from_millis(14_850), "the way back does not count");
        assert_eq!(lease.renew_at(), sent + Duration::from_secs(5));
        lease.told(Renewal::Failed, sent, sent, 0);
        assert_eq!(lease.renew_at(), sent + Duration::from_millis(150));
    }

    proptest! {
        /// Whatever became of the renewals, nothing is trusted for a whole TTL after the last that was taken was sent, and
        /// a renewal is always due before that.
        #[test]
        fn nothing_is_trusted_for_longer_than_the_server_keeps_it(
            ttl in 1u64..100_000, steps in proptest::collection::vec((any::<bool>(), 0u64..30_000, any::<u32>()), 0..40),
        ) {
            let ttl = Duration::from_millis(ttl);
            let mut now = Instant::now();
            let mut lease = Lease::new(ttl, now);
            let mut kept_until = now + ttl;
            for (taken, took, dice) in steps {
                let sent = lease.renew_at().max(now);
                now = sent + Duration::from_millis(took);
                let renewal = if taken { Renewal::Done } else { Renewal::Failed };
                let expired = now >= lease.deadline();
                if taken {
                    kept_until = kept_until.max(sent + ttl);
                }
                lease.told(renewal, sent, now, dice);
                prop_assert!(!expired || now >= lease.deadline(), "what has expired stays so");
                prop_assert!(lease.deadline() < kept_until || ttl < Duration::from_nanos(100));
                prop_assert!(lease.renew_at() <= lease.deadline());
            }
        }
    }
}

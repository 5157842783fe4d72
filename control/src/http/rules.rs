//! What is let in: sizes, rates, paths and networks that the operator set. They can change while the node runs.
//!
//! Pure: the time is an argument. `dispatch` asks for each request, `serve` for each connection, handlers for sizes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use callboard_proto::index::{WAIT_DEFAULT, WAIT_MAX, wait_within};
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use parking_lot::Mutex;

/// What becomes of requests beyond a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RateMode {
    /// They are logged, and answered.
    #[default]
    Permissive,
    /// They are refused with 429.
    Enforcing,
}

/// What is let in.
#[derive(Debug)]
pub struct HttpRules {
    /// The most connections from one address; further ones are told so and closed. An HTTP/2 connection carries up to
    /// 1024 requests at a time.
    pub connections_per_client: usize,
    /// The largest value of a key, in bytes.
    pub kv_value_max: usize,
    /// The largest body of a transaction, in bytes.
    pub txn_body_max: usize,
    /// The most bytes of one request's headers, for connections that begin from now on.
    pub header_bytes_max: usize,
    /// How long a blocking read waits that does not say, and how long it may.
    pub wait_default: Duration,
    /// See `wait_default`.
    pub wait_max: Duration,
    /// Headers of every answer.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Beginnings of paths that are refused.
    pub block_endpoints: Vec<String>,
    /// From where anything but GET is answered; empty: from everywhere.
    pub allow_write_from: Vec<IpNet>,
    /// Whether paths with control characters are let through.
    pub unprintable_paths: bool,
    /// What becomes of requests beyond the rates.
    pub rate_mode: RateMode,
    /// Reads a second.
    pub reads: Option<Rate>,
    /// Writes a second.
    pub writes: Option<Rate>,
}

impl Default for HttpRules {
    fn default() -> HttpRules {
        HttpRules {
            connections_per_client: 200,
            kv_value_max: callboard_proto::kv::VALUE_MAX,
            txn_body_max: callboard_proto::kv::VALUE_MAX,
            header_bytes_max: 400 * 1024,
            wait_default: WAIT_DEFAULT,
            wait_max: WAIT_MAX,
            response_headers: Vec::new(),
            block_endpoints: Vec::new(),
            allow_write_from: Vec::new(),
            unprintable_paths: false,
            rate_mode: RateMode::Permissive,
            reads: None,
            writes: None,
        }
    }
}

/// A request that is not let in: the status and the text of its answer.
pub(super) type Barred = (StatusCode, String);

impl HttpRules {
    /// How long a blocking read may wait. `dice` is any random word.
    pub(super) fn wait(&self, wish: Option<Duration>, dice: u64) -> Duration {
        wait_within(wish, self.wait_default, self.wait_max, dice)
    }

    /// Whether a request to a path may go on. `peer` is none for those who came over a Unix socket.
    pub(super) fn admits(&self, path: &str, writes: bool, peer: Option<IpAddr>, now: Instant) -> Result<(), Barred> {
        if self.block_endpoints.iter().any(|blocked| path.starts_with(blocked.as_str())) {
            return Err((StatusCode::FORBIDDEN, "Endpoint is blocked by agent configuration".to_owned()));
        }
        if writes
            && !self.allow_write_from.is_empty()
            && let Some(peer) = peer.map(|peer| peer.to_canonical())
            && !self.allow_write_from.iter().any(|network| network.contains(&peer))
        {
            let text = format!("Writes are not accepted from {peer} (http_config.allow_write_http_from)");
            return Err((StatusCode::FORBIDDEN, text));
        }
        let (rate, name) = if writes { (&self.writes, "write_rate") } else { (&self.reads, "read_rate") };
        let Some(rate) = rate.as_ref().filter(|_| is_limited(path)) else { return Ok(()) };
        if rate.take(now) {
            return Ok(());
        }
        match self.rate_mode {
            RateMode::Permissive => {
                tracing::debug!(path, limit = name, "a request is over the rate");
                Ok(())
            }
            RateMode::Enforcing => {
                let text = format!(
                    "rate limit exceeded, try again later or against a different server (limits.request_limits.{name} = {})",
                    rate.per_second
                );
                Err((StatusCode::TOO_MANY_REQUESTS, text))
            }
        }
    }
}

/// Whether a path counts for the rates: the node about itself does not.
fn is_limited(path: &str) -> bool {
    path.starts_with("/v1/") && !path.starts_with("/v1/agent/") && !path.starts_with("/v1/status/")
}

/// So many a second, and as many at once (a token bucket that holds one second's worth).
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    /// How many may come at once, and when that was so.
    left: Mutex<Option<(f64, Instant)>>,
}

impl Rate {
    /// So many a second; must be more than nothing.
    #[must_use]
    pub fn new(per_second: f64) -> Rate {
        Rate { per_second, left: Mutex::new(None) }
    }

    fn take(&self, now: Instant) -> bool {
        let full = self.per_second.max(1.0);
        let mut left = self.left.lock();
        let (count, then) = left.unwrap_or((full, now));
        let passed = now.checked_duration_since(then).unwrap_or(Duration::ZERO);
        let count = (count + passed.as_secs_f64() * self.per_second).min(full);
        let taken = count >= 1.0;
        *left = Some((if taken { count - 1.0 } else { count }, now.max(then)));
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_barred() {
        let rules = HttpRules {
            block_endpoints: vec!["/v1/acl".to_owned(), "/v1/kv/x".to_owned()],
            allow_write_from: vec!["10.0.0.0/8".parse().unwrap()],
            ..HttpRules::default()
        };
        let now = Instant::now();
        let check = |path: &str, writes: bool, peer: &str, expect: Option<u16>| {
            let barred = rules.admits(path, writes, peer.parse().ok(), now).err().map(|barred| barred.0.as_u16());
            assert_eq!(barred, expect, "{path} {writes} {peer}");
        };
        check("/v1/acl/token", false, "10.1.1.1", Some(403));
        check("/v1/kv/xy", true, "10.1.1.1", Some(403));
        check("/v1/kv/y", true, "10.1.1.1", None);
        check("/v1/kv/y", true, "::ffff:10.1.1.1", None);
        check("/v1/kv/y", true, "192.0.2.1", Some(403));
        check("/v1/kv/y", false, "192.0.2.1", None);
        check("/v1/kv/y", true, "a socket", None);
    }

    #[test]
    fn beyond_the_rate_requests_are_refused_or_only_told() {
        let now = Instant::now();
        let rules = |rate_mode| HttpRules { rate_mode, reads: Some(Rate::new(2.0)), ..HttpRules::default() };
        let answered = |rules: &HttpRules, path: &str, now| rules.admits(path, false, None, now).is_ok();
        let enforcing = rules(RateMode::Enforcing);
        let first: Vec<bool> = (0..4).map(|_| answered(&enforcing, "/v1/kv/a", now)).collect();
        assert_eq!(first, [true, true, false, false]);
        assert!(answered(&enforcing, "/v1/agent/self", now), "the node about itself");
        assert!(answered(&enforcing, "/v1/kv/a", now + Duration::from_millis(500)));
        assert!(!answered(&enforcing, "/v1/kv/a", now + Duration::from_millis(500)));
        let permissive = rules(RateMode::Permissive);
        assert!((0..4).all(|_| answered(&permissive, "/v1/kv/a", now)));
    }

    proptest! {
        #[test]
        fn no_second_lets_more_through_than_twice_the_rate(rate in 1u32..50, gaps in prop::collection::vec(0u64..200, 1..300)) {
            let bucket = Rate::new(f64::from(rate));
            let mut now = Instant::now();
            let mut taken = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if bucket.take(now) {
                    taken.push(now);
                }
            }
            for (place, first) in taken.iter().enumerate() {
                let within = taken[place..].iter().take_while(|at| **at - *first < Duration::from_secs(1)).count();
                prop_assert!(within <= 2 * rate as usize, "{within} in a second at {rate}");
            }
        }
    }
}

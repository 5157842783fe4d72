//! What is tried again, and when: a value, and pure functions over it.
//!
//! Decides whether a failure or an answer is a reason for another try, how long to wait before the same endpoint is
//! asked again, and what servers say about it (`Retry-After`, `grpc-retry-pushback-ms`). Whom to try next and what
//! it costs is decided by `sequence`, which calls this.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Method};

use super::error::Reason;
use crate::backoff::Backoff;

/// The header that tells the next hop which try of a call this is: `2` for the first retry. Whoever receives it above
/// 1 tries again only what was never sent, so that retries do not multiply from hop to hop. First tries carry none.
pub const ATTEMPT: &str = "callboard-attempt";
/// How a gRPC server says when to try again; negative or malformed: never (gRPC proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// The bound on tries of one call, whatever the settings say.
pub const ATTEMPTS_MAX: usize = 8;

/// Holds what is tried again.
///
/// A request of which no byte was sent may go to another endpoint whatever it is. All else is tried again only
/// when the request may be carried out twice: its method is idempotent (or [`Self::any_method`] says that it may),
/// and its body is small enough to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many tries one call may have, 1 to 8. Above 1, a try that could not connect does not count while there is an
    /// endpoint that was not asked: nothing was sent. With those there are 8 at most.
    pub attempts_max: usize,
    /// Whether a try that could not connect is followed by another.
    pub on_connect: bool,
    /// Whether one whose connection broke before the answer's head is.
    pub on_broken: bool,
    /// The statuses of answers that are; 502, 503 and 504 are the usual ones. None by default.
    pub on_statuses: Vec<u16>,
    /// The gRPC statuses that are, where an answer's head carries one: 14 (unavailable) is the usual one.
    pub on_grpc: Vec<u16>,
    /// Whether requests of any method may be carried out twice.
    pub any_method: bool,
    /// The time for one try, its connection included; a try that takes longer is followed by another.
    pub per_try_timeout: Option<Duration>,
    /// The waits before an endpoint is asked again that this call has asked before; others are asked at once.
    pub backoff: Backoff,
    /// The largest body that is kept for another try, in bytes.
    pub body_max: usize,
}

impl RetryPolicy {
    /// Never tries again.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// Returns the default with the statuses that gateways give when nobody behind them could serve: 502, 503, 504.
    #[must_use]
    pub fn gateway() -> Self {
        Self { on_statuses: vec![502, 503, 504], ..Self::default() }
    }

    /// Returns the tries in all, within the bound.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.attempts_max.clamp(1, ATTEMPTS_MAX)
    }

    /// Says whether a request of this method may be carried out twice.
    #[must_use]
    pub fn repeats(&self, method: &Method) -> bool {
        self.attempts() > 1 && (self.any_method || method.is_idempotent())
    }

    /// Says whether a failure is a reason for another try of a request that may have it.
    #[must_use]
    pub fn follows(&self, reason: Reason) -> bool {
        match reason {
            Reason::Connect => self.on_connect,
            Reason::Broken => self.on_broken,
            Reason::Timeout => self.per_try_timeout.is_some(),
            Reason::NoEndpoint | Reason::Request | Reason::Deadline | Reason::Overloaded | Reason::Status => false,
        }
    }

    /// Says whether an answer with this head is a reason for another try.
    #[must_use]
    pub fn follows_answer(&self, status: u16, headers: &HeaderMap) -> bool {
        if self.on_statuses.contains(&status) {
            return true;
        }
        !self.on_grpc.is_empty()
            && number(headers.get("grpc-status"))
                .is_some_and(|status| self.on_grpc.iter().any(|on| status == u64::from(*on)))
    }
}

impl Default for RetryPolicy {
    /// Three tries, after failed and broken connections; 25 to 250 ms between tries of the same endpoint; bodies of
    /// up to 64 KiB.
    fn default() -> Self {
        Self {
            attempts_max: 3,
            on_connect: true,
            on_broken: true,
            on_statuses: Vec::new(),
            on_grpc: Vec::new(),
            any_method: false,
            per_try_timeout: None,
            backoff: Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) },
            body_max: 64 * 1024,
        }
    }
}

/// What an answer says about the next try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advice {
    /// There must be none.
    pub never: bool,
    /// Nobody is asked earlier.
    pub everybody_after: Duration,
    /// The endpoint that answered is not asked earlier.
    pub same_after: Duration,
}

impl Advice {
    /// Reads the headers of an answer. A `Retry-After` that is a date is passed over: clocks differ.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut advice = Self::default();
        if let Some(value) = headers.get(PUSHBACK) {
            match number(Some(value)) {
                Some(ms) => advice.everybody_after = Duration::from_millis(ms),
                None => advice.never = true,
            }
        }
        if let Some(seconds) = number(headers.get(RETRY_AFTER)) {
            advice.same_after = Duration::from_secs(seconds);
        }
        advice
    }
}

/// Says whether after so many tries, of which `unsent` sent nothing, an endpoint that was not asked yet may be.
#[must_use]
pub(super) fn may_ask_another(attempts_max: usize, tries: usize, unsent: usize) -> bool {
    attempts_max > 1 && tries < ATTEMPTS_MAX && tries.saturating_sub(unsent) < attempts_max
}

/// Says whether a request is itself a try that follows another, by its header.
#[must_use]
pub(super) fn is_retry(headers: &HeaderMap) -> bool {
    // What is no number was written by somebody else; taking it for a retry is the safe reading.
    headers.get(ATTEMPT).is_some_and(|value| number(Some(value)).is_none_or(|attempt| attempt > 1))
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_may_be_done_twice_is_the_methods_or_the_rules_to_say() {
        let policy = RetryPolicy::default();
        assert!(policy.repeats(&Method::GET) && policy.repeats(&Method::PUT) && !policy.repeats(&Method::POST));
        assert!(RetryPolicy { any_method: true, ..RetryPolicy::default() }.repeats(&Method::POST));
        assert!(!RetryPolicy::never().repeats(&Method::GET));
        assert_eq!(RetryPolicy { attempts_max: 99, ..RetryPolicy::default() }.attempts(), ATTEMPTS_MAX);
    }

    #[test]
    fn answers_are_tried_again_only_where_that_is_said() {
        let none = HeaderMap::new();
        assert!(!RetryPolicy::default().follows_answer(503, &none));
        assert!(
            RetryPolicy::gateway().follows_answer(503, &none) && !RetryPolicy::gateway().follows_answer(500, &none)
        );
        let grpc = RetryPolicy { on_grpc: vec![14], ..RetryPolicy::default() };
        assert!(grpc.follows_answer(200, &headers(&[("grpc-status", "14")])));
        assert!(!grpc.follows_answer(200, &headers(&[("grpc-status", "13")])) && !grpc.follows_answer(200, &none));
        assert!(!RetryPolicy::default().follows(Reason::Timeout), "a time for the answer is not a time for a try");
    }

    #[test]
    fn who_could_not_be_reached_is_no_try_within_the_bound() {
        let asked = |max, tries, unsent| may_ask_another(max, tries, unsent);
        assert!(asked(3, 2, 0) && !asked(3, 3, 0), "all were sent");
        assert!(asked(3, 5, 3) && !asked(3, 5, 2));
        assert!(asked(3, 7, 7) && !asked(3, 8, 8), "the bound");
        assert!(!asked(1, 1, 1), "never is never");
    }

    #[test]
    fn servers_say_when() {
        assert_eq!(Advice::of(&HeaderMap::new()), Advice::default());
        assert_eq!(Advice::of(&headers(&[("retry-after", "3")])).same_after, Duration::from_secs(3));
        assert_eq!(Advice::of(&headers(&[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")])), Advice::default());
        let pushed = |value: &'static str| Advice::of(&headers(&[("grpc-retry-pushback-ms", value)]));
        assert_eq!(pushed("40").everybody_after, Duration::from_millis(40));
        assert!(pushed("-1").never && pushed("soon").never && !pushed("0").never);
    }

    #[test]
    fn a_retry_is_known_by_its_header() {
        for (value, retry) in [("1", false), ("2", true), ("7", true), ("x", true)] {
            assert_eq!(is_retry(&headers(&[("callboard-attempt", value)])), retry, "{value}");
        }
        assert!(!is_retry(&HeaderMap::new()));
    }
}

//! The time a call has in all: charged together by tries, waits and hedges, and told to the next hop.
//!
//! Pure but for the task-local: a [`Deadline`] is a point of tokio's clock, read from the headers of a request or set by
//! the application, written into requests as the time that is left. A server's side puts it around a handler
//! (`inbound`), and every call the handler makes inherits it. Called by `sequence` and `inbound`.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::retry;

/// Our header: the milliseconds that are left for the request, at least 1.
pub static TIMEOUT: HeaderName = HeaderName::from_static("callboard-timeout-ms");
/// Envoy's header of the same meaning.
static ENVOY: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// gRPC's header: up to eight digits and a unit.
static GRPC: HeaderName = HeaderName::from_static("grpc-timeout");
/// A time beyond this is as good as none, and its sum with the clock must not overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Says when a call must have been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// What a handler's own calls inherit from the request it serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inherited {
    /// When the request must have been answered.
    pub deadline: Option<Deadline>,
    /// Whether the request is a retry of its caller, so that nothing behind it is tried again that was sent.
    pub retry: bool,
}

tokio::task_local! {
    static INHERITED: Inherited;
}

impl Deadline {
    /// Returns the deadline that lies so far ahead; at most 30 days.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time.min(LONGEST))
    }

    /// Returns the point in time.
    #[must_use]
    pub fn at(self) -> Instant {
        self.0
    }

    /// Returns the time that is left; none when it is over.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Reads the time that a request's headers give it: gRPC's header, else ours, else Envoy's.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.is_empty() {
            return None;
        }
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let grpc = || text(&GRPC).and_then(parse_grpc);
        let millis = |name| text(name).and_then(|text| text.trim().parse().ok()).map(Duration::from_millis);
        grpc().or_else(|| millis(&TIMEOUT)).or_else(|| millis(&ENVOY)).map(Self::after)
    }

    /// Tells the next hop how long it has.
    pub(super) fn write(left: Duration, headers: &mut HeaderMap) {
        let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if is_grpc {
            headers.insert(&GRPC, format_grpc(left));
        } else {
            headers.remove(&GRPC);
        }
        // Rounded down, but never to nothing: 0 would mean no bound to some.
        let millis = HeaderValue::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
        headers.insert(&ENVOY, millis.clone());
        headers.insert(&TIMEOUT, millis);
    }

    /// Returns the deadline of the request that the present task serves, if it has one.
    #[must_use]
    pub fn current() -> Option<Self> {
        Inherited::current().deadline
    }

    /// Runs a future whose calls must be over by this time (or by the one around it, if that is earlier).
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        let around = Inherited::current();
        let deadline = Some(around.deadline.map_or(self, |outer| outer.min(self)));
        INHERITED.scope(Inherited { deadline, ..around }, work).await
    }
}

impl Inherited {
    /// Reads what a request tells about itself.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        Self { deadline: Deadline::of(headers), retry: retry::is_retry(headers) }
    }

    /// Returns what the present task inherits; nothing outside of a handler.
    #[must_use]
    pub fn current() -> Self {
        INHERITED.try_with(|inherited| *inherited).unwrap_or_default()
    }

    /// Runs a future whose calls inherit this. A task that it spawns inherits nothing.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        INHERITED.scope(self, work).await
    }
}

/// Reads gRPC's form: "PROTOCOL-HTTP2" of gRPC, `Timeout`.
fn parse_grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Writes it in the finest unit whose count has eight digits, rounded down.
fn format_grpc(left: Duration) -> HeaderValue {
    const DIGITS: u128 = 100_000_000;
    let nanos = left.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let (count, unit) = units
        .into_iter()
        .map(|(size, unit)| (nanos / size, unit))
        .find(|(count, _)| *count < DIGITS)
        .unwrap_or((DIGITS - 1, 'M'));
    let mut text = String::with_capacity(9);
    let _ = write!(text, "{count}{unit}");
    // Digits and a letter can be carried by any header.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("1S"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Deadline::of(&headers).map(|deadline| deadline.left().unwrap_or_default())
    }

    #[tokio::test(start_paused = true)]
    async fn three_headers_say_the_same() {
        for (name, value, left) in [
            ("grpc-timeout", "2S", Some(Duration::from_secs(2))),
            ("grpc-timeout", "1500m", Some(Duration::from_millis(1500))),
            ("grpc-timeout", "1H", Some(Duration::from_secs(3600))),
            ("grpc-timeout", "123456789n", None),
            ("grpc-timeout", "S", None),
            ("grpc-timeout", "", None),
            ("grpc-timeout", "-1S", None),
            ("callboard-timeout-ms", "250", Some(Duration::from_millis(250))),
            ("x-envoy-expected-rq-timeout-ms", "0", Some(Duration::ZERO)),
            ("x-envoy-expected-rq-timeout-ms", "soon", None),
            ("callboard-timeout-ms", "18446744073709551615", Some(LONGEST)),
        ] {
            assert_eq!(read(name, value), left, "{name}: {value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_told_in_the_words_of_the_protocol() {
        let mut headers = HeaderMap::new();
        Deadline::write(Duration::from_micros(1_500), &mut headers);
        assert_eq!((headers["callboard-timeout-ms"].as_bytes(), headers.get("grpc-timeout")), (&b"1"[..], None));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        Deadline::write(Duration::from_secs(3), &mut headers);
        assert_eq!(headers["grpc-timeout"], "3000000u");
        assert_eq!(headers["x-envoy-expected-rq-timeout-ms"], "3000");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_inherit_the_earlier_deadline_of_two() {
        assert_eq!(Deadline::current(), None);
        let (near, far) = (Deadline::after(Duration::from_secs(1)), Deadline::after(Duration::from_secs(9)));
        near.scope(async {
            assert_eq!(Deadline::current(), Some(near));
            far.scope(async { assert_eq!(Deadline::current(), Some(near)) }).await;
        })
        .await;
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((near.left(), far.left()), (None, Some(Duration::from_secs(7))));
    }

    proptest! {
        /// Written and read, a time never grows, and loses less than the unit it was written in.
        #[test]
        fn a_time_never_grows_from_hop_to_hop(micros in 1u64..10_000_000_000_000) {
            let time = Duration::from_micros(micros);
            let read = parse_grpc(format_grpc(time).to_str().unwrap()).unwrap();
            prop_assert!(read <= time);
            prop_assert!(time - read <= (time / 1_000_000).max(Duration::from_secs(60).min(time / 1_000)));
        }
    }
}

//! What may go wrong on order, and whom it meets.
//!
//! A fault meets the requests of one server (or all) whose path (or method and path: `PUT /v1/kv`) begins as told, until
//! it is healed or used up. Several may meet one request: the waits add up, and the first that has an answer of its own gives it. Called by `serve`.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::state::State;

/// What happens to requests instead of what should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Answered with this status and text; nothing is done.
    Status(u16, &'static str),
    /// The connection is closed before a byte of the answer; nothing is done.
    Close,
    /// The connection is closed in the middle of the answer: what was asked *was* done.
    Cut,
    /// Nothing happens until it is healed; then the request is served.
    Hang,
    /// Served after this time.
    Slow(Duration),
    /// Reads are answered without an index and without rows.
    NoIndex,
    /// Reads that should wait are answered at once.
    Hasty,
    /// Nobody leads: stale reads are answered and say so, everything else gets a 500.
    Leaderless,
    /// Stale reads are answered as of the moment when this was ordered.
    Lag,
}

struct Ordered {
    server: String,
    path: String,
    fault: Fault,
    // How many requests it still meets; none: all.
    left: Option<u32>,
    then: Arc<State>,
}

/// The faults that are in force.
#[derive(Default)]
pub(super) struct Faults(Vec<Ordered>);

/// What meets one request.
#[derive(Default)]
pub(super) struct Met {
    pub(super) delay: Duration,
    pub(super) hang: bool,
    pub(super) hasty: bool,
    pub(super) leaderless: bool,
    pub(super) cut: bool,
    /// Instead of the answer.
    pub(super) instead: Option<Fault>,
    /// The registry as it was.
    pub(super) lag: Option<Arc<State>>,
}

impl Faults {
    pub(super) fn order(&mut self, server: &str, path: &str, fault: Fault, left: Option<u32>, state: &State) {
        let then = if fault == Fault::Lag { Arc::new(state.clone()) } else { Arc::default() };
        self.0.push(Ordered { server: server.to_owned(), path: path.to_owned(), fault, left, then });
    }

    pub(super) fn heal(&mut self, server: &str) {
        self.0.retain(|ordered| !server.is_empty() && ordered.server != server);
    }

    /// Returns what meets a request; `arrives` counts it against what meets so many requests.
    pub(super) fn meet(&mut self, server: &str, method: &Method, path: &str, arrives: bool) -> Met {
        let line = format!("{method} {path}");
        let mut met = Met::default();
        for ordered in &mut self.0 {
            let told = path.starts_with(&ordered.path) || line.starts_with(&ordered.path);
            if !server.starts_with(&ordered.server) || !told || ordered.left == Some(0) {
                continue;
            }
            if let (Some(left), true) = (&mut ordered.left, arrives) {
                *left -= 1;
            }
            match ordered.fault {
                Fault::Slow(delay) => met.delay += delay,
                Fault::Hang => met.hang = true,
                Fault::Hasty => met.hasty = true,
                Fault::Leaderless => met.leaderless = true,
                Fault::Cut => met.cut = true,
                Fault::Lag => met.lag = met.lag.or_else(|| Some(Arc::clone(&ordered.then))),
                Fault::Status(..) | Fault::Close | Fault::NoIndex => met.instead = met.instead.or(Some(ordered.fault)),
            }
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_whom_it_was_ordered_for() {
        let (mut faults, state) = (Faults::default(), State::default());
        faults.order("one", "/v1/kv", Fault::Close, Some(1), &state);
        faults.order("", "/", Fault::Slow(Duration::from_secs(1)), None, &state);
        faults.order("two", "", Fault::Slow(Duration::from_secs(2)), None, &state);
        assert_eq!(faults.meet("two:2", &Method::GET, "/v1/kv/a", true).delay, Duration::from_secs(3), "waits add up");
        assert_eq!(
            faults.meet("one:1", &Method::GET, "/v1/kv/a", false).instead,
            Some(Fault::Close),
            "a look does not use it up"
        );
        assert_eq!(faults.meet("one:1", &Method::GET, "/v1/kv/a", true).instead, Some(Fault::Close));
        assert_eq!(faults.meet("one:1", &Method::GET, "/v1/kv/a", true).instead, None, "it was for one request");
        faults.heal("two");
        assert_eq!(faults.meet("two:2", &Method::GET, "/", true).delay, Duration::from_secs(1));
        faults.heal("");
        assert!(faults.meet("two:2", &Method::GET, "/", true).delay.is_zero());
    }
}

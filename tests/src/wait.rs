//! Waiting for a state: ask again and again until the answer is there or the deadline has passed.
//! A suite never waits for a time in the hope that something has happened by then.

use std::time::{Duration, Instant};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `look` until it answers `Some`, and panics with `what` once `limit` has passed.
///
/// # Panics
/// When the limit passes: a suite cannot go on without the state it waits for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    match within(limit, &mut look) {
        Some(found) => found,
        None => panic!("waited {limit:?} in vain for: {what}"),
    }
}

/// Asks `look` until it is true. See [`until`].
///
/// # Panics
/// When the limit passes.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    until(what, limit, || look().then_some(()));
}

/// Asks `look` until it answers `Some`; `None` once `limit` has passed.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

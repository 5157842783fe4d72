//! A check that is a function of the application.
//!
//! Turns an async function into something the runner can run again and again. A panic in it is a
//! critical result, not the end of the check. The registry sees such a check as one that beats.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use callboard_proto::CheckStatus;

type Answer = (CheckStatus, String);
type Run = dyn Fn() -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// A health check written as an async function.
#[derive(Clone)]
pub struct Closure(Arc<Run>);

impl Closure {
    /// A check that passes with `Ok` and is critical with `Err`, whose text becomes the output.
    pub fn new<F, R, E>(check: F) -> Closure
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        Closure(Arc::new(move || {
            let run = check();
            Box::pin(async move {
                match run.await {
                    Ok(()) => (CheckStatus::Passing, String::new()),
                    Err(error) => (CheckStatus::Critical, error.to_string()),
                }
            })
        }))
    }

    /// A check that says its status and output itself.
    pub fn graded<F, R>(check: F) -> Closure
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = (CheckStatus, String)> + Send + 'static,
    {
        Closure(Arc::new(move || Box::pin(check())))
    }

    /// Runs it once.
    pub(crate) async fn run(&self) -> Answer {
        let panicked = || (CheckStatus::Critical, "the check panicked".to_owned());
        let Ok(mut run) = catch_unwind(AssertUnwindSafe(|| (self.0)())) else { return panicked() };
        // After a panic the future is dropped and never looked at again, so nothing can see it half done.
        poll_fn(move |cx| {
            catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))).unwrap_or_else(|_| Poll::Ready(panicked()))
        })
        .await
    }
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closure")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_becomes_a_status() {
        let good = Closure::new(|| async { Ok::<(), String>(()) });
        assert_eq!(good.run().await, (CheckStatus::Passing, String::new()));
        let bad = Closure::new(|| async { Err("no database") });
        assert_eq!(bad.run().await, (CheckStatus::Critical, "no database".into()));
        let fair = Closure::graded(|| async { (CheckStatus::Warning, "queue is long".into()) });
        assert_eq!(fair.run().await, (CheckStatus::Warning, "queue is long".into()));
    }

    #[tokio::test]
    async fn a_panic_is_critical_and_not_the_end() {
        let closure = Closure::graded(|| async { panic!("for the test") });
        for _ in 0..2 {
            assert_eq!(closure.run().await, (CheckStatus::Critical, "the check panicked".into()));
        }
    }
}

//! Checks that the process runs on itself; what they find is folded into the beat.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::CheckStatus;
use tokio_util::task::AbortOnDropHandle;

use super::state::Shared;
#[cfg(feature = "check")]
use crate::check::{Context, Runner, Verdict};
#[cfg(feature = "check")]
use crate::error::Error;
#[cfg(feature = "check")]
use callboard_proto::CheckDefinition;
#[cfg(feature = "check")]
use callboard_proto::api::check::CheckRequest;
#[cfg(feature = "check")]
use tokio_util::sync::CancellationToken;

type Answer = (CheckStatus, String);
type Run = dyn Fn() -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// The time one run may take unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest output that is sent, in bytes.
const OUTPUT_MAX: usize = 4096;

/// Describes a check that runs in this process.
#[derive(Clone)]
pub struct InProcessCheck {
    name: String,
    interval: Duration,
    timeout: Duration,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Function(Arc<Run>),
    #[cfg(feature = "check")]
    Defined(Box<CheckDefinition>, Context),
}

impl fmt::Debug for InProcessCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessCheck")
            .field("name", &self.name)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl InProcessCheck {
    /// Builds a check of an async function: `Ok` passes, `Err` is critical and its text the output.
    pub fn new<R, E>(name: impl Into<String>, interval: Duration, run: impl Fn() -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        Self::graded(name, interval, move || {
            let run = run();
            async move {
                match run.await {
                    Ok(()) => (CheckStatus::Passing, String::new()),
                    Err(error) => (CheckStatus::Critical, error.to_string()),
                }
            }
        })
    }

    /// Builds a check of an async function that says its status and output itself.
    pub fn graded<R>(name: impl Into<String>, interval: Duration, run: impl Fn() -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = (CheckStatus, String)> + Send + 'static,
    {
        Self {
            name: name.into(),
            interval: interval.max(Duration::from_millis(10)),
            timeout: TIMEOUT,
            kind: Kind::Function(Arc::new(move || Box::pin(run()))),
        }
    }

    /// Builds a check that passes while a TCP connection to `host:port` can be had.
    pub fn tcp(address: impl Into<String>, interval: Duration) -> Self {
        let address: Arc<str> = address.into().into();
        Self::new(format!("tcp {address}"), interval, move || {
            let address = Arc::clone(&address);
            async move { tokio::net::TcpStream::connect(&*address).await.map(drop) }
        })
    }

    /// Builds a check as the registry defines them (HTTP, TCP, gRPC, script, …, with thresholds and limits), run by
    /// this process. `context` is made once and shared by all.
    ///
    /// # Errors
    /// [`Error::Config`] when the definition is invalid, or of a kind that nobody runs (TTL, alias).
    #[cfg(feature = "check")]
    pub fn defined(name: impl Into<String>, check: &CheckRequest, context: Context) -> Result<Self, Error> {
        let bad = |reason: String| Error::Config { setting: "check", reason };
        let definition = check.definition().map_err(|error| bad(error.to_string()))?;
        // Refused now, and not when the task is running.
        Runner::new(definition.clone(), context.clone(), CheckStatus::Critical)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            name: name.into(),
            interval: definition.interval,
            timeout: crate::check::timeout(&definition),
            kind: Kind::Defined(Box::new(definition), context),
        })
    }

    /// Sets the time one run of a function may take, 10 s by default; past it the check is critical.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs until it is cancelled.
    pub(super) async fn run(self, shared: &Shared, place: usize) {
        match self.kind {
            Kind::Function(run) => repeat(&run, self.interval, self.timeout, shared, place).await,
            #[cfg(feature = "check")]
            Kind::Defined(definition, context) => {
                // It was taken when it was defined.
                let Ok(runner) = Runner::new(*definition, context, CheckStatus::Critical) else { return };
                let sink = |verdict: Verdict| shared.set_probe(place, verdict.status, verdict.output.to_string());
                runner.run(sink, CancellationToken::new()).await;
            }
        }
    }
}

async fn repeat(run: &Arc<Run>, interval: Duration, timeout: Duration, shared: &Shared, place: usize) {
    loop {
        let run = Arc::clone(run);
        // In a task of its own, so that a panic is a result and not the end.
        let task = AbortOnDropHandle::new(tokio::spawn(async move { run().await }));
        let (status, mut output) = match tokio::time::timeout(timeout, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => (CheckStatus::Critical, "the check panicked".to_owned()),
            Err(_) => (CheckStatus::Critical, format!("no result within {timeout:?}")),
        };
        clip(&mut output);
        shared.set_probe(place, status, output);
        tokio::time::sleep(interval).await;
    }
}

fn clip(output: &mut String) {
    let mut end = output.len().min(OUTPUT_MAX);
    while !output.is_char_boundary(end) {
        end -= 1;
    }
    output.truncate(end);
}

//! One run of a check: from a definition to a report.
//!
//! Decides which probe a definition means, how long it may take and how long its output may be. Does not
//! decide what the result means for the status over time: that is the runner's.

use std::sync::Arc;
use std::time::Duration;

use callboard_proto::CheckStatus;
use callboard_proto::definition::{CheckDefinition, Probe};
use callboard_proto::duration::GoDuration;
use tokio::time::{Instant, timeout_at};

use super::closure::Closure;
use super::dial::Fault;
use super::output::clip;
use super::tls::TlsClients;
use super::{grpc, h2ping, http, tcp, udp};

/// What probes call themselves; servers know this name and keep it out of their logs.
pub(crate) const USER_AGENT: &str = "Consul Health Check";

/// What one run may take when its definition does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a script.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);

/// What all checks of a process share. Cheap to clone; made once.
#[derive(Debug, Clone, Default)]
pub struct Context {
    tls: Arc<TlsClients>,
}

impl Context {
    /// Trusts the platform's root certificates.
    #[must_use]
    pub fn new() -> Context {
        Context::default()
    }

    /// Trusts these certificates (DER) as well.
    #[must_use]
    pub fn trusting(roots: impl IntoIterator<Item = Vec<u8>>) -> Context {
        Context { tls: Arc::new(TlsClients::trusting(roots)) }
    }
}

/// What one run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How well it is, by this run alone.
    pub status: CheckStatus,
    /// What to show.
    pub output: String,
    /// How long the answer took; none when there was no answer.
    pub latency: Option<Duration>,
}

/// What a probe heard.
#[derive(Debug)]
pub(crate) struct Answer {
    status: CheckStatus,
    output: String,
    heard: bool,
}

impl Answer {
    pub(crate) fn new(status: CheckStatus, output: String) -> Answer {
        Answer { status, output, heard: true }
    }

    /// The same, but found out by hearing nothing: the time it took says nothing.
    pub(crate) fn silent(self) -> Answer {
        Answer { heard: false, ..self }
    }
}

/// How long one run of this check may take.
#[must_use]
pub fn timeout(definition: &CheckDefinition) -> Duration {
    match definition.probe {
        _ if !definition.timeout.is_zero() => definition.timeout,
        Probe::Script { .. } => SCRIPT_TIMEOUT,
        _ => TIMEOUT,
    }
}

/// Runs a check once, within its timeout. Dropping the future ends the run, and a script with all of its
/// process group.
///
/// Beats and aliases are not run by anybody; for them the report is critical and says so.
pub async fn probe(definition: &CheckDefinition, context: &Context) -> Report {
    let started = Instant::now();
    let limit = timeout(definition);
    let max = definition.output_max;
    // Boxed: the tasks of a thousand idle checks should not each hold room for a handshake.
    let result = match &definition.probe {
        Probe::Script { args } => Box::pin(script(args, max, limit)).await,
        other => Box::pin(ask(other, context, max, started + limit, limit)).await,
    };
    report(result, started, max)
}

/// Runs a closure once, on the terms of a definition.
pub(crate) async fn call(definition: &CheckDefinition, closure: &Closure) -> Report {
    let started = Instant::now();
    let limit = timeout(definition);
    let result = match timeout_at(started + limit, closure.run()).await {
        Ok((status, output)) => Ok(Answer::new(status, clip(output, definition.output_max))),
        Err(_) => Err(Fault(timed_out(limit))),
    };
    report(result, started, definition.output_max)
}

fn report(result: Result<Answer, Fault>, started: Instant, max: usize) -> Report {
    match result {
        Ok(Answer { status, output, heard }) => Report { status, output, latency: heard.then(|| started.elapsed()) },
        Err(Fault(text)) => Report { status: CheckStatus::Critical, output: clip(text, max), latency: None },
    }
}

async fn ask(
    probe: &Probe,
    context: &Context,
    max: usize,
    deadline: Instant,
    limit: Duration,
) -> Result<Answer, Fault> {
    let tls = &*context.tls;
    let late = |what: String| move |_| Err(Fault(format!("{what}: {}", timed_out(limit))));
    match probe {
        Probe::Http(request) => timeout_at(deadline, http::run(tls, request, max, deadline))
            .await
            .unwrap_or_else(late(format!("HTTP {} {}", request.method, request.url))),
        Probe::Tcp { address, tls: wrapped } => {
            let what = if wrapped.is_some() { "TCP+TLS" } else { "TCP" };
            timeout_at(deadline, tcp::run(tls, address, wrapped.as_ref(), deadline))
                .await
                .unwrap_or_else(late(format!("{what} connect {address}")))
        }
        // Silence until the deadline is an answer of its own.
        Probe::Udp { address } => udp::run(address, deadline).await,
        Probe::Grpc { address, service, tls: wrapped } => {
            timeout_at(deadline, grpc::run(tls, address, service, wrapped.as_ref(), deadline))
                .await
                .unwrap_or_else(late(format!("gRPC check {}", grpc::target(address, service))))
        }
        Probe::H2Ping { address, tls: wrapped } => {
            timeout_at(deadline, h2ping::run(tls, address, wrapped.as_ref(), deadline))
                .await
                .unwrap_or_else(|_| Err(h2ping::failed(&timed_out(limit))))
        }
        Probe::Script { .. } | Probe::Ttl { .. } | Probe::Alias { .. } => {
            Err(Fault(format!("a {} check is not run like this", probe.kind())))
        }
    }
}

fn timed_out(limit: Duration) -> String {
    format!("timed out after {}", GoDuration::from(limit))
}

#[cfg(unix)]
async fn script(args: &[callboard_proto::text::Text], max: usize, limit: Duration) -> Result<Answer, Fault> {
    super::script::run(args, max, limit).await
}

#[cfg(not(unix))]
async fn script(_: &[callboard_proto::text::Text], _: usize, _: Duration) -> Result<Answer, Fault> {
    Err(Fault::new("script checks are not supported here"))
}

//! Why a call to a service failed: everything needed to understand it, in one place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::deadline::Deadline;
use crate::balance::Balancer;
use crate::endpoint::Endpoint;
use crate::error::Cause;

/// Says how far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There was nobody to call. Nothing was sent.
    NoEndpoint,
    /// No connection could be had. Nothing was sent.
    Connect,
    /// The connection broke before the response's head. The request may have been carried out.
    Broken,
    /// The response's head did not come in time. The request may have been carried out.
    Timeout,
    /// The request cannot be sent as it is, or its own body broke.
    Request,
    /// The call's time was over. The request may have been carried out if a try is listed.
    Deadline,
    /// A bound on what may be under way was reached: the limit of the service, or the bounds of every endpoint left.
    /// Nothing was sent.
    Overloaded,
    /// The server answered, and the answer was a reason to try again. Only in the list of tries.
    Status,
}

impl Reason {
    /// Lists them.
    pub const ALL: [Reason; 8] = [
        Reason::NoEndpoint,
        Reason::Connect,
        Reason::Broken,
        Reason::Timeout,
        Reason::Request,
        Reason::Deadline,
        Reason::Overloaded,
        Reason::Status,
    ];

    /// Returns the reason as a constant word, for metrics and headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoEndpoint => "no_endpoint",
            Reason::Connect => "connect",
            Reason::Broken => "broken",
            Reason::Timeout => "timeout",
            Reason::Request => "request",
            Reason::Deadline => "deadline",
            Reason::Overloaded => "overloaded",
            Reason::Status => "status",
        }
    }

    /// Says whether a try that ended so sent nothing.
    #[must_use]
    pub fn is_unsent(self) -> bool {
        matches!(self, Reason::NoEndpoint | Reason::Connect | Reason::Overloaded)
    }
}

/// Tells of one try.
#[derive(Debug)]
pub struct Attempt {
    /// The instance.
    pub instance: String,
    /// Its `host:port`.
    pub authority: String,
    /// How far it came.
    pub reason: Reason,
    /// Why.
    pub cause: Cause,
    /// When it began, counted from the beginning of the call.
    pub begun: Duration,
    /// How long it took.
    pub took: Duration,
}

impl Attempt {
    /// Builds an account of a try that took no time.
    #[must_use]
    pub fn new(endpoint: &Endpoint, reason: Reason, cause: Cause) -> Self {
        Self {
            instance: endpoint.id().to_owned(),
            authority: endpoint.authority().to_owned(),
            reason,
            cause,
            begun: Duration::ZERO,
            took: Duration::ZERO,
        }
    }
}

/// Says why a call failed.
#[derive(Debug)]
pub struct CallError {
    /// How far the last try came.
    pub reason: Reason,
    /// The service.
    pub service: Arc<str>,
    /// The policy that picked.
    pub policy: &'static str,
    /// Endpoints the registry lists.
    pub known: usize,
    /// Of these, passing or warning, with a weight above zero.
    pub healthy: usize,
    /// Of the healthy, set aside by this process.
    pub aside: usize,
    /// The registry's index of the snapshot; 0 before the first answer.
    pub index: u64,
    /// Time since the registry last confirmed the snapshot.
    pub age: Duration,
    /// Every try, in order.
    pub attempts: Vec<Attempt>,
    /// Whether a further try was refused because too many calls were being retried.
    pub budget_spent: bool,
    /// The time the call had left in all; none without a deadline.
    pub deadline_left: Option<Duration>,
    /// What else there is to say: which bound was reached, which header is malformed.
    pub cause: Option<Cause>,
}

impl CallError {
    #[cold]
    pub(super) fn new(reason: Reason, balancer: &Balancer, attempts: Vec<Attempt>, budget_spent: bool) -> Box<Self> {
        let snapshot = balancer.snapshot();
        Box::new(Self {
            reason,
            service: Arc::clone(snapshot.service()),
            policy: balancer.policy().name(),
            known: snapshot.members().len(),
            healthy: snapshot.eligible_len() as usize,
            aside: snapshot.aside_len(),
            index: snapshot.index(),
            age: balancer.age(),
            attempts,
            budget_spent,
            deadline_left: None,
            cause: None,
        })
    }

    /// Adds what only some calls have.
    #[cold]
    pub(super) fn with(mut self: Box<Self>, deadline: Option<Deadline>, cause: Option<Cause>) -> Box<Self> {
        self.deadline_left = deadline.map(|deadline| deadline.left().unwrap_or_default());
        self.cause = cause;
        self
    }

    /// Says whether the same call may succeed later; a request that cannot be sent never will.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.reason != Reason::Request
    }

    /// Says whether no byte of the request reached a server, so that even a request that must not be
    /// done twice may be sent again.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        // A call that ended between its tries has none that was sent.
        let ended = self.reason.is_unsent() || matches!(self.reason, Reason::Request | Reason::Deadline);
        ended && self.attempts.iter().all(|attempt| attempt.reason.is_unsent())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            Reason::NoEndpoint => "no endpoint to call",
            Reason::Connect => "no connection",
            Reason::Broken => "the connection broke",
            Reason::Timeout => "no response in time",
            Reason::Request => "the request cannot be sent",
            Reason::Deadline => "its time was over",
            Reason::Overloaded => "too much is under way",
            Reason::Status => "refused by the server",
        };
        write!(
            f,
            "calling {}: {what}; {} endpoints known, {} healthy, {} set aside (policy {}, snapshot at index {}, confirmed {:.1?} ago)",
            self.service, self.known, self.healthy, self.aside, self.policy, self.index, self.age
        )?;
        for (place, attempt) in self.attempts.iter().enumerate() {
            let cause = crate::error::chain(&*attempt.cause);
            write!(
                f,
                "; try {} to {} at {} (begun after {:.1?}, took {:.1?}): {cause}",
                place + 1,
                attempt.instance,
                attempt.authority,
                attempt.begun,
                attempt.took
            )?;
        }
        if let Some(cause) = &self.cause {
            write!(f, "; {}", crate::error::chain(&**cause))?;
        }
        match self.deadline_left {
            Some(Duration::ZERO) => f.write_str("; no time left")?,
            Some(left) => write!(f, "; {left:.1?} left")?,
            None => {}
        }
        if self.budget_spent {
            f.write_str("; no further try, because too many calls are being retried")?;
        }
        Ok(())
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The causes are in the text, one per try.
        None
    }
}

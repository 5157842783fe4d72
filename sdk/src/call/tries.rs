//! The tries of one call: who was picked, what went wrong with whom, and whether there may be another.
//!
//! Decides the number of tries, charges the budget and leaves out whom the call has tried; whether the thing itself
//! may be repeated is decided by its owner. Used by what dials or calls without [`super::HttpService`]: TCP
//! connections, the layer over services of others, and the adapters of other clients.

use std::time::Instant;

use super::budget::RetryBudget;
use super::error::{Attempt, CallError, Reason};
use super::retry::{ATTEMPTS_MAX, may_ask_another};
use crate::balance::{Ask, Balancer, Picked};
use crate::endpoint::{EndpointKey, Outcome};
use crate::error::Cause;
use crate::observe;

/// Keeps account of one call.
pub(crate) struct Tries<'a> {
    balancer: &'a Balancer,
    budget: &'a RetryBudget,
    ask: Ask<'a>,
    attempts_max: usize,
    // Whether a try that could not connect counts.
    counts_unsent: bool,
    tried: Vec<EndpointKey>,
    attempts: Vec<Attempt>,
    reason: Reason,
    budget_spent: bool,
}

impl<'a> Tries<'a> {
    /// Begins a call, and counts it towards the budget.
    pub(crate) fn new(balancer: &'a Balancer, budget: &'a RetryBudget, ask: &Ask<'a>, attempts_max: usize) -> Self {
        budget.deposit();
        Self {
            balancer,
            budget,
            ask: *ask,
            attempts_max: attempts_max.clamp(1, ATTEMPTS_MAX),
            counts_unsent: true,
            tried: ask.tried().to_vec(),
            attempts: Vec::new(),
            reason: Reason::NoEndpoint,
            budget_spent: false,
        }
    }

    /// Does not count a try that could not connect, but for the budget and the bound on all tries: for calls, of which
    /// such a try sent nothing.
    #[cfg(any(feature = "tower", feature = "reqwest"))]
    #[must_use]
    pub(crate) fn of_a_call(mut self) -> Self {
        self.counts_unsent = false;
        self
    }

    /// Picks an endpoint that was not tried yet; none when the call has failed.
    pub(crate) fn next(&mut self) -> Option<Picked> {
        if !self.attempts.is_empty() {
            let is_unsent = |attempt: &&Attempt| !self.counts_unsent && attempt.reason == Reason::Connect;
            let unsent = self.attempts.iter().filter(is_unsent).count();
            if !may_ask_another(self.attempts_max, self.attempts.len(), unsent) {
                return None;
            }
            let granted = self.budget.withdraw(Instant::now());
            observe::retry(self.balancer, granted);
            if !granted {
                self.budget_spent = true;
                return None;
            }
        }
        // The error of the call says all that a refused pick says, and which tries went before.
        self.balancer.pick(&self.ask.without(&self.tried)).ok()
    }

    /// Notes that a try failed, and ends it.
    #[cold]
    pub(crate) fn note(&mut self, mut picked: Picked, outcome: Outcome, reason: Reason, cause: Cause) {
        picked.record(outcome);
        let attempt = Attempt::new(picked.endpoint(), reason, cause);
        observe::try_failed(self.balancer, &attempt);
        self.reason = reason;
        self.tried.push(picked.key());
        self.attempts.push(attempt);
    }

    /// Puts all of it into an error.
    #[cold]
    pub(crate) fn failed(self) -> Box<CallError> {
        CallError::new(self.reason, self.balancer, self.attempts, self.budget_spent)
    }
}

//! The task that keeps one registration true: does what the plan says, and tells the plan how it went.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::CheckStatus;
use callboard_proto::api::agent::AgentService;
use callboard_proto::api::check::CheckUpdate;
use callboard_proto::api::query::escape;
use http::{Method, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::mirror::Mirror;
use super::plan::{Act, Plan, Told};
use super::service::Service;
use super::state::{Phase, Shared};
use crate::client::Api;
use crate::error::{Error, chain};
use crate::http::{Answer, Repeat};

/// How often taking back a registration is tried.
const GOODBYES: u32 = 2;

pub(super) struct Keeper {
    api: Arc<Api>,
    service: Service,
    shared: Arc<Shared>,
    plan: Plan,
    mirror: Mirror,
    // A beat that takes longer than this is as good as missed.
    timeout: Duration,
    // What everybody is shown may be from before the last server went away: the server itself is asked.
    ask: bool,
}

impl Keeper {
    pub(super) fn new(api: Arc<Api>, service: Service, shared: Arc<Shared>, plan: Plan, mirror: Mirror) -> Self {
        let beat = service.ttl.map_or(api.request_timeout, |ttl| ttl / 2);
        let timeout = api.request_timeout.min(beat).max(Duration::from_millis(500));
        Self { api, service, shared, plan, mirror, timeout, ask: false }
    }

    /// Keeps the registration until the token is cancelled, then takes it back.
    pub(super) async fn keep(mut self, end: CancellationToken) {
        while !end.is_cancelled() {
            match self.plan.next(Instant::now()) {
                Act::Rest(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = self.shared.wake.notified() => self.news().await,
                        () = self.mirror.changed() => self.look(),
                        () = end.cancelled() => {}
                    }
                }
                // An act is never cut off half way: a registration in flight could arrive after the goodbye.
                act => self.act(act).await,
            }
        }
        self.goodbye().await;
    }

    /// Compares what everybody is shown with what it should be.
    fn look(&mut self) {
        if self.mirror.fits(&self.service.request, self.service.instance_id()) == Some(false) {
            self.plan.doubt(Instant::now());
        }
    }

    fn shows_right_row(&mut self) -> bool {
        self.mirror.fits(&self.service.request, self.service.instance_id()) == Some(true)
    }

    async fn act(&mut self, act: Act) {
        let again = act == Act::Register && self.shared.standing.borrow().registrations > 0;
        self.plan.begin();
        let (status, output) = self.shared.spoken();
        let mut fresh = false;
        let result = match act {
            Act::Register => self.register(status).await,
            Act::Beat => {
                let figures = self.shared.figures();
                let beat = self.beat(CheckUpdate { status: status.as_str().to_owned(), output, figures }).await;
                fresh = beat.as_ref().is_ok_and(|answer| answer.fresh);
                known(beat)
            }
            // Everybody is shown the right row: that is all there is to know.
            Act::Audit if !self.ask && self.shows_right_row() => Ok(true),
            Act::Audit => self.audit().await,
            Act::Rest(_) => return,
        };
        let told = match &result {
            Ok(true) => Told::Done,
            Ok(false) => Told::Missing,
            Err(_) => Told::Failed,
        };
        let was = self.shared.standing.borrow().error.is_some();
        let now = Instant::now();
        self.plan.told(act, told, now, fastrand::u32(..));
        match (act, told) {
            (Act::Beat, Told::Done) => self.ask |= self.plan.beaten_over(fresh, now),
            (Act::Register | Act::Audit, Told::Done) => self.ask = false,
            _ => {}
        }
        match &result {
            Ok(true) if act == Act::Register && again => {
                info!(instance = self.shared.instance, "registered again");
            }
            Ok(true) => debug!(instance = self.shared.instance, ?act, "done"),
            Ok(false) => {
                warn!(
                    instance = self.shared.instance,
                    "the registry forgot or changed the instance; registering again"
                );
            }
            Err(error) if !was => {
                warn!(
                    instance = self.shared.instance,
                    ?act,
                    error = chain(error),
                    "registration cannot be kept up; trying on"
                );
            }
            Err(error) => debug!(instance = self.shared.instance, ?act, error = chain(error), "failed again"),
        }
        let refused = result.as_ref().err().is_some_and(is_refusal);
        self.shared.standing.send_modify(|standing| {
            match (act, told) {
                (Act::Register, Told::Done) => standing.registrations += 1,
                (Act::Beat, Told::Done) => standing.beats += 1,
                _ => {}
            }
            if matches!(act, Act::Register | Act::Beat) && told == Told::Done {
                standing.status = Some(status);
            }
            standing.phase = match (self.plan.is_registered(), refused) {
                (true, _) => Phase::Registered,
                (false, true) => Phase::Refused,
                (false, false) => Phase::Registering,
            };
            match result {
                Err(error) => standing.error = Some(Arc::new(error)),
                Ok(true) => standing.error = None,
                Ok(false) => {}
            }
        });
        // A registration carries the status and not its text; a beat carries both.
        if act == Act::Register
            && told == Told::Done
            && (!self.shared.spoken().1.is_empty() || self.shared.has_said_figures())
        {
            self.plan.news();
        }
    }

    async fn news(&mut self) {
        self.plan.news();
        if self.service.ttl.is_some() || !self.shared.is_draining() {
            return;
        }
        // Without beats the only way to be left out by callers is maintenance.
        let id = escape(self.service.instance_id());
        let target = self.api.agent_target(&format!("/v1/agent/service/maintenance/{id}?enable=true&reason=draining"));
        match self.call(&target, Bytes::new()).await {
            Ok(_) => self.shared.standing.send_modify(|standing| standing.status = Some(CheckStatus::Critical)),
            Err(error) => {
                warn!(instance = self.shared.instance, error = chain(&error), "callers could not be told of the drain");
            }
        }
    }

    async fn register(&self, status: CheckStatus) -> Result<bool, Error> {
        let target = self.api.agent_target("/v1/agent/service/register?replace-existing-checks=true");
        let request = self.service.request(status);
        let body = serde_json::to_vec(&request)
            .map_err(|error| Error::Answer { doing: "writing the registration".into(), source: error.into() })?;
        self.call(&target, body.into()).await.map(|_| true)
    }

    async fn beat(&self, update: CheckUpdate) -> Result<Answer, Error> {
        let check = self.service.check_id();
        let target = self.api.agent_target(&format!("/v1/agent/check/update/{}", escape(&check)));
        let body = serde_json::to_vec(&update)
            .map_err(|error| Error::Answer { doing: "writing the beat".into(), source: error.into() })?;
        self.call(&target, body.into()).await
    }

    /// Compares the row with what it should be.
    async fn audit(&self) -> Result<bool, Error> {
        let target = self.api.agent_target(&format!("/v1/agent/service/{}", escape(self.service.instance_id())));
        let answer = self.api.transport.send(&Method::GET, &target, &Bytes::new(), Repeat::Safe, self.timeout).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let doing = "comparing the registration";
        let answer = answer.success(doing)?;
        let row: AgentService = serde_json::from_slice(&answer.body)
            .map_err(|error| Error::Answer { doing: doing.to_owned(), source: error.into() })?;
        Ok(self.fits(&row))
    }

    fn fits(&self, row: &AgentService) -> bool {
        let wanted = &self.service.request;
        let weights = wanted.weights.unwrap_or_default();
        let tags =
            wanted.enable_tag_override || row.tags.iter().map(|tag| &**tag).eq(wanted.tags.iter().map(String::as_str));
        row.service.as_str() == wanted.name
            && *row.address == *wanted.address
            && row.port == wanted.port
            && tags
            && row
                .meta
                .iter()
                .map(|(key, value)| (&**key, &**value))
                .eq(wanted.meta.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            && (i64::from(row.weights.passing), i64::from(row.weights.warning)) == (weights.passing, weights.warning)
    }

    /// Takes the registration back; 404 is as good as done.
    async fn goodbye(&self) {
        let refused = {
            let standing = self.shared.standing.borrow();
            standing.phase == Phase::Refused && standing.registrations == 0
        };
        if refused {
            // Nothing of ours is there; what bears the same id is somebody else's.
            self.shared.standing.send_modify(|standing| standing.phase = Phase::Gone);
            return;
        }
        let target =
            self.api.agent_target(&format!("/v1/agent/service/deregister/{}", escape(self.service.instance_id())));
        let mut error = None;
        for _ in 0..GOODBYES {
            match known(self.call(&target, Bytes::new()).await) {
                Ok(_) => {
                    debug!(instance = self.shared.instance, "deregistered");
                    self.shared.standing.send_modify(|standing| {
                        (standing.phase, standing.error) = (Phase::Gone, None);
                    });
                    return;
                }
                Err(failed) => error = Some(Arc::new(failed)),
            }
        }
        warn!(
            instance = self.shared.instance,
            "could not be deregistered; the registry will find out by the missing beat"
        );
        self.shared.standing.send_modify(|standing| (standing.phase, standing.error) = (Phase::Abandoned, error));
    }

    async fn call(&self, target: &str, body: Bytes) -> Result<Answer, Error> {
        let answer = self.api.transport.send(&Method::PUT, target, &body, Repeat::Safe, self.timeout).await?;
        let doing = format!("PUT {}", target.split('?').next().unwrap_or(target));
        answer.success(&doing)
    }
}

/// Tells an unknown instance from a failure.
fn known(result: Result<Answer, Error>) -> Result<bool, Error> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A 4xx that waiting does not cure.
pub(super) fn is_refusal(error: &Error) -> bool {
    error.status().is_some_and(|status| status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS)
}

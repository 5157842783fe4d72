//! The local application in the registry: signed in, checked from here, signed out in good order.
//!
//! Beating, noticing that it was forgotten and registering again are the SDK's (`Registered`); here a
//! [`ServiceConfig`] becomes the SDK's description, and how it stands becomes a reason for `/ready`.
//! Called by `server`.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use callboard::check::{Context, probe};
use callboard::registration::{InProcessCheck, Phase, Standing};
use callboard::{Client, Drain, Registered, Service};
use callboard_proto::definition::{CheckDefinition, HttpProbe, Limits, Probe, Thresholds, Tls};
use tokio::sync::watch;

use crate::config::ServiceConfig;
use crate::error::Error;

/// The most of a check's output that is sent, in bytes.
const OUTPUT_MAX: usize = 4_096;

/// Why `/ready` cannot say yes because of the registration; shared with the admin port.
#[derive(Clone)]
pub(crate) struct State(watch::Receiver<Option<String>>);

impl State {
    /// The reason, if there is one.
    pub(crate) fn unready(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

/// The registration of the local application, or its absence.
pub(crate) struct Registration {
    registered: Option<Registered>,
    service: String,
    reason: watch::Sender<Option<String>>,
}

impl Registration {
    /// Begins to sign the application in; it comes true when it can.
    pub(crate) async fn start(config: Option<ServiceConfig>, client: Option<Client>) -> Result<Registration, Error> {
        let (Some(config), Some(client)) = (config, client) else {
            return Ok(Registration { registered: None, service: String::new(), reason: watch::Sender::new(None) });
        };
        let service = config.name.clone();
        let registered = client
            .register(describe(&config))
            .await
            .map_err(|source| Error::Register { service: service.clone(), source: source.into() })?;
        let reason = Some(format!("service {service}: not registered yet"));
        Ok(Registration { registered: Some(registered), service, reason: watch::Sender::new(reason) })
    }

    /// What the admin port shows.
    pub(crate) fn state(&self) -> State {
        State(self.reason.subscribe())
    }

    /// Follows how the registration stands; comes back only when the registry refuses it before it was ever
    /// accepted, which more trying does not mend.
    pub(crate) async fn refused(&self) -> Error {
        let Some(registered) = &self.registered else { return pending().await };
        loop {
            let shown = self.reason.borrow().clone();
            let standing = registered.wait_for(|now| self.unready(now) != shown || is_refused(now)).await;
            let reason = self.unready(&standing);
            match &reason {
                None => tracing::info!(service = self.service, id = registered.id(), "registered"),
                Some(reason) => tracing::warn!(service = self.service, reason, "not registered"),
            }
            self.reason.send_replace(reason);
            if is_refused(&standing)
                && let Some(source) = standing.error
            {
                return Error::Register { service: self.service.clone(), source };
            }
        }
    }

    fn unready(&self, standing: &Standing) -> Option<String> {
        let why = || standing.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        match standing.phase {
            Phase::Registered => None,
            Phase::Registering => Some(format!("service {}: not registered yet{}", self.service, why())),
            Phase::Refused => Some(format!("service {}: refused{}", self.service, why())),
            Phase::Gone | Phase::Abandoned => Some(format!("service {}: signed out", self.service)),
        }
    }

    /// Leaves: critical, time to settle, then `finish`, then signed out. Without a registration only the time and
    /// `finish`; `finish` bounds itself by at most `grace`.
    pub(crate) async fn leave(self, settle: Duration, grace: Duration, finish: impl Future<Output = ()>) {
        let Some(registered) = self.registered else {
            tokio::time::sleep(settle).await;
            return finish.await;
        };
        self.reason.send_replace(Some(format!("service {}: leaving", self.service)));
        let drained = registered.drain_with(Drain { settle, grace }, finish).await;
        tracing::info!(
            service = self.service,
            finished = drained.finished,
            deregistered = drained.deregistered,
            "application has left"
        );
    }
}

fn is_refused(standing: &Standing) -> bool {
    standing.phase == Phase::Refused && standing.registrations == 0
}

/// The SDK's description of the application.
fn describe(config: &ServiceConfig) -> Service {
    let mut service = Service::new(&config.name).port(config.port).tags(&config.tags).metas(config.meta.clone());
    if let Some(id) = &config.id {
        service = service.id(id);
    }
    if let Some(address) = &config.address {
        service = service.address(address);
    }
    if let Some(path) = &config.check_http {
        let http = HttpProbe {
            url: format!("http://127.0.0.1:{}{path}", config.port).into(),
            method: "GET".into(),
            header: Vec::new(),
            body: "".into(),
            follow_redirects: true,
            tls: Tls::default(),
        };
        service = service.probe(in_process(config, format!("http {path}"), Probe::Http(http)));
    }
    if config.check_tcp {
        let address = format!("127.0.0.1:{}", config.port).into();
        service = service.probe(in_process(config, format!("tcp :{}", config.port), Probe::Tcp { address, tls: None }));
    }
    service.ttl(config.ttl).in_background()
}

/// A check that runs here, next to the application, and is folded into the beat.
fn in_process(config: &ServiceConfig, name: String, kind: Probe) -> InProcessCheck {
    let definition = Arc::new(CheckDefinition {
        probe: kind,
        interval: config.check_interval,
        timeout: config.check_timeout,
        thresholds: Thresholds::default(),
        reap_after: None,
        output_max: OUTPUT_MAX,
        limits: Limits::default(),
    });
    let context = Context::new();
    InProcessCheck::graded(name, config.check_interval, move || {
        let (definition, context) = (Arc::clone(&definition), context.clone());
        async move {
            let report = probe(&definition, &context).await;
            (report.status, report.output)
        }
    })
    // The probe keeps its own time; this is for one that does not come back at all.
    .timeout(config.check_timeout + Duration::from_secs(1))
}

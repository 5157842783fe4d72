//! What an application says about itself when it signs in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callboard_proto::CheckStatus;
use callboard_proto::api::agent::{ServiceRequest, WeightsRequest};
use callboard_proto::api::check::CheckRequest;
use callboard_proto::duration::GoDuration;
use callboard_proto::instance::STARTED_META;

use super::flight::InFlight;
use super::probe::InProcessCheck;

/// Describes an instance to be registered.
///
/// ```
/// use std::time::Duration;
/// use callboard::registration::Service;
///
/// let service = Service::new("web").port(8080).tags(["v1"]).meta("zone", "a").weight(10).ttl(Duration::from_secs(15));
/// assert_eq!(service.instance_id(), "web");
/// ```
#[derive(Debug, Clone)]
pub struct Service {
    pub(super) request: ServiceRequest,
    pub(super) ttl: Option<Duration>,
    pub(super) reap_after: Duration,
    pub(super) status: CheckStatus,
    pub(super) output: String,
    pub(super) probes: Vec<InProcessCheck>,
    pub(super) patience: Option<Duration>,
    pub(super) limits: CheckRequest,
    pub(super) in_flight: InFlight,
    pub(super) stuck_after: Option<Duration>,
}

/// The pairs of meta that a registry takes.
const META_MAX: usize = 64;

impl Service {
    /// Describes an instance of a service. Its id is the service's name unless [`Self::id`] says otherwise; it beats
    /// every ten thirds of a second, and the registry takes it for critical after ten seconds of silence.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            request: ServiceRequest { name: name.into(), ..ServiceRequest::default() },
            ttl: Some(Duration::from_secs(10)),
            reap_after: Duration::from_secs(60),
            status: CheckStatus::Passing,
            output: String::new(),
            probes: Vec::new(),
            patience: Some(Duration::from_secs(30)),
            limits: CheckRequest::default(),
            in_flight: InFlight::default(),
            stuck_after: None,
        }
    }

    /// Takes a request as it is sent, for settings that have no method here; its checks are kept beside the beat.
    #[must_use]
    pub fn from_request(request: ServiceRequest) -> Self {
        Self { request, ..Self::new(String::new()) }
    }

    /// Sets the instance's id, unique on its node.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.request.id = id.into();
        self
    }

    /// Sets the address callers use; the node's when unset.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.request.address = address.into();
        self
    }

    /// Sets the port callers use.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.request.port = port;
        self
    }

    /// Takes port and address from what a listener was bound to, where they are not set: the address unless all were
    /// bound, and as the id `NAME-PORT`, so that several instances of one node do not share one.
    #[must_use]
    pub fn bound(mut self, address: SocketAddr) -> Self {
        let request = &mut self.request;
        if request.port == 0 {
            request.port = address.port();
        }
        if request.address.is_empty() && !address.ip().is_unspecified() {
            request.address = address.ip().to_string();
        }
        if request.id.is_empty() {
            request.id = format!("{}-{}", request.name, request.port);
        }
        self
    }

    /// Counts what is served on a counter that is there before the registration is, for servers that serve first.
    #[must_use]
    pub fn in_flight(mut self, in_flight: InFlight) -> Self {
        self.in_flight = in_flight;
        self
    }

    /// Adds tags.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.request.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Adds a key-value pair; `zone` names the zone the instance runs in.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.meta.insert(key.into(), value.into());
        self
    }

    /// Advertises the port of a [`crate::load::Responder`], so that callers ask there how busy the instance is.
    #[must_use]
    pub fn probed_on(self, port: u16) -> Self {
        self.meta(crate::load::PROBE_META, port.to_string())
    }

    /// Adds several key-value pairs.
    #[must_use]
    pub fn metas(mut self, pairs: BTreeMap<String, String>) -> Self {
        self.request.meta.extend(pairs);
        self
    }

    /// Sets how often the instance is chosen while it passes, 1 to 65535, relative to its siblings.
    #[must_use]
    pub fn weight(mut self, weight: u16) -> Self {
        self.weights().passing = weight.into();
        self
    }

    /// Sets how often the instance is chosen while it warns, 0 to 65535.
    #[must_use]
    pub fn warning_weight(mut self, weight: u16) -> Self {
        self.weights().warning = weight.into();
        self
    }

    fn weights(&mut self) -> &mut WeightsRequest {
        self.request.weights.get_or_insert_default()
    }

    /// Sets how long a beat lasts, 10 s by default.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Registers without beats: only checks that the control node runs tell how well the instance is, and
    /// [`super::Registered::set_status`] has no effect.
    #[must_use]
    pub fn without_ttl(mut self) -> Self {
        self.ttl = None;
        self
    }

    /// Sets after how long in critical the registry removes the instance, a minute by default and at least.
    #[must_use]
    pub fn deregister_critical_after(mut self, time: Duration) -> Self {
        self.reap_after = time;
        self
    }

    /// Adds a check that the control node runs.
    #[must_use]
    pub fn check(mut self, check: CheckRequest) -> Self {
        self.request.checks.push(check);
        self
    }

    /// Adds a check that this process runs; what it finds is sent with the beat.
    #[must_use]
    pub fn probe(mut self, probe: InProcessCheck) -> Self {
        self.probes.push(probe);
        self
    }

    /// Takes over the limits (`MaxLatency`, `MaxErrorRate`, …) of a check request for the figures that are
    /// reported with beats; past them the control node turns the beat's status.
    #[must_use]
    pub fn limits(mut self, limits: CheckRequest) -> Self {
        self.limits = limits;
        self
    }

    /// Sets after how long without an answer the application's runtime is taken for stuck, and the instance for critical
    /// while it goes on beating: the time of one beat by default. For a program that registers on a runtime which it does
    /// not drive afterwards: [`Duration::MAX`]. Only where beats have a thread of their own
    /// ([`crate::ClientBuilder::beat_thread`]).
    #[must_use]
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = Some(time);
        self
    }

    /// Sets the status to begin with, passing by default. Begin with critical when the instance is not
    /// ready yet, and call [`super::Registered::set_status`] when it is.
    #[must_use]
    pub fn initial_status(mut self, status: CheckStatus, output: impl Into<String>) -> Self {
        (self.status, self.output) = (status, output.into());
        self
    }

    /// Sets how long [`crate::Client::register`] waits for the first confirmation, 30 s by default.
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = Some(time);
        self
    }

    /// Lets [`crate::Client::register`] return at once and the registration come true when it can, refusals
    /// included: they show in [`super::Registered::standing`].
    #[must_use]
    pub fn in_background(mut self) -> Self {
        self.patience = None;
        self
    }

    /// Returns the service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.request.name
    }

    /// Returns the instance's id.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        if self.request.id.is_empty() { &self.request.name } else { &self.request.id }
    }

    /// Adds when this process first signed in anywhere, for callers that let newcomers begin slowly. What the application
    /// says itself stays, and where there is no room nothing is added.
    pub(super) fn note_start(&mut self) {
        static STARTED: OnceLock<u64> = OnceLock::new();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let meta = &mut self.request.meta;
        if meta.len() < META_MAX && !meta.contains_key(STARTED_META) {
            meta.insert(STARTED_META.to_owned(), STARTED.get_or_init(now).to_string());
        }
    }

    /// Returns the id of the check that is beaten.
    pub(super) fn check_id(&self) -> String {
        format!("service:{}", self.instance_id())
    }

    /// Puts the whole request together with the status of this moment, so that registering again changes nothing
    /// for callers.
    pub(super) fn request(&self, status: CheckStatus) -> ServiceRequest {
        let mut request = self.request.clone();
        let reap = GoDuration::from(self.reap_after);
        // A check without it would leave the instance behind for ever when the process dies.
        for check in request.check.iter_mut().chain(&mut request.checks) {
            if check.deregister_critical_service_after == GoDuration::default() {
                check.deregister_critical_service_after = reap;
            }
        }
        if let Some(ttl) = self.ttl {
            let beat = CheckRequest {
                id: self.check_id(),
                name: format!("Service '{}' beat", request.name),
                status: status.as_str().to_owned(),
                ttl: ttl.into(),
                deregister_critical_service_after: reap,
                ..self.limits.clone()
            };
            // One that a request brought along is kept, under a name that cannot be taken for ours.
            if let Some(own) = request.check.replace(beat) {
                request.checks.insert(0, own);
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_bound_fills_what_was_not_said() {
        let bound = |service: Service, address: &str| {
            let request = service.bound(address.parse().unwrap()).request;
            (request.id, request.address, request.port)
        };
        let web = || Service::new("web");
        assert_eq!(bound(web(), "10.0.0.1:80"), ("web-80".into(), "10.0.0.1".into(), 80));
        assert_eq!(bound(web(), "[::]:80"), ("web-80".into(), String::new(), 80), "the node's address");
        let said = web().id("a").address("b").port(1);
        assert_eq!(bound(said, "10.0.0.1:80"), ("a".into(), "b".into(), 1));
    }

    #[test]
    fn every_check_ends_a_dead_instance() {
        let http = CheckRequest { http: "http://x".into(), interval: GoDuration(1), ..CheckRequest::default() };
        let service = Service::new("web").id("web-1").check(http).weight(5);
        let request = service.request(CheckStatus::Warning);
        let beat = request.check.unwrap();
        assert_eq!(
            (beat.id.as_str(), beat.status.as_str(), beat.ttl.to_std().as_secs()),
            ("service:web-1", "warning", 10)
        );
        let minute = GoDuration::from(Duration::from_secs(60));
        assert_eq!([&beat, &request.checks[0]].map(|check| check.deregister_critical_service_after), [minute; 2]);
        assert_eq!(request.weights.unwrap().passing, 5);
        let mut twice = [Service::new("a"), Service::new("b").meta(STARTED_META, "7")];
        twice.iter_mut().for_each(Service::note_start);
        assert!(twice[0].request.meta[STARTED_META].parse::<u64>().unwrap() > 1_600_000_000);
        assert_eq!(twice[1].request.meta[STARTED_META], "7");
        assert!(Service::new("web").without_ttl().request(CheckStatus::Passing).check.is_none());
    }
}

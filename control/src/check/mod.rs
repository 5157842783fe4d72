//! The checks of this control node: who runs them, what their results change, when silence counts.
//!
//! Results and beats meet here: a change of status is written at once, a change of output alone is held
//! back, and what changes nothing never reaches the log. `watcher` follows the registry and starts and
//! stops what is to be run; `deadlines` and `outputs` decide, purely, what is due, and `owner` who runs what.
//! The time that a beaten check has left is kept by whoever leads; a beat that arrives elsewhere is passed on.

mod outputs;
mod owner;
mod watcher;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard::check::limits::Quality;
use callboard::check::output::clip;
use callboard_proto::api::query::Consistency;
use callboard_proto::api::valid::InvalidRequest;
use callboard_proto::definition::{Figures, Probe};
use callboard_proto::text::Text;
use callboard_proto::{Check, CheckDefinition, CheckId, CheckStatus, NodeName};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::debug;

use self::outputs::Outputs;
use crate::cluster::{Beaten, Cluster, Error};
use crate::deadlines::{self, Deadlines};
use crate::registry::{Command, Refusal};

pub use watcher::watch;

/// A check: the folded name of its node, and its id.
pub(crate) type Key = (NodeName, CheckId);

/// What checks may do here.
#[derive(Debug, Clone, Copy)]
pub struct CheckSettings {
    /// Whether checks that are registered over HTTP may run programs.
    pub scripts: bool,
    /// Whether checks that files define may.
    pub scripts_local: bool,
    /// How long a change of output alone is held back; each is written after a half to one and a half of it.
    pub update_interval: Duration,
    /// The most bytes of an output that are kept, whatever a check asks for; 0 keeps none.
    pub output_max: usize,
    /// How often critical instances are looked at for reaping.
    pub reap_interval: Duration,
}

impl Default for CheckSettings {
    fn default() -> CheckSettings {
        CheckSettings {
            scripts: false,
            scripts_local: false,
            update_interval: Duration::from_secs(300),
            output_max: callboard_proto::definition::OUTPUT_MAX,
            reap_interval: Duration::from_secs(30),
        }
    }
}

/// A word from the application about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// The node it is on.
    pub node: NodeName,
    /// The check that is beaten.
    pub id: CheckId,
    /// How well it is, in its own words.
    pub status: CheckStatus,
    /// What it says.
    pub output: String,
    /// What it measured.
    pub figures: Option<Figures>,
}

/// Why a beat did not count.
#[derive(Debug, thiserror::Error)]
pub enum BeatError {
    /// The check is run, not beaten.
    #[error("CheckID {0:?} does not have associated TTL")]
    NotTtl(CheckId),
    /// The check is unknown, or the registry could not be written.
    #[error(transparent)]
    Cluster(#[from] Error),
}

/// The handle; clones share one set of checks.
#[derive(Clone)]
pub struct Checks {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Cluster,
    settings: CheckSettings,
    state: Mutex<State>,
    /// The next thing due may have become earlier.
    sooner: Notify,
}

#[derive(Default)]
struct State {
    deadlines: Deadlines<Key>,
    outputs: Outputs,
    /// The windows of beaten checks that have limits.
    qualities: HashMap<Key, Quality>,
}

impl Checks {
    /// Checks of a cluster; [`watch`] brings them to life.
    #[must_use]
    pub fn new(cluster: Cluster, settings: CheckSettings) -> Checks {
        Checks { shared: Arc::new(Shared { cluster, settings, state: Mutex::default(), sooner: Notify::new() }) }
    }

    /// Whether checks that are registered over HTTP may run programs.
    #[must_use]
    pub fn scripts_enabled(&self) -> bool {
        self.shared.settings.scripts
    }

    /// Whether any check may: those that files define are trusted more.
    #[must_use]
    pub fn scripts_local_enabled(&self) -> bool {
        self.shared.settings.scripts || self.shared.settings.scripts_local
    }

    /// Refuses a check that may not be run here.
    ///
    /// # Errors
    /// For scripts, unless they are enabled.
    pub fn allows(&self, check: &Check) -> Result<(), InvalidRequest> {
        let script = matches!(check.definition.as_deref(), Some(CheckDefinition { probe: Probe::Script { .. }, .. }));
        if script && !self.shared.settings.scripts {
            let text = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";
            return Err(InvalidRequest(text.to_owned()));
        }
        Ok(())
    }

    /// Starts the time of checks that were just registered, again if they were known.
    pub async fn registered(&self, node: &NodeName, ids: Vec<CheckId>) {
        let cluster = &self.shared.cluster;
        if cluster.is_leader() {
            self.start_deadlines(node, &ids);
        } else if !ids.is_empty()
            && let Err(error) = cluster.registered(node.clone(), ids).await
        {
            // They are written. Whoever leads next gives every check its whole time.
            debug!(error = &error as &dyn std::error::Error, "the leader did not hear of a registration");
        }
    }

    /// Starts the time of checks, on the leader.
    pub(crate) fn start_deadlines(&self, node: &NodeName, ids: &[CheckId]) {
        let registry = self.shared.cluster.registry();
        for id in ids {
            if let Some(check) = registry.check(node, id.as_str()) {
                self.start_deadline(check);
            }
        }
    }

    fn start_deadline(&self, check: &Check) {
        if let Some(ttl) = ttl_of(check) {
            self.shared.state.lock().deadlines.start(key_of(check), ttl, Instant::now());
            self.shared.sooner.notify_one();
        }
    }

    /// Takes a beat.
    ///
    /// # Errors
    /// When the check is unknown (the process should register again), is not one that is beaten, or the
    /// registry could not be written.
    pub async fn beat(&self, beat: Beat) -> Result<(), BeatError> {
        let cluster = &self.shared.cluster;
        let mut registry = cluster.registry();
        if registry.check(&beat.node, beat.id.as_str()).is_none() && !cluster.is_leader() {
            // It may have been registered through another node a moment ago.
            registry = cluster.query(Consistency::Leader).await?.registry;
        }
        let Some(check) = registry.check(&beat.node, beat.id.as_str()) else {
            return Err(Error::Refused(Refusal::UnknownCheck(beat.id)).into());
        };
        let Some(definition) = check.definition.as_deref().filter(|_| ttl_of(check).is_some()) else {
            return Err(BeatError::NotTtl(beat.id));
        };
        let key = key_of(check);
        let output = clip_beat(beat.output, definition.output_max);
        let beaten = match cluster.is_leader() {
            true => self.start_afresh(&key),
            false => cluster.beat(key.0.clone(), key.1.clone()).await?,
        };
        let (status, output) = self.shared.state.lock().judge(&key, definition, beat.figures, beat.status, output);
        let known = match beaten {
            // The registry's word may be about to change, so it does not count.
            Beaten::Late => None,
            Beaten::InTime | Beaten::Unknown => Some(&**check),
        };
        self.found(key, known, status, output.into()).await?;
        Ok(())
    }

    /// Starts the time of a beaten check afresh, on the leader.
    pub(crate) fn start_afresh(&self, key: &Key) -> Beaten {
        match self.shared.state.lock().deadlines.beat(key, Instant::now()) {
            Some(deadlines::Beaten::InTime) => Beaten::InTime,
            Some(deadlines::Beaten::Late) => Beaten::Late,
            None => Beaten::Unknown,
        }
    }

    /// Takes what a check found; `known` is what the registry says about it, if that can be relied on.
    async fn found(&self, key: Key, known: Option<&Check>, status: CheckStatus, output: Text) -> Result<(), Error> {
        let output = match self.shared.settings.output_max {
            0 => Text::default(),
            max if output.len() > max => clip(output.to_string(), max).into(),
            _ => output,
        };
        match known {
            Some(known) if known.status == status && known.output == output => {
                self.shared.state.lock().outputs.remove(&key);
                return Ok(());
            }
            Some(known) if known.status == status => {
                let wait = self.shared.settings.update_interval.mul_f64(0.5 + fastrand::f64());
                self.shared.state.lock().outputs.put(key, output, Instant::now() + wait);
                self.shared.sooner.notify_one();
                return Ok(());
            }
            _ => {}
        }
        self.shared.state.lock().outputs.remove(&key);
        let (node, id) = key;
        self.shared.cluster.propose(Command::UpdateCheck { node, id, status, output }).await?;
        Ok(())
    }

    /// The newest output of a check, if the registry does not have it yet.
    #[must_use]
    pub fn newest_output(&self, check: &Check) -> Option<Text> {
        self.shared.state.lock().outputs.newest(&key_of(check))
    }

    /// How many checks are kept alive by beats.
    #[must_use]
    pub fn beaten(&self) -> usize {
        self.shared.state.lock().deadlines.len()
    }
}

impl State {
    fn judge(
        &mut self,
        key: &Key,
        definition: &CheckDefinition,
        figures: Option<Figures>,
        status: CheckStatus,
        output: String,
    ) -> (CheckStatus, String) {
        if definition.limits.is_empty() {
            return (status, output);
        }
        let figures = figures.unwrap_or_default();
        let quality = self.qualities.entry(key.clone()).or_insert_with(|| Quality::new(definition.limits.clone()));
        if *quality.limits() != definition.limits {
            *quality = Quality::new(definition.limits.clone());
        }
        if let Some(latency) = figures.latency {
            quality.observe(latency);
        }
        quality.judge(&figures, status, output)
    }
}

fn key_of(check: &Check) -> Key {
    (check.node.folded(), check.id.clone())
}

fn ttl_of(check: &Check) -> Option<Duration> {
    match check.definition.as_deref()?.probe {
        Probe::Ttl { ttl } => Some(ttl),
        _ => None,
    }
}

/// Cuts the output of a beat, and says so.
fn clip_beat(output: String, max: usize) -> String {
    let length = output.len();
    if length <= max {
        return output;
    }
    let kept = clip(output, max);
    format!("{kept} ... (captured {} of {length} bytes)", kept.len())
}

//! Follows the registry, and starts and stops what its checks need.
//!
//! One task per node: it sees each change of a check once (by comparing two states that share most of
//! their memory), keeps a runner for every check that is run, restarts deadlines, follows aliases, writes
//! held-back outputs, and reaps instances that stayed critical for too long.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use callboard::check::alias::{self, Aliased};
use callboard::check::schedule::Reap;
use callboard::check::{Context, Runner, Verdict, ttl};
use callboard_proto::definition::Probe;
use callboard_proto::{Check, CheckDefinition, CheckStatus, InstanceId, NodeName};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::{Checks, Key, key_of, owner};
use crate::cluster::Error;
use crate::registry::{CheckChange, Command, Missing, Prune, Refusal, Registry, Topic};

/// How many verdicts may wait to be written. One that finds no place is dropped: the next run of its check
/// says the same again.
const VERDICTS_MAX: usize = 4096;

/// Keeps the checks of a cluster alive until told to stop.
pub async fn watch(checks: Checks, stop: CancellationToken) {
    let (verdicts, found) = mpsc::channel(VERDICTS_MAX);
    tokio::spawn(write_verdicts(checks.clone(), found));
    let cluster = checks.shared.cluster.clone();
    let mut watcher = Watcher {
        checks,
        seen: Arc::default(),
        runners: HashMap::new(),
        reaps: HashMap::new(),
        aliases: HashSet::new(),
        context: Context::new(),
        verdicts,
    };
    let mut subscription = cluster.hub().subscribe(&[Topic::Checks]);
    let mut members = cluster.gossip().subscribe();
    let mut leads = false;
    let mut reaping = tokio::time::interval(watcher.checks.shared.settings.reap_interval);
    watcher.follow(&stop).await;
    loop {
        let next = watcher.next_due();
        tokio::select! {
            () = stop.cancelled() => return,
            () = subscription.changed() => watcher.follow(&stop).await,
            () = watcher.checks.shared.sooner.notified() => {}
            () = sleep_until(next) => watcher.settle().await,
            _ = reaping.tick() => watcher.reap().await,
            now = cluster.leads_otherwise_than(leads) => {
                let Some(now) = now else { return };
                leads = now;
                if leads {
                    watcher.start_deadlines();
                }
            }
            changed = members.changed() => match changed {
                Ok(()) => watcher.reassign(&stop),
                Err(_) => return,
            },
        }
    }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}

struct Watcher {
    checks: Checks,
    /// The state whose checks are being kept alive.
    seen: Arc<Registry>,
    /// Dropping a guard ends the runner.
    runners: HashMap<Key, DropGuard>,
    reaps: HashMap<Key, Reap>,
    /// The checks that follow others.
    aliases: HashSet<Key>,
    context: Context,
    verdicts: mpsc::Sender<(Key, Verdict)>,
}

impl Watcher {
    /// Catches up with the registry.
    async fn follow(&mut self, stop: &CancellationToken) {
        let now = self.checks.shared.cluster.registry();
        let seen = std::mem::replace(&mut self.seen, now.clone());
        for change in now.checks_since(&seen) {
            match change {
                CheckChange::Added(check) => self.begin(check, stop),
                CheckChange::Updated { before, after } => {
                    if before.definition != after.definition {
                        self.end(before);
                        self.begin(after, stop);
                    } else if let Some(reap) = self.reaps.get_mut(&key_of(after)) {
                        reap.note(after.status, Instant::now());
                    }
                }
                CheckChange::Removed(check) => self.end(check),
            }
        }
        if !self.aliases.is_empty() {
            self.follow_aliases().await;
        }
    }

    fn begin(&mut self, check: &Check, stop: &CancellationToken) {
        let Some(definition) = check.definition.as_deref() else { return };
        let key = key_of(check);
        if let Some(after) = definition.reap_after.filter(|_| !check.instance.is_none()) {
            self.reaps.insert(key.clone(), Reap::new(after, check.status, Instant::now()));
        }
        if matches!(definition.probe, Probe::Ttl { .. }) {
            self.checks.start_deadline(check);
        } else if self.runs_here(&key) {
            self.take_on(key, check, stop);
        }
    }

    /// Whether this node runs a check.
    fn runs_here(&self, key: &Key) -> bool {
        let cluster = &self.checks.shared.cluster;
        let card = cluster.card();
        owner::runs_here(key, &card.name, card.raft_id, &cluster.members())
    }

    /// Takes on the checks that fall to this node now, and lets go of those that do not any more.
    fn reassign(&mut self, stop: &CancellationToken) {
        let seen = self.seen.clone();
        for change in seen.checks_since(&Registry::default()) {
            let CheckChange::Added(check) = change else { continue };
            let key = key_of(check);
            if !self.runs_here(&key) {
                self.aliases.remove(&key);
                self.runners.remove(&key);
            } else if !self.runners.contains_key(&key) && !self.aliases.contains(&key) {
                self.take_on(key, check, stop);
            }
        }
    }

    /// Gives every beaten check its whole time: who led before kept it in memory.
    fn start_deadlines(&self) {
        let seen = self.seen.clone();
        for change in seen.checks_since(&Registry::default()) {
            if let CheckChange::Added(check) = change {
                self.checks.start_deadline(check);
            }
        }
    }

    fn take_on(&mut self, key: Key, check: &Check, stop: &CancellationToken) {
        let Some(definition) = check.definition.as_deref() else { return };
        match &definition.probe {
            Probe::Ttl { .. } => {}
            Probe::Alias { .. } => {
                self.aliases.insert(key);
            }
            Probe::Script { .. } if !self.checks.scripts_local_enabled() => {
                warn!(node = %check.node, check = %check.id, "script checks are disabled; the check stays as it is");
            }
            _ => self.run(key, check, definition.clone(), stop),
        }
    }

    fn run(&mut self, key: Key, check: &Check, definition: CheckDefinition, stop: &CancellationToken) {
        let mut runner = match Runner::new(definition, self.context.clone(), check.status) {
            Ok(runner) => runner.with_output(check.output.clone()),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "a check cannot be run");
                return;
            }
        };
        let registry = self.checks.shared.cluster.registry();
        if let Some(instance) =
            registry.instance(&check.node, check.instance.as_str()).filter(|instance| instance.port > 0)
        {
            runner = runner.with_port(instance.port);
        }
        let end = stop.child_token();
        let (verdicts, place) = (self.verdicts.clone(), key.clone());
        let sink = move |verdict| {
            if verdicts.try_send((place.clone(), verdict)).is_err() {
                warn!(node = %place.0, check = %place.1, bound = VERDICTS_MAX, "a verdict was dropped: too many wait");
            }
        };
        tokio::spawn(runner.run(sink, end.clone()));
        self.runners.insert(key, end.drop_guard());
    }

    fn end(&mut self, check: &Check) {
        let key = key_of(check);
        self.aliases.remove(&key);
        self.runners.remove(&key);
        self.reaps.remove(&key);
        let mut state = self.checks.shared.state.lock();
        state.deadlines.remove(&key);
        state.outputs.remove(&key);
        state.qualities.remove(&key);
    }

    fn next_due(&self) -> Option<Instant> {
        let state = self.checks.shared.state.lock();
        [state.deadlines.next(), state.outputs.next()].into_iter().flatten().min()
    }

    /// Writes what is due: silence that lasted too long, and outputs that were held back.
    async fn settle(&mut self) {
        let now = Instant::now();
        let leads = self.checks.shared.cluster.is_leader();
        let (late, outputs) = {
            let mut state = self.checks.shared.state.lock();
            (state.deadlines.due(now), state.outputs.due(now))
        };
        let registry = self.checks.shared.cluster.registry();
        let status_of =
            |key: &Key| registry.check(&key.0, key.1.as_str()).map(|check| (check.status, check.output.clone()));
        let late = late.into_iter().filter(|_| leads).filter_map(|key| {
            let (status, last) = status_of(&key)?;
            let last = outputs.iter().find(|(other, _)| *other == key).map_or(last, |(_, output)| output.clone());
            (status != CheckStatus::Critical).then(|| (key, CheckStatus::Critical, ttl::expired(&last).into()))
        });
        let due: Vec<_> = late.collect();
        let held = outputs.into_iter().filter_map(|(key, output)| Some((status_of(&key)?.0, key, output)));
        let held = held
            .filter(|(_, key, _)| !due.iter().any(|(late, ..)| late == key))
            .map(|(status, key, output)| (key, status, output));
        // Proposed together, so that a thousand expiries cost one entry of the log.
        let writes =
            held.collect::<Vec<_>>().into_iter().chain(due.iter().cloned()).map(|((node, id), status, output)| {
                self.checks.shared.cluster.propose(Command::UpdateCheck { node, id, status, output })
            });
        for result in futures_util::future::join_all(writes).await {
            report(result.map(|_| ()));
        }
    }

    async fn follow_aliases(&self) {
        let registry = &self.seen;
        let followed: Vec<(Key, CheckStatus, String)> = self
            .aliases
            .iter()
            .filter_map(|key| {
                let check = registry.check(&key.0, key.1.as_str())?;
                let (status, output) = followed(registry, check)?;
                (check.status != status || *check.output != *output).then(|| (key.clone(), status, output))
            })
            .collect();
        for ((node, id), status, output) in followed {
            let command = Command::UpdateCheck { node, id, status, output: output.into() };
            report(self.checks.shared.cluster.propose(command).await.map(|_| ()));
        }
    }

    /// Deregisters what stayed critical for too long.
    async fn reap(&mut self) {
        if !self.checks.shared.cluster.is_leader() {
            return;
        }
        let now = Instant::now();
        let due: Vec<Key> =
            self.reaps.iter().filter(|(_, reap)| reap.is_due(now)).map(|(key, _)| key.clone()).collect();
        for (node, id) in due {
            let Some(instance) = self.seen.check(&node, id.as_str()).map(|check| check.instance.clone()) else {
                continue;
            };
            // A node that carries a control node has its health check, and so is never empty.
            info!(%node, %instance, check = %id, "deregistering an instance that stayed critical");
            let command =
                Command::DeregisterInstance { node, id: instance, prune: Prune::EmptyNode, missing: Missing::Fine };
            report(self.checks.shared.cluster.propose(command).await.map(|_| ()));
        }
    }
}

/// What an alias says about its target; nothing if the check is none.
///
/// An alias among the checks of the target stands for what it follows itself, so that aliases in a ring neither keep
/// one another critical for ever nor quote one another without end.
fn followed(registry: &Registry, alias: &Check) -> Option<(CheckStatus, String)> {
    let mut targets = vec![target(alias)?];
    let mut seen = HashSet::new();
    let mut found: Vec<&Check> = Vec::new();
    while let Some((node, instance)) = targets.pop() {
        if !seen.insert((node.folded(), instance.clone())) {
            continue;
        }
        if !instance.is_none() && registry.instance(node, instance.as_str()).is_none() {
            return Some(alias::missing(instance.as_str(), node.as_str()));
        }
        let of_node = registry.checks_of(node, &InstanceId::none());
        let of_instance = (!instance.is_none()).then(|| registry.checks_of(node, instance));
        for check in of_instance.into_iter().flatten().chain(of_node) {
            match target(check) {
                Some(next) => targets.push(next),
                None => found.push(check),
            }
        }
    }
    let checks = found.into_iter();
    Some(alias::follow(checks.map(|check| Aliased { name: &check.name, status: check.status, output: &check.output })))
}

/// The node and instance that an alias follows; nothing for any other check.
fn target(check: &Check) -> Option<(&NodeName, &InstanceId)> {
    match &check.definition.as_deref()?.probe {
        Probe::Alias { node, instance } if node.is_none() => Some((&check.node, instance)),
        Probe::Alias { node, instance } => Some((node, instance)),
        _ => None,
    }
}

fn report(result: Result<(), Error>) {
    match result {
        // The check went away meanwhile.
        Ok(()) | Err(Error::Refused(Refusal::UnknownCheck(_))) => {}
        Err(error) => warn!(error = &error as &dyn std::error::Error, "writing a check's result failed"),
    }
}

/// Writes what the runners find; verdicts that come together are proposed together.
async fn write_verdicts(checks: Checks, mut found: mpsc::Receiver<(Key, Verdict)>) {
    let mut verdicts = Vec::new();
    while found.recv_many(&mut verdicts, VERDICTS_MAX).await > 0 {
        let registry = checks.shared.cluster.registry();
        let writes = verdicts.drain(..).filter_map(|(key, verdict)| {
            let known = registry.check(&key.0, key.1.as_str())?;
            Some(checks.found(key, Some(known), verdict.status, verdict.output))
        });
        futures_util::future::join_all(writes.collect::<Vec<_>>()).await.into_iter().for_each(report);
    }
}

#[cfg(test)]
mod tests {
    use callboard_proto::NodeName;
    use callboard_proto::api::agent::ServiceRequest;
    use callboard_proto::api::decode::{Unknown, from_slice};

    use super::*;
    use crate::registry::{NodeUpdate, Registration, Touched};

    fn register(registry: &mut Registry, body: &str) {
        let name = NodeName::parse("n1").unwrap();
        let request: ServiceRequest = from_slice(body.as_bytes(), Unknown::Refuse).unwrap();
        let (instance, checks) = request.validate(&name).unwrap();
        let node = callboard_proto::Node { name, address: "10.0.0.1".into(), ..callboard_proto::Node::default() };
        let node_update = NodeUpdate::Ensure;
        let registration = Registration { node, node_update, instance: Some(instance), checks, checks_replace: false };
        registry.apply(Command::Register(Box::new(registration)), &mut Touched::default());
    }

    fn says(registry: &Registry, id: &str) -> (CheckStatus, String) {
        followed(registry, registry.check(&NodeName::parse("n1").unwrap(), id).unwrap()).unwrap()
    }

    #[test]
    fn aliases_in_a_ring_say_what_the_other_checks_of_the_ring_say() {
        let mut registry = Registry::default();
        register(&mut registry, r#"{"name":"a","checks":[{"CheckID":"to-b","alias_service":"b"}]}"#);
        assert_eq!(says(&registry, "to-b").1, "Service b could not be found on node n1");
        register(&mut registry, r#"{"name":"b","checks":[{"CheckID":"to-a","alias_service":"a"}]}"#);
        assert_eq!(says(&registry, "to-b"), (CheckStatus::Passing, "No checks found.".to_owned()));
        register(
            &mut registry,
            r#"{"name":"b","checks":[{"CheckID":"own","name":"own","ttl":"9s","status":"warning"},{"CheckID":"to-a","alias_service":"a"}]}"#,
        );
        assert_eq!(says(&registry, "to-b"), (CheckStatus::Warning, "Aliased check \"own\" failing: ".to_owned()));
        assert_eq!(says(&registry, "to-a"), says(&registry, "to-b"));
    }
}

//! Keeps the instances and checks that files define registered on this node.
//!
//! What a file defines is written when the node starts and when the files are read again; what vanished from them is
//! removed, also when it vanished while the node was down: the ids are kept in a file of the data folder. What was
//! registered over HTTP is left alone. `server` and the reloader call it.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::api::check::NewCheck;
use callboard_proto::{CheckId, Instance, InstanceId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::check::Checks;
use crate::cluster::{Cluster, Error};
use crate::identity::Identity;
use crate::registry::{Command, Missing, NodeUpdate, Prune, Registration};

/// How soon writing is tried again when nobody leads.
const RETRY: Duration = Duration::from_millis(250);

/// One instance with its checks, or a check alone, as rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Defined {
    /// The instance; none for a check alone.
    pub instance: Option<Instance>,
    /// Its checks.
    pub checks: Vec<NewCheck>,
}

/// What came from files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Owned {
    services: BTreeSet<String>,
    checks: BTreeSet<String>,
}

impl Owned {
    fn of(rows: &[Defined]) -> Owned {
        let services = rows.iter().filter_map(|row| row.instance.as_ref()).map(|row| row.id.to_string());
        let checks = rows.iter().flat_map(|row| &row.checks).map(|new| new.check.id.to_string());
        Owned { services: services.collect(), checks: checks.collect() }
    }

    fn with(&self, other: &Owned) -> Owned {
        Owned {
            services: self.services.union(&other.services).cloned().collect(),
            checks: self.checks.union(&other.checks).cloned().collect(),
        }
    }
}

/// Why definitions could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The registry did not take them. Those before are written; all are tried again next time.
    #[error("definition of {id:?}: {source}")]
    Write {
        /// Which one.
        id: String,
        /// Why.
        source: Error,
    },
    /// The list of ids could not be read or written. Nothing was changed.
    #[error("the list of definitions in {path}: {source}")]
    List {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Keeps definitions registered.
pub struct Keeper {
    cluster: Cluster,
    checks: Checks,
    identity: Arc<Identity>,
    /// Where ids are kept; none forgets them with the process, as it does the registry.
    list: Option<PathBuf>,
    state: tokio::sync::Mutex<State>,
}

struct State {
    owned: Owned,
    /// What was written by this process: the same is not written again, so that a status stays as it was found.
    written: Vec<Defined>,
}

impl Keeper {
    /// A keeper that knows what came from files before.
    ///
    /// # Errors
    /// When the list of it cannot be read.
    pub fn open(
        cluster: Cluster,
        checks: Checks,
        identity: Arc<Identity>,
        list: Option<PathBuf>,
    ) -> Result<Keeper, DefinitionError> {
        let owned = match &list {
            None => Owned::default(),
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => serde_json::from_slice(&bytes)
                    .map_err(|error| DefinitionError::List { path: path.clone(), source: error.into() })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Owned::default(),
                Err(source) => return Err(DefinitionError::List { path: path.clone(), source }),
            },
        };
        let state = tokio::sync::Mutex::new(State { owned, written: Vec::new() });
        Ok(Keeper { cluster, checks, identity, list, state })
    }

    /// Writes what is defined, and removes what is not any more.
    ///
    /// # Errors
    /// Names the definition that was not taken; what came before it is written.
    pub async fn apply(&self, rows: Vec<Defined>) -> Result<(), DefinitionError> {
        let mut state = self.state.lock().await;
        let wanted = Owned::of(&rows);
        // Noted before it is written: a crash in between leaves nothing that nobody remembers.
        let all = state.owned.with(&wanted);
        self.note(&all)?;
        state.owned = all.clone();
        for row in &rows {
            if !state.written.contains(row) {
                self.write(row).await?;
            }
        }
        state.written = rows;
        for id in all.services.difference(&wanted.services) {
            if let Ok(instance) = InstanceId::parse(id) {
                let node = self.identity.node_name.clone();
                let missing = Missing::Fine;
                self.propose(id, Command::DeregisterInstance { node, id: instance, prune: Prune::Keep, missing })
                    .await?;
            }
        }
        for id in all.checks.difference(&wanted.checks) {
            if let Ok(check) = CheckId::parse(id) {
                let node = self.identity.node_name.clone();
                self.propose(id, Command::DeregisterCheck { node, id: check, missing: Missing::Fine }).await?;
            }
        }
        self.note(&wanted)?;
        state.owned = wanted;
        Ok(())
    }

    /// The same when the node starts: waits until somebody leads.
    pub async fn apply_first(&self, rows: Vec<Defined>, stop: CancellationToken) {
        loop {
            match self.apply(rows.clone()).await {
                Ok(()) => return,
                Err(DefinitionError::Write { source: Error::NoLeader, .. }) => {}
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "what files define is not registered");
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn write(&self, row: &Defined) -> Result<(), DefinitionError> {
        let id = match (&row.instance, row.checks.first()) {
            (Some(instance), _) => instance.id.to_string(),
            (None, Some(new)) => new.check.id.to_string(),
            (None, None) => return Ok(()),
        };
        let registration = Registration {
            node: self.identity.node(),
            node_update: NodeUpdate::Ensure,
            instance: row.instance.clone(),
            checks: row.checks.clone(),
            checks_replace: false,
        };
        self.propose(&id, Command::Register(Box::new(registration))).await?;
        let beaten: Vec<CheckId> = row.checks.iter().map(|new| new.check.id.clone()).collect();
        self.checks.registered(&self.identity.node_name, beaten).await;
        Ok(())
    }

    async fn propose(&self, id: &str, command: Command) -> Result<(), DefinitionError> {
        match self.cluster.propose(command).await {
            Ok(_) => Ok(()),
            Err(source) => Err(DefinitionError::Write { id: id.to_owned(), source }),
        }
    }

    fn note(&self, owned: &Owned) -> Result<(), DefinitionError> {
        let Some(path) = &self.list else { return Ok(()) };
        let write = || {
            // Whole or not at all.
            let beside = path.with_extension("new");
            std::fs::write(&beside, serde_json::to_vec(owned)?)?;
            std::fs::rename(&beside, path)
        };
        write().map_err(|source| DefinitionError::List { path: path.clone(), source })
    }
}

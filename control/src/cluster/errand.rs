//! What only the leader's memory knows: lock delays, and the time that sessions and beaten checks have left.
//!
//! Done here if this node leads, else by whoever does. Nothing of it reaches the log unless it changes the state.

use std::sync::Arc;
use std::time::Instant;

use callboard_proto::text::Text;
use callboard_proto::{CheckId, NodeName};

use super::rpc::{Beaten, Errand, Errands, Refused, Run, Sure};
use super::{Cluster, Error, LeaderMemory};
use crate::registry::{Command, KvCondition, Outcome, TxnFault, TxnOp, TxnOutcome};

/// How often taking a lock is tried when the key changes under it.
const ACQUIRE_TRIES: usize = 32;

impl Cluster {
    /// Takes the lock on a key for a session, unless somebody has it, or lost it so recently that its delay is not
    /// over. Says whether the session has the lock now.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown session; else see [`Error`] for what is true after each.
    pub async fn acquire(&self, key: Text, value: Arc<[u8]>, flags: u64, session: Text) -> Result<bool, Error> {
        Ok(self.run(Errand::Acquire { key, value, flags, session }).await? == Errands::Held(true))
    }

    /// Does all operations of a transaction, or none of them. A key whose lock delay is not over is locked by nobody.
    ///
    /// # Errors
    /// See [`Error`] for what is true after each.
    pub async fn transact(&self, ops: Vec<TxnOp>) -> Result<TxnOutcome, Error> {
        match self.run(Errand::Transact { ops }).await? {
            Errands::Transacted(outcome) => Ok(outcome),
            Errands::Done | Errands::Held(_) | Errands::Beaten(_) | Errands::Health(_) => {
                Err(Error::Forwarded("the leader answered another question".into()))
            }
        }
    }

    /// Starts the time of a session afresh; says whether it lives.
    ///
    /// # Errors
    /// When no leader can be asked.
    pub async fn renew(&self, id: &Text) -> Result<bool, Error> {
        Ok(self.run(Errand::Renew { id: id.clone() }).await? == Errands::Held(true))
    }

    /// Starts the time of a beaten check afresh.
    ///
    /// # Errors
    /// When no leader can be asked.
    pub async fn beat(&self, node: NodeName, id: CheckId) -> Result<Beaten, Error> {
        match self.run(Errand::Beat { node, id }).await? {
            Errands::Beaten(beaten) => Ok(beaten),
            Errands::Done | Errands::Held(_) | Errands::Transacted(_) | Errands::Health(_) => Ok(Beaten::Unknown),
        }
    }

    /// Starts the time of checks that were just registered, again if they were known.
    ///
    /// # Errors
    /// When no leader can be asked.
    pub async fn registered(&self, node: NodeName, ids: Vec<CheckId>) -> Result<(), Error> {
        self.run(Errand::Registered { node, ids }).await.map(|_| ())
    }

    pub(super) async fn run(&self, errand: Errand) -> Result<Errands, Error> {
        let give_up = self.router.give_up();
        loop {
            if self.is_leader() {
                match self.run_here(errand.clone()).await {
                    Ok(run) => return Ok(run.outcome),
                    Err(Refused::NotNow(_)) => {}
                    Err(Refused::Refusal(refusal)) => return Err(Error::Refused(refusal)),
                    Err(Refused::Failed(reason) | Refused::Unknown(reason)) => {
                        return Err(Error::Forwarded(reason.into()));
                    }
                }
            } else if let Some(leader) = self.router.other_leader()
                && let Some(run) = self.router.errand(leader, &errand).await?
            {
                return Ok(run.outcome);
            }
            self.router.pause(give_up).await?;
        }
    }

    /// Does an errand on the leader, for itself or another node.
    pub(super) async fn run_here(&self, errand: Errand) -> Result<Run, Refused> {
        if !self.is_leader() {
            return Err(Refused::NotNow("this node does not lead".to_owned()));
        }
        let memory = || self.memory().ok_or_else(|| Refused::NotNow("this node is starting".to_owned()));
        let mut log_index = 0;
        let outcome = match errand {
            Errand::Renew { id } => {
                // Whoever asks may have written the session a moment ago, through us.
                Errands::Held(memory()?.renew(&id))
            }
            Errand::Beat { node, id } => Errands::Beaten(memory()?.beat(&node, &id)),
            Errand::Registered { node, ids } => {
                memory()?.registered(&node, &ids);
                Errands::Done
            }
            Errand::Acquire { key, value, flags, session } => {
                let held = self.acquire_here(key, value, flags, session).await.map_err(refused)?;
                log_index = self.now().await?;
                Errands::Held(held)
            }
            Errand::Transact { ops } => {
                let outcome = self.transact_here(ops).await.map_err(refused)?;
                log_index = self.now().await?;
                Errands::Transacted(outcome)
            }
            Errand::Health => Errands::Health(self.health_here()?),
            Errand::HandOver { heir } => Errands::Held(self.hand_over(heir).await),
            Errand::Dismiss { raft_id, node } => {
                // Whoever is dismissed does not hear of the log any more, so there is nothing for it to wait for.
                self.dismiss(raft_id, node).await?;
                Errands::Done
            }
        };
        Ok(Run { outcome, log_index })
    }

    /// Up to where the log must be applied to show everything that was done so far.
    async fn now(&self) -> Result<u64, Refused> {
        let index = self.router.raft.read_barrier(Sure::Lease.into()).await;
        index.map_err(|error| Refused::Unknown(error.to_string()))
    }

    fn memory(&self) -> Option<Arc<dyn LeaderMemory>> {
        self.shared.memory.get()?.upgrade()
    }

    async fn transact_here(&self, mut ops: Vec<TxnOp>) -> Result<TxnOutcome, Error> {
        for _ in 0..ACQUIRE_TRIES {
            // The state first: a lock that is lost after this look is found by the registry.
            let seen = self.registry().index();
            let now = Instant::now();
            let held_back = |key: &&Text| self.delays.holds_back(key, now);
            let faults = ops.iter().enumerate().filter_map(|(op, operation)| {
                let key = operation.locks().filter(held_back)?;
                Some(TxnFault { op, what: format!("failed to lock key {key:?} due to lock delay") })
            });
            let faults: Vec<TxnFault> = faults.collect();
            if !faults.is_empty() {
                return Ok(Err(faults));
            }
            ops.iter_mut().for_each(|op| op.saw(seen));
            if let Outcome::Txn(outcome) = self.propose(Command::Txn(ops.clone())).await? {
                return Ok(outcome);
            }
        }
        let locks = ops.iter().enumerate().filter_map(|(op, operation)| Some((op, operation.locks()?)));
        Ok(Err(locks
            .map(|(op, key)| TxnFault { op, what: format!("failed to lock key {key:?}, others write it all the time") })
            .collect()))
    }

    async fn acquire_here(&self, key: Text, value: Arc<[u8]>, flags: u64, session: Text) -> Result<bool, Error> {
        for _ in 0..ACQUIRE_TRIES {
            // The state first: a lock that is lost after this look is found by the registry.
            let seen = self.registry().index();
            if self.delays.holds_back(&key, Instant::now()) {
                return Ok(false);
            }
            let condition = KvCondition::Acquire { session: session.clone(), seen };
            match self.propose(Command::KvSet { key: key.clone(), value: value.clone(), flags, condition }).await? {
                Outcome::Overtaken => {}
                outcome => return Ok(outcome == Outcome::Held(true)),
            }
        }
        // Others are writing the key all the time, so they get it.
        Ok(false)
    }
}

/// A failed write, as another node is told.
pub(super) fn refused(error: Error) -> Refused {
    match error {
        Error::NoLeader => Refused::NotNow(error.to_string()),
        Error::Refused(refusal) => Refused::Refusal(refusal),
        Error::Propose(_) | Error::Forwarded(_) | Error::Behind | Error::Stopping => {
            Refused::Unknown(error.to_string())
        }
    }
}

//! Transactions: several operations at one index, or none of them.
//!
//! They run on a copy, which persistent maps make free, so each sees what those before it did and a failure leaves
//! nothing behind. Every operation that fails is reported, by its place. A transaction that only reads is answered by
//! [`Registry::transact`] without the log; one that writes is a command.

use std::sync::Arc;

use callboard_proto::api::check::NewCheck;
use callboard_proto::kv::KvEntry;
use callboard_proto::text::Text;
use callboard_proto::{Check, CheckId, Index, Instance, InstanceId, Node, NodeName};
use serde::{Deserialize, Serialize};

use super::command::{KvCondition, Missing, NodeUpdate, Outcome, Prune, Registration};
use super::topic::Touched;
use super::{Change, Registry};

/// The most bytes of keys and values in the results of one transaction.
pub const RESULTS_MAX: usize = 64 << 20;

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TxnOp {
    /// On a key, or a prefix.
    Kv(Text, KvVerb),
    /// On a node.
    Node(NodeName, RowVerb<Node>),
    /// On an instance of a node.
    Instance(NodeName, InstanceId, RowVerb<Instance>),
    /// On a check of a node.
    Check(NodeName, CheckId, RowVerb<NewCheck>),
    /// Ends a session.
    SessionDelete(Text),
}

/// What is done with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvVerb {
    /// Writes it.
    Set {
        /// The value.
        value: Arc<[u8]>,
        /// The client's number.
        flags: u64,
        /// Under which condition.
        condition: KvCondition,
    },
    /// Reads it.
    Get,
    /// Reads it; what is missing is shown as empty.
    GetOrEmpty,
    /// Reads every key with it as prefix.
    GetTree,
    /// It was last changed at this index.
    CheckIndex(Index),
    /// This session holds it.
    CheckSession(Text),
    /// It is not there.
    CheckNotExists,
    /// Removes it; only while it was last changed at an index, if there is one.
    Delete(Option<Index>),
    /// Removes every key with it as prefix.
    DeleteTree,
}

/// What is done with a row of the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RowVerb<T> {
    /// Reads it.
    Get,
    /// Writes it; only while it was last changed at an index, if there is one. Zero: it does not exist.
    Set(Box<T>, Option<Index>),
    /// Removes it; only while it was last changed at an index, if there is one.
    Delete(Option<Index>),
}

/// A row in the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TxnRow {
    /// A key; its value is empty unless it was read.
    Kv(Arc<KvEntry>),
    /// A node.
    Node(Arc<Node>),
    /// An instance.
    Instance(Arc<Instance>),
    /// A check.
    Check(Arc<Check>),
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnFault {
    /// Its place in the transaction, from zero.
    pub op: usize,
    /// Why, in the words that clients match on.
    pub what: String,
}

/// The rows of a transaction that was done, or what failed in one that was not.
pub type TxnOutcome = Result<Vec<TxnRow>, Vec<TxnFault>>;

impl TxnOp {
    /// Whether it leaves everything as it is.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            TxnOp::Kv(_, verb) => !matches!(verb, KvVerb::Set { .. } | KvVerb::Delete(_) | KvVerb::DeleteTree),
            TxnOp::Node(_, verb) => *verb == RowVerb::Get,
            TxnOp::Instance(_, _, verb) => *verb == RowVerb::Get,
            TxnOp::Check(_, _, verb) => *verb == RowVerb::Get,
            TxnOp::SessionDelete(_) => false,
        }
    }

    /// The key it wants to lock.
    #[must_use]
    pub fn locks(&self) -> Option<&Text> {
        match self {
            TxnOp::Kv(key, KvVerb::Set { condition: KvCondition::Acquire { .. }, .. }) => Some(key),
            _ => None,
        }
    }

    /// Notes the state in which its proposer found no lock delay.
    pub fn saw(&mut self, index: Index) {
        if let TxnOp::Kv(_, KvVerb::Set { condition: KvCondition::Acquire { seen, .. }, .. }) = self {
            *seen = index;
        }
    }
}

impl Registry {
    /// Answers a transaction that only reads.
    ///
    /// # Errors
    /// Every operation that failed. Nothing is written in any case.
    pub fn transact(&self, ops: &[TxnOp]) -> TxnOutcome {
        let mut touched = Touched::default();
        let mut change = Change { at: self.index.next(), changed: false, touched: &mut touched };
        self.clone().run(ops, &mut change)
    }

    /// Does all of it, or nothing.
    pub(super) fn apply_txn(&mut self, mut ops: Vec<TxnOp>, change: &mut Change<'_>) -> Outcome {
        for op in &mut ops {
            if let TxnOp::Kv(key, KvVerb::Set { condition: KvCondition::Acquire { seen, .. }, .. }) = op {
                if self.kv_changed(key) > *seen {
                    return Outcome::Overtaken;
                }
                // Operations before it may write the key: that is no news to the proposer.
                *seen = Index(u64::MAX);
            }
        }
        let mut draft = self.clone();
        let mut touched = Touched::default();
        let mut inner = Change { at: change.at, changed: false, touched: &mut touched };
        let outcome = draft.run(&ops, &mut inner);
        if outcome.is_ok() {
            change.changed |= inner.changed;
            change.touched.absorb(touched);
            *self = draft;
        }
        Outcome::Txn(outcome)
    }

    fn run(&mut self, ops: &[TxnOp], change: &mut Change<'_>) -> TxnOutcome {
        let (mut rows, mut faults, mut size) = (Vec::new(), Vec::new(), 0);
        for (op, operation) in ops.iter().enumerate() {
            let before = rows.len();
            if let Err(what) = self.run_one(operation, &mut rows, change) {
                faults.push(TxnFault { op, what });
            }
            size += rows[before..].iter().map(TxnRow::size).sum::<usize>();
            if size > RESULTS_MAX {
                let what = format!("the results are too large ({size} > {RESULTS_MAX} bytes)");
                return Err(vec![TxnFault { op, what }]);
            }
        }
        if faults.is_empty() { Ok(rows) } else { Err(faults) }
    }

    fn run_one(&mut self, op: &TxnOp, rows: &mut Vec<TxnRow>, change: &mut Change<'_>) -> Result<(), String> {
        match op {
            TxnOp::Kv(key, verb) => self.run_kv(key, verb, rows, change),
            TxnOp::Node(name, verb) => self.run_node(name, verb, rows, change),
            TxnOp::Instance(node, id, verb) => self.run_instance(node, id, verb, rows, change),
            TxnOp::Check(node, id, verb) => self.run_check(node, id, verb, rows, change),
            TxnOp::SessionDelete(id) => done(self.end_session(id, change)).map(|_| ()),
        }
    }

    fn run_kv(
        &mut self,
        key: &Text,
        verb: &KvVerb,
        rows: &mut Vec<TxnRow>,
        change: &mut Change<'_>,
    ) -> Result<(), String> {
        let known = self.kv_get(key).cloned();
        let row = match verb {
            KvVerb::Get => known.ok_or_else(|| format!("key {key:?} doesn't exist")).map(Some)?,
            KvVerb::GetOrEmpty => Some(known.unwrap_or_else(|| Arc::new(KvEntry::absent(key.clone())))),
            KvVerb::GetTree => {
                rows.extend(self.kv_under(key).map(|entry| TxnRow::Kv(entry.clone())));
                None
            }
            KvVerb::Set { value, flags, condition } => {
                let outcome = self.kv_set(key.clone(), value.clone(), *flags, condition.clone(), change);
                if !done(outcome)? {
                    return Err(match condition {
                        KvCondition::Acquire { .. } => format!("failed to lock key {key:?}, lock is already held"),
                        KvCondition::Release(_) => {
                            format!("failed to unlock key {key:?}, lock isn't held, or is held by another session")
                        }
                        KvCondition::Always | KvCondition::Cas(_) => {
                            format!("failed to set key {key:?}, index is stale")
                        }
                    });
                }
                self.kv_get(key).map(|entry| entry.without_value())
            }
            KvVerb::CheckIndex(index) => {
                let known = known.ok_or_else(|| format!("key {key:?} doesn't exist"))?;
                if known.modified != *index {
                    let current = known.modified;
                    return Err(format!(
                        "failed index check for key {key:?}, current modify index {current} != {index}"
                    ));
                }
                Some(known.without_value())
            }
            KvVerb::CheckSession(session) => {
                let known = known.ok_or_else(|| format!("key {key:?} doesn't exist"))?;
                if known.session != *session {
                    let current = &known.session;
                    let text =
                        format!("failed session check for key {key:?}, current session {current:?} != {session:?}");
                    return Err(text);
                }
                Some(known.without_value())
            }
            KvVerb::CheckNotExists if known.is_some() => return Err(format!("key {key:?} exists")),
            KvVerb::CheckNotExists => None,
            KvVerb::Delete(cas) => match done(self.kv_delete(key, *cas, change))? {
                true => None,
                false => return Err(format!("failed to delete key {key:?}, index is stale")),
            },
            KvVerb::DeleteTree => {
                self.kv_delete_prefix(key, change);
                None
            }
        };
        rows.extend(row.map(TxnRow::Kv));
        Ok(())
    }

    fn run_node(
        &mut self,
        name: &NodeName,
        verb: &RowVerb<Node>,
        rows: &mut Vec<TxnRow>,
        change: &mut Change<'_>,
    ) -> Result<(), String> {
        let what = || format!("node {:?}", name.as_str());
        let known = self.node(name).map(|row| row.modified);
        verb.allowed(known, what)?;
        match verb {
            RowVerb::Get => {}
            RowVerb::Set(node, _) => {
                let node = Node::clone(node);
                done(self.register(only(node, NodeUpdate::Put), change))?;
            }
            RowVerb::Delete(_) => return done(self.deregister_node(name, change)).map(|_| ()),
        }
        rows.extend(self.node(name).cloned().map(TxnRow::Node));
        Ok(())
    }

    fn run_instance(
        &mut self,
        node: &NodeName,
        id: &InstanceId,
        verb: &RowVerb<Instance>,
        rows: &mut Vec<TxnRow>,
        change: &mut Change<'_>,
    ) -> Result<(), String> {
        let what = || format!("service {:?} on node {:?}", id.as_str(), node.as_str());
        let known = self.instance(node, id.as_str()).map(|row| row.modified);
        verb.allowed(known, what)?;
        match verb {
            RowVerb::Get => {}
            RowVerb::Set(instance, _) => {
                let instance = Some(Instance::clone(instance));
                done(self.register(Registration { instance, ..on(node) }, change))?;
            }
            RowVerb::Delete(_) => {
                let outcome = self.deregister_instance(node, id, Prune::Keep, Missing::Fine, change);
                return done(outcome).map(|_| ());
            }
        }
        rows.extend(self.instance(node, id.as_str()).cloned().map(TxnRow::Instance));
        Ok(())
    }

    fn run_check(
        &mut self,
        node: &NodeName,
        id: &CheckId,
        verb: &RowVerb<NewCheck>,
        rows: &mut Vec<TxnRow>,
        change: &mut Change<'_>,
    ) -> Result<(), String> {
        let what = || format!("check {:?} on node {:?}", id.as_str(), node.as_str());
        let known = self.check(node, id.as_str()).map(|row| row.modified);
        verb.allowed(known, what)?;
        match verb {
            RowVerb::Get => {}
            RowVerb::Set(check, _) => {
                let checks = vec![NewCheck::clone(check)];
                done(self.register(Registration { checks, ..on(node) }, change))?;
            }
            RowVerb::Delete(_) => {
                return done(self.deregister_check(node, id, Missing::Fine, change)).map(|_| ());
            }
        }
        rows.extend(self.check(node, id.as_str()).cloned().map(TxnRow::Check));
        Ok(())
    }
}

impl<T> RowVerb<T> {
    /// Refuses what its condition does not allow, given when the row last changed.
    fn allowed(&self, known: Option<Index>, what: impl Fn() -> String) -> Result<(), String> {
        match (self, known) {
            (RowVerb::Get, None) => Err(format!("{} doesn't exist", what())),
            (RowVerb::Set(_, Some(index)), known) if known.unwrap_or_default() != *index => {
                Err(format!("failed to set {}, index is stale", what()))
            }
            (RowVerb::Delete(Some(index)), known) if known != Some(*index) => {
                Err(format!("failed to delete {}, index is stale", what()))
            }
            _ => Ok(()),
        }
    }
}

impl TxnRow {
    fn size(&self) -> usize {
        match self {
            TxnRow::Kv(entry) => entry.key.len() + entry.value.len(),
            // Rows of the catalog are small, and come one for each operation.
            TxnRow::Node(_) | TxnRow::Instance(_) | TxnRow::Check(_) => 0,
        }
    }
}

/// Whether the condition of a write held.
fn done(outcome: Outcome) -> Result<bool, String> {
    match outcome {
        Outcome::Refused(refusal) => Err(refusal.to_string()),
        outcome => Ok(outcome != Outcome::Held(false)),
    }
}

/// A registration of something on a node that is left alone.
fn on(node: &NodeName) -> Registration {
    only(Node { name: node.clone(), ..Node::default() }, NodeUpdate::Skip)
}

fn only(node: Node, node_update: NodeUpdate) -> Registration {
    Registration { node, node_update, instance: None, checks: Vec::new(), checks_replace: false }
}

//! A whole registry as bytes, and back.
//!
//! The bytes are a function of the state alone: two replicas at the same index write the same bytes.
//! Only rows are written; everything that can be derived is derived again.

use std::io::{Read, Write};
use std::sync::Arc;

use callboard_proto::config_entry::EntryKind;
use callboard_proto::kv::KvEntry;
use callboard_proto::session::SessionRow;
use callboard_proto::text::Text;
use callboard_proto::{Check, Index, Instance, Node, NodeName, ServiceName};
use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use super::acl::{AclRows, AclTables};
use super::config_entry::{ConfigRow, folded};
use super::connect::ConnectTable;
use super::slots::{SlotRows, SlotTable};
use super::{Graves, Registry, ServiceRow, Tables};

const FORMAT: u8 = 3;

/// Why bytes are not a registry.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error("checkpoint bytes")]
    Io(#[from] std::io::Error),
    /// Another version wrote it.
    #[error("checkpoint format {0} is unknown; this version reads format {FORMAT}")]
    Format(u8),
    /// The bytes are damaged.
    #[error("checkpoint is damaged")]
    Damaged(#[from] postcard::Error),
    /// The rows contradict one another.
    #[error("checkpoint is inconsistent: {0}")]
    Inconsistent(String),
}

/// The rows of a registry. Instances and services carry their place, which their rows do not.
#[derive(Serialize, Deserialize)]
struct Rows {
    index: Index,
    tables: Tables,
    nodes: Vec<Arc<Node>>,
    instances: Vec<(NodeName, Arc<Instance>)>,
    services: Vec<(ServiceName, Index)>,
    checks: Vec<Arc<Check>>,
    kv: Vec<Arc<KvEntry>>,
    graves: Vec<(Text, Index)>,
    graves_floor: Index,
    sessions: Vec<Arc<SessionRow>>,
    config: Vec<(Text, Index, Index)>,
    config_changed: Vec<(EntryKind, Index)>,
    slots: Vec<SlotRows>,
    acl: AclRows,
    connect: ConnectTable,
}

impl Registry {
    /// Writes the whole registry.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_to(&self, mut to: &mut dyn Write) -> Result<(), CheckpointError> {
        let rows = Rows {
            index: self.index,
            tables: self.tables,
            nodes: self.nodes.values().cloned().collect(),
            instances: self.instances.iter().map(|((node, _), row)| (node.clone(), row.clone())).collect(),
            services: self.services.values().map(|row| (row.name.clone(), row.index)).collect(),
            checks: self.checks().cloned().collect(),
            kv: self.kv.values().cloned().collect(),
            graves: self.graves.by_key.iter().map(|(key, index)| (key.clone(), *index)).collect(),
            graves_floor: self.graves.floor,
            sessions: self.sessions.values().cloned().collect(),
            config: self.config.rows.values().map(|row| (row.body.clone(), row.created, row.modified)).collect(),
            slots: self.slots.rows(),
            acl: self.acl.rows(),
            connect: self.connect.clone(),
            config_changed: self.config.changed.iter().map(|(kind, index)| (*kind, *index)).collect(),
        };
        to.write_all(&[FORMAT])?;
        postcard::to_io(&rows, &mut to)?;
        Ok(())
    }

    /// Reads a whole registry.
    ///
    /// # Errors
    /// When the bytes are not what [`Self::write_to`] writes.
    pub fn read_from(from: &mut dyn Read) -> Result<Registry, CheckpointError> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let (format, rows) = bytes.split_first().ok_or(CheckpointError::Format(0))?;
        if *format != FORMAT {
            return Err(CheckpointError::Format(*format));
        }
        let registry = Registry::from_rows(postcard::from_bytes(rows)?).map_err(CheckpointError::Inconsistent)?;
        registry.audit().map_err(CheckpointError::Inconsistent)?;
        Ok(registry)
    }

    fn from_rows(rows: Rows) -> Result<Registry, String> {
        let mut registry = Registry { index: rows.index, tables: rows.tables, ..Registry::default() };
        registry.nodes = rows.nodes.into_iter().map(|node| (node.name.folded(), node)).collect();
        for (name, index) in rows.services {
            let row = ServiceRow { name: name.clone(), index, members: OrdSet::new() };
            registry.services.insert(name.folded(), row);
        }
        for (node, instance) in rows.instances {
            let place = (node, instance.id.clone());
            if let Some(row) = registry.services.get_mut(&instance.service.folded()) {
                row.members.insert(place.clone());
            }
            registry.instances.insert(place, instance);
        }
        for check in rows.checks {
            let node = check.node.folded();
            registry.check_owners.insert((node.clone(), check.id.clone()), check.instance.clone());
            registry.checks.insert((node, check.instance.clone(), check.id.clone()), check);
        }
        let locked = rows.kv.iter().filter(|entry| !entry.session.is_empty());
        registry.locks = locked.map(|entry| (entry.session.clone(), entry.key.clone())).collect();
        registry.kv = rows.kv.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        registry.graves = Graves {
            by_index: rows.graves.iter().map(|(key, index)| (*index, key.clone())).collect(),
            by_key: rows.graves.into_iter().collect(),
            floor: rows.graves_floor,
        };
        registry.sessions_on =
            rows.sessions.iter().map(|session| (session.node.folded(), session.id.clone())).collect();
        registry.sessions = rows.sessions.into_iter().map(|session| (session.id.clone(), session)).collect();
        for (body, created, modified) in rows.config {
            let row = ConfigRow::read(body, created, modified)?;
            registry.config.rows.insert((row.entry.kind(), folded(row.entry.name())), row);
        }
        registry.acl = AclTables::from_rows(rows.acl);
        registry.slots = SlotTable::from_rows(rows.slots)?;
        registry.connect = rows.connect;
        registry.config.changed = rows.config_changed.into_iter().collect();
        Ok(registry)
    }
}

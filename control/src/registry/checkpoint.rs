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
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::acl::{AclRows, AclTables};
use super::autopilot::AutopilotRow;
use super::config_entry::{ConfigRow, folded};
use super::connect::ConnectTable;
use super::coordinate::{CoordinateRows, CoordinateTable};
use super::mesh::{MeshRows, MeshTable};
use super::query::{QueryBody, QueryRow};
use super::restore::Staged;
use super::slots::{SlotRows, SlotTable};
use super::{Graves, Registry, ServiceRow, Tables};

/// What is written: the tables of all formats, one after the other.
const FORMAT: u8 = 6;
/// The oldest that is read as well: the tables that were there from the beginning, and no others.
const FORMAT_FIRST: u8 = 2;

/// Why bytes are not a registry.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error("checkpoint bytes")]
    Io(#[from] std::io::Error),
    /// Another version wrote it.
    #[error("checkpoint format {0} is unknown; this version reads formats {FORMAT_FIRST} to {FORMAT}")]
    Format(u8),
    /// The bytes are damaged.
    #[error("checkpoint is damaged")]
    Damaged(#[from] postcard::Error),
    /// The rows contradict one another.
    #[error("checkpoint is inconsistent: {0}")]
    Inconsistent(String),
}

/// The rows of a registry: what is in every format, then the tables that came with each newer one.
#[derive(Serialize)]
struct Rows {
    first: FirstRows,
    second: SecondRows,
    third: ThirdRows,
    fourth: FourthRows,
    fifth: FifthRows,
}

/// What came with format 3.
#[derive(Default, Serialize, Deserialize)]
struct SecondRows {
    queries: Vec<(QueryBody, Index, Index)>,
    queries_changed: Index,
    acl: AclRows,
    connect: ConnectTable,
    staged: Option<Staged>,
}

/// What came with format 4.
#[derive(Default, Serialize, Deserialize)]
struct ThirdRows {
    autopilot: Option<AutopilotRow>,
}

/// What came with format 5.
#[derive(Default, Serialize, Deserialize)]
struct FourthRows {
    coordinates: CoordinateRows,
}

/// What came with format 6.
#[derive(Default, Serialize, Deserialize)]
struct FifthRows {
    mesh: MeshRows,
}

/// What is in every format. Instances and services carry their place, which their rows do not.
#[derive(Serialize, Deserialize)]
struct FirstRows {
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
}

impl Rows {
    /// Reads the rows of a format; tables that it does not have are empty.
    fn read(format: u8, bytes: &[u8]) -> Result<Rows, CheckpointError> {
        if !(FORMAT_FIRST..=FORMAT).contains(&format) {
            return Err(CheckpointError::Format(format));
        }
        let (first, rest) = postcard::take_from_bytes(bytes)?;
        let (second, rest) = Rows::since(FORMAT_FIRST + 1, format, rest)?;
        let (third, rest) = Rows::since(FORMAT_FIRST + 2, format, rest)?;
        let (fourth, rest) = Rows::since(FORMAT_FIRST + 3, format, rest)?;
        let (fifth, _) = Rows::since(FORMAT_FIRST + 4, format, rest)?;
        Ok(Rows { first, second, third, fourth, fifth })
    }

    /// Reads what came with a format, and returns what follows.
    fn since<T: DeserializeOwned + Default>(came: u8, format: u8, bytes: &[u8]) -> postcard::Result<(T, &[u8])> {
        if format < came { Ok((T::default(), bytes)) } else { postcard::take_from_bytes(bytes) }
    }
}

impl Registry {
    /// Writes the whole registry.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_to(&self, mut to: &mut dyn Write) -> Result<(), CheckpointError> {
        let rows = Rows {
            first: self.first_rows(),
            second: self.second_rows(),
            third: self.third_rows(),
            fourth: self.fourth_rows(),
            fifth: FifthRows { mesh: self.mesh.rows() },
        };
        to.write_all(&[FORMAT])?;
        postcard::to_io(&rows, &mut to)?;
        Ok(())
    }

    /// The same in the formats before, oldest first.
    #[cfg(test)]
    pub(super) fn old_bytes(&self) -> [Vec<u8>; 4] {
        let rows = [
            postcard::to_allocvec(&self.first_rows()),
            postcard::to_allocvec(&self.second_rows()),
            postcard::to_allocvec(&self.third_rows()),
            postcard::to_allocvec(&self.fourth_rows()),
        ];
        let mut bytes = vec![0];
        let mut format = FORMAT_FIRST;
        rows.map(|rows| {
            bytes[0] = format;
            format += 1;
            bytes.extend(rows.expect("rows always encode"));
            bytes.clone()
        })
    }

    fn fourth_rows(&self) -> FourthRows {
        FourthRows { coordinates: self.coordinates.rows() }
    }

    fn third_rows(&self) -> ThirdRows {
        ThirdRows { autopilot: self.autopilot.clone() }
    }

    fn second_rows(&self) -> SecondRows {
        SecondRows {
            queries: self.queries.rows.values().map(|row| (row.body.clone(), row.created, row.modified)).collect(),
            queries_changed: self.queries.changed,
            acl: self.acl.rows(),
            connect: self.connect.clone(),
            staged: self.staged.clone(),
        }
    }

    fn first_rows(&self) -> FirstRows {
        FirstRows {
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
            config_changed: self.config.changed.iter().map(|(kind, index)| (*kind, *index)).collect(),
        }
    }

    /// Reads a whole registry.
    ///
    /// # Errors
    /// When the bytes are not what [`Self::write_to`] writes.
    pub fn read_from(from: &mut dyn Read) -> Result<Registry, CheckpointError> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let (format, rows) = bytes.split_first().ok_or(CheckpointError::Format(0))?;
        let registry = Registry::from_rows(Rows::read(*format, rows)?).map_err(CheckpointError::Inconsistent)?;
        registry.audit().map_err(CheckpointError::Inconsistent)?;
        Ok(registry)
    }

    fn from_rows(rows: Rows) -> Result<Registry, String> {
        let Rows { first, second, third, fourth, fifth } = rows;
        let SecondRows { queries, queries_changed, acl, connect, staged } = second;
        let mut registry = Registry::from_first(first)?;
        for (body, created, modified) in queries {
            registry.queries.insert(QueryRow::read(body, created, modified)?);
        }
        registry.queries.changed = queries_changed;
        registry.acl = AclTables::from_rows(acl);
        registry.connect = connect;
        registry.staged = staged;
        registry.autopilot = third.autopilot;
        registry.coordinates = CoordinateTable::from_rows(fourth.coordinates);
        registry.mesh = MeshTable::from_rows(fifth.mesh, registry.instances.iter())?;
        Ok(registry)
    }

    fn from_first(rows: FirstRows) -> Result<Registry, String> {
        let mut registry = Registry { index: rows.index, tables: rows.tables, ..Registry::default() };
        let ids = rows.nodes.iter().filter(|node| !node.id.is_empty());
        registry.node_ids = ids.map(|node| (node.id.clone(), node.name.folded())).collect();
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
        registry.slots = SlotTable::from_rows(rows.slots)?;
        registry.config.changed = rows.config_changed.into_iter().collect();
        Ok(registry)
    }
}

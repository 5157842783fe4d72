//! Who speaks mesh TLS for which service, and the virtual address of each service that somebody speaks for.
//!
//! Who speaks is derived from the rows of instances. The address is the lowest that no other service has, from
//! 240.0.0.0/4, which is nobody's (RFC 1112, section 4), and stays as long as anybody speaks for the service.

use std::net::Ipv4Addr;
use std::sync::Arc;

use callboard_proto::{Instance, InstanceId, Node, NodeName, ServiceName};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::Registry;
use super::free::Free;

/// The first address of 240.0.0.0/4; it is nobody's.
const NETWORK: u32 = 0xf000_0000;
/// The most services that have an address: those of the network without its first and its last.
const NUMBERS_MAX: u32 = (1 << 28) - 2;

type Place = (NodeName, InstanceId);

/// Every service that somebody speaks for, by folded name.
#[derive(Debug, Clone, Default)]
pub(super) struct MeshTable {
    services: OrdMap<ServiceName, Speakers>,
    free: Free,
}

/// Who speaks for a service.
#[derive(Debug, Clone)]
struct Speakers {
    members: OrdSet<Place>,
    /// Its place among the virtual addresses, from 0.
    number: u32,
}

/// What is written of them: the numbers, which follow from what was before.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct MeshRows(Vec<(ServiceName, u32)>);

impl MeshTable {
    /// Notes an instance that is there, if it speaks for anybody.
    pub(super) fn join(&mut self, place: &Place, instance: &Instance) {
        let Some(service) = instance.mesh_service() else { return };
        let speakers = self.services.entry(service.folded());
        let speakers = speakers.or_insert_with(|| Speakers { members: OrdSet::new(), number: self.free.take() });
        speakers.members.insert(place.clone());
    }

    /// Forgets an instance that goes, or is another from now on.
    pub(super) fn leave(&mut self, place: &Place, instance: &Instance) {
        let Some(service) = instance.mesh_service().map(|service| service.folded()) else { return };
        let Some(speakers) = self.services.get_mut(&service) else { return };
        speakers.members.remove(place);
        if speakers.members.is_empty() {
            self.free.give_back(speakers.number);
            self.services.remove(&service);
        }
    }

    pub(super) fn rows(&self) -> MeshRows {
        MeshRows(self.services.iter().map(|(service, speakers)| (service.clone(), speakers.number)).collect())
    }

    /// The table of these instances, with the numbers that were written. Services that have none yet get one, in the
    /// order of their names.
    pub(super) fn from_rows<'a>(
        rows: MeshRows,
        instances: impl Iterator<Item = (&'a Place, &'a Arc<Instance>)>,
    ) -> Result<MeshTable, String> {
        let used = rows.0.iter().map(|(_, number)| *number).collect();
        let free = Free::without(used).ok_or("two services have one virtual address")?;
        let known = rows.0.into_iter();
        let services = known.map(|(service, number)| (service, Speakers { members: OrdSet::new(), number })).collect();
        let mut table = MeshTable { services, free };
        let mut speaking: Vec<_> = instances
            .filter_map(|(place, instance)| Some((instance.mesh_service()?.folded(), place, instance)))
            .collect();
        speaking.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        for (_, place, instance) in speaking {
            table.join(place, instance);
        }
        Ok(table)
    }
}

impl Registry {
    /// The instances through which a service is reached by mesh TLS, of whatever service they are.
    pub fn mesh_service<'a>(
        &'a self,
        name: &ServiceName,
    ) -> impl Iterator<Item = (&'a Arc<Node>, &'a Arc<Instance>)> + use<'a> {
        let members = self.mesh.services.get(&name.folded()).into_iter().flat_map(|speakers| &speakers.members);
        members.filter_map(|place| Some((self.nodes.get(&place.0)?, self.instances.get(place)?)))
    }

    /// The address that stands for a service in the mesh; none when nobody speaks for it.
    #[must_use]
    pub fn virtual_address(&self, name: &ServiceName) -> Option<Ipv4Addr> {
        let number = self.mesh.services.get(&name.folded())?.number;
        (number < NUMBERS_MAX).then(|| Ipv4Addr::from_bits(NETWORK + 1 + number))
    }

    /// Everybody who speaks is noted, and nobody else; no two services have one address.
    pub(super) fn audit_mesh(&self) -> Result<(), String> {
        let mut speaking = 0;
        for (place, instance) in &self.instances {
            let Some(service) = instance.mesh_service() else { continue };
            speaking += 1;
            let noted = self.mesh.services.get(&service.folded()).is_some_and(|row| row.members.contains(place));
            if !noted {
                return Err(format!("instance {} is missing from the mesh of {service}", place.1));
            }
        }
        let members = |row: &Speakers| row.members.len();
        if self.mesh.services.values().map(members).sum::<usize>() != speaking {
            return Err("the mesh has members that are not".to_owned());
        }
        if self.mesh.services.values().any(|row| row.members.is_empty()) {
            return Err("a service nobody speaks for has a virtual address".to_owned());
        }
        let used = self.mesh.services.values().map(|row| row.number).collect();
        Free::without(used).map(drop).ok_or_else(|| "two services have one virtual address".to_owned())
    }
}

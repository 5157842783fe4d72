//! Slots: the stable small number of each instance of a service, which hashing clients agree on.
//!
//! An instance gets the lowest slot that is neither held nor kept. The slot of a departed one is kept for it, until more
//! departed ones than `max(16, live instances)` are remembered; then the longest departed is forgotten. So a slot of a
//! live instance never changes, and a restarted one gets its old one back. A service without instances is remembered
//! too, up to a bound of such services.

use callboard_proto::{Index, Instance, InstanceId, NodeName, ServiceName};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::Registry;
use super::free::Free;

/// How many departed instances are remembered at least.
const KEPT_MIN: usize = 16;
/// How many services without instances are remembered.
const GONE_MAX: usize = 4096;

type Place = (NodeName, InstanceId);

/// The slots of all services, by folded name.
#[derive(Debug, Clone, Default)]
pub(super) struct SlotTable {
    services: OrdMap<ServiceName, Slots>,
    /// The services without instances, the longest gone first.
    gone: OrdSet<(Index, ServiceName)>,
}

/// The slots of one service.
#[derive(Debug, Clone, Default)]
struct Slots {
    held: OrdMap<Place, u32>,
    /// What departed instances had, and their places in [`Self::departed`].
    kept: OrdMap<Place, (u64, u32)>,
    /// Departed instances, the longest departed first.
    departed: OrdMap<u64, Place>,
    free: Free,
    /// When its last instance departed, if none is left.
    gone: Option<Index>,
}

/// The slots of one service in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SlotRows {
    service: ServiceName,
    held: Vec<(Place, u32)>,
    /// In the order of departure.
    kept: Vec<(Place, u32)>,
    gone: Option<Index>,
}

impl SlotTable {
    /// Gives an instance its slot. `service` is a folded name.
    pub(super) fn join(&mut self, service: &ServiceName, place: &Place) {
        let slots = self.services.entry(service.clone()).or_default();
        if let Some(at) = slots.gone.take() {
            self.gone.remove(&(at, service.clone()));
        }
        slots.join(place);
    }

    /// Keeps the slot of an instance that goes.
    pub(super) fn leave(&mut self, service: &ServiceName, place: &Place, at: Index) {
        let Some(slots) = self.services.get_mut(service) else { return };
        slots.leave(place);
        if !slots.held.is_empty() {
            return;
        }
        slots.gone = Some(at);
        self.gone.insert((at, service.clone()));
        while self.gone.len() > GONE_MAX {
            let Some((_, service)) = self.gone.remove_min() else { break };
            self.services.remove(&service);
        }
    }

    /// How many slots are held.
    pub(super) fn held(&self) -> usize {
        self.services.values().map(|slots| slots.held.len()).sum()
    }

    fn get(&self, service: &ServiceName, place: &Place) -> Option<u32> {
        self.services.get(&service.folded())?.held.get(place).copied()
    }

    pub(super) fn rows(&self) -> Vec<SlotRows> {
        let kept = |slots: &Slots| {
            let departed = slots.departed.values();
            departed.filter_map(|place| Some((place.clone(), slots.kept.get(place)?.1))).collect()
        };
        self.services
            .iter()
            .map(|(service, slots)| SlotRows {
                service: service.clone(),
                held: slots.held.iter().map(|(place, slot)| (place.clone(), *slot)).collect(),
                kept: kept(slots),
                gone: slots.gone,
            })
            .collect()
    }

    /// Reads what [`Self::rows`] gave.
    pub(super) fn from_rows(rows: Vec<SlotRows>) -> Result<SlotTable, String> {
        let mut table = SlotTable::default();
        for row in rows {
            let used = row.held.iter().chain(&row.kept).map(|(_, slot)| *slot).collect();
            let twice = || format!("a slot of service {} is given twice", row.service);
            let free = Free::without(used).ok_or_else(twice)?;
            let held = row.held.into_iter().collect();
            let mut slots = Slots { gone: row.gone, free, held, ..Slots::default() };
            for (order, (place, slot)) in (0..).zip(row.kept) {
                slots.kept.insert(place.clone(), (order, slot));
                slots.departed.insert(order, place);
            }
            if let Some(at) = slots.gone {
                table.gone.insert((at, row.service.clone()));
            }
            table.services.insert(row.service, slots);
        }
        Ok(table)
    }

    /// Checks that no two share a slot and nothing is remembered beyond its bound.
    pub(super) fn audit(&self) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        for (service, slots) in &self.services {
            let (live, kept) = (slots.held.len(), slots.kept.len());
            let mut used = OrdSet::new();
            for slot in slots.held.values().chain(slots.kept.values().map(|(_, slot)| slot)) {
                fact(used.insert(*slot).is_none(), &|| format!("slot {slot} of service {service} is given twice"))?;
            }
            let free = Free::without(used.into_iter().collect());
            let whole = free.is_some_and(|free| free == slots.free);
            fact(whole, &|| format!("service {service} has slots that are given and free, or neither"))?;
            let bounded = kept <= live.max(KEPT_MIN) && kept == slots.departed.len();
            fact(bounded, &|| format!("service {service} remembers {kept} beside {live}"))?;
            let both = slots.kept.keys().any(|place| slots.held.contains_key(place));
            fact(!both, &|| format!("service {service} keeps a slot for who is there"))?;
            let noted = slots.gone.is_none_or(|at| self.gone.contains(&(at, service.clone())));
            fact((live == 0) == slots.gone.is_some() && noted, &|| format!("service {service} is gone or is not"))?;
        }
        let gone = self.services.values().filter(|slots| slots.gone.is_some()).count();
        fact(gone == self.gone.len() && gone <= GONE_MAX, &|| "services that are gone disagree".to_owned())
    }
}

impl Slots {
    fn join(&mut self, place: &Place) {
        let slot = match self.kept.remove(place) {
            Some((order, slot)) => {
                self.departed.remove(&order);
                slot
            }
            None => self.free.take(),
        };
        self.held.insert(place.clone(), slot);
    }

    fn leave(&mut self, place: &Place) {
        let Some(slot) = self.held.remove(place) else { return };
        let order = self.departed.get_max().map_or(0, |(last, _)| last + 1);
        self.kept.insert(place.clone(), (order, slot));
        self.departed.insert(order, place.clone());
        while self.kept.len() > self.held.len().max(KEPT_MIN) {
            let Some((order, place)) = self.departed.get_min().cloned() else { break };
            self.departed.remove(&order);
            if let Some((_, slot)) = self.kept.remove(&place) {
                self.free.give_back(slot);
            }
        }
    }
}

impl Registry {
    /// The slot of an instance among those of its service.
    #[must_use]
    pub fn slot(&self, node: &NodeName, instance: &Instance) -> Option<u32> {
        self.slots.get(&instance.service, &(node.folded(), instance.id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(n: u16) -> Place {
        (NodeName::parse("n").unwrap(), InstanceId::parse(&format!("i{n}")).unwrap())
    }

    fn service() -> ServiceName {
        ServiceName::parse("web").unwrap()
    }

    fn slot(table: &SlotTable, n: u16) -> Option<u32> {
        table.get(&service(), &place(n))
    }

    #[test]
    fn a_departed_instance_gets_its_slot_back_while_it_is_remembered() {
        let mut table = SlotTable::default();
        (0..3).for_each(|n| table.join(&service(), &place(n)));
        table.leave(&service(), &place(1), Index(1));
        table.join(&service(), &place(7));
        assert_eq!(slot(&table, 7), Some(3), "the slot of 1 is kept for it");
        table.join(&service(), &place(1));
        assert_eq!((slot(&table, 0), slot(&table, 1), slot(&table, 2)), (Some(0), Some(1), Some(2)));
    }

    #[test]
    fn the_longest_departed_is_forgotten_first() {
        let mut table = SlotTable::default();
        (0..18).for_each(|n| table.join(&service(), &place(n)));
        (0..17).for_each(|n| table.leave(&service(), &place(n), Index(1)));
        // Sixteen are remembered beside one: 0 is not.
        table.join(&service(), &place(100));
        assert_eq!(slot(&table, 100), Some(0));
        table.join(&service(), &place(0));
        assert_eq!(slot(&table, 0), Some(18), "it comes as a new one");
        table.join(&service(), &place(1));
        assert_eq!(slot(&table, 1), Some(1));
    }

    #[test]
    fn services_without_instances_are_remembered_up_to_a_bound() {
        let mut table = SlotTable::default();
        for n in 0..5000_u64 {
            let service = ServiceName::parse(&format!("s{n}")).unwrap();
            table.join(&service, &place(0));
            table.leave(&service, &place(0), Index(n));
        }
        assert_eq!((table.services.len(), table.gone.len()), (GONE_MAX, GONE_MAX));
        assert_eq!(table.audit(), Ok(()));
    }

    proptest! {
        /// Against the rule as it is written: slots as plain lists, searched from the start.
        #[test]
        fn slots_follow_the_rule(steps in proptest::collection::vec((0u16..60, any::<bool>()), 1..300)) {
            let mut table = SlotTable::default();
            let mut held: Vec<(u16, u32)> = Vec::new();
            let mut kept: Vec<(u16, u32)> = Vec::new();
            for (at, (n, joins)) in (1..).zip(steps) {
                let here = held.iter().position(|(other, _)| *other == n);
                match (joins, here) {
                    (true, None) => {
                        let old = kept.iter().position(|(other, _)| *other == n);
                        let slot = match old {
                            Some(old) => kept.remove(old).1,
                            None => (0..).find(|slot| !held.iter().chain(&kept).any(|(_, taken)| taken == slot)).unwrap(),
                        };
                        held.push((n, slot));
                        table.join(&service(), &place(n));
                    }
                    (false, Some(here)) => {
                        kept.push(held.remove(here));
                        while kept.len() > held.len().max(16) {
                            kept.remove(0);
                        }
                        table.leave(&service(), &place(n), Index(at));
                    }
                    _ => continue,
                }
                for (n, expected) in &held {
                    prop_assert_eq!(slot(&table, *n), Some(*expected));
                }
                prop_assert_eq!(table.audit(), Ok(()));
                if at % 7 == 0 {
                    table = SlotTable::from_rows(table.rows()).unwrap();
                }
            }
        }
    }
}

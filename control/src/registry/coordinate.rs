//! Where nodes are in the network: how it is written and read.
//!
//! One place for each node, and only for nodes that are there: with its node a place goes. Places that nobody has a node
//! for are passed over, because who tells them does not know the catalog.

use std::sync::Arc;

use callboard_proto::coordinate::Coordinate;
use callboard_proto::text::Text;
use callboard_proto::{Index, NodeName};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::Outcome;
use super::{Change, Registry, Topic};

/// The most places that one command tells.
pub const PLACES_MAX: usize = 1024;

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The node.
    pub node: NodeName,
    /// The network segment that it is in; empty for the only one.
    pub segment: Text,
    /// Its place.
    pub coordinate: Coordinate,
}

/// All places.
#[derive(Debug, Clone, Default)]
pub(super) struct CoordinateTable {
    /// By folded name of the node.
    rows: OrdMap<NodeName, Arc<Place>>,
    /// When any place last changed or went.
    changed: Index,
}

/// What is written of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CoordinateRows {
    rows: Vec<Arc<Place>>,
    changed: Index,
}

impl CoordinateTable {
    pub(super) fn rows(&self) -> CoordinateRows {
        CoordinateRows { rows: self.rows.values().cloned().collect(), changed: self.changed }
    }

    pub(super) fn from_rows(from: CoordinateRows) -> CoordinateTable {
        let rows = from.rows.into_iter().map(|place| (place.node.folded(), place)).collect();
        CoordinateTable { rows, changed: from.changed }
    }
}

// How they are written.
impl Registry {
    pub(super) fn place(&mut self, places: Vec<Place>, change: &mut Change<'_>) -> Outcome {
        for place in places {
            let key = place.node.folded();
            let known = self.coordinates.rows.get(&key);
            let Some(node) = self.nodes.get(&key) else { continue };
            let place = Place { node: node.name.clone(), ..place };
            if known.is_none_or(|known| **known != place) {
                self.coordinates.rows.insert(key, Arc::new(place));
                self.coordinates.changed = change.touch(Topic::Coordinates);
            }
        }
        Outcome::Done
    }

    /// Forgets where a node is.
    pub(super) fn displace(&mut self, key: &NodeName, change: &mut Change<'_>) {
        if self.coordinates.rows.remove(key).is_some() {
            self.coordinates.changed = change.touch(Topic::Coordinates);
        }
    }
}

// How they are read.
impl Registry {
    /// All places, by node.
    pub fn places(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.coordinates.rows.values()
    }

    /// Where a node is, if that is known.
    #[must_use]
    pub fn place_of(&self, node: &NodeName) -> Option<&Arc<Place>> {
        self.coordinates.rows.get(&node.folded())
    }

    /// Sorts rows by their nodes' distances from a node: its own come first, and those of nodes whose place is unknown
    /// last. Rows of one distance keep their order; so do all when the place of the node itself is unknown.
    pub fn sort_near<T>(&self, from: &NodeName, rows: &mut [T], node: impl Fn(&T) -> &NodeName) {
        let from = from.folded();
        let Some(here) = self.coordinates.rows.get(&from) else { return };
        rows.sort_by_cached_key(|row| {
            let node = node(row).folded();
            match self.coordinates.rows.get(&node) {
                Some(_) if node == from => (0, 0),
                // Distances are positive, and bits of positive numbers are in the order of the numbers.
                Some(there) => (1, here.coordinate.distance(&there.coordinate).to_bits()),
                None => (2, 0),
            }
        });
    }

    /// When any place last changed or went.
    #[must_use]
    pub fn coordinates_index(&self) -> Index {
        self.coordinates.changed
    }

    /// Every place is that of a node.
    pub(super) fn audit_coordinates(&self) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        fact(self.coordinates.changed <= self.index, &|| "places are past the index".to_owned())?;
        for (key, place) in &self.coordinates.rows {
            fact(*key == place.node.folded(), &|| format!("the place of {} stands under {key}", place.node))?;
            fact(self.nodes.contains_key(key), &|| format!("a place of the unknown node {key}"))?;
        }
        Ok(())
    }
}

//! Where nodes are: only nodes that are there have a place, and rows are sorted by it.

use callboard_proto::coordinate::{Coordinate, DIMENSIONS};

use super::*;

fn at(x: f64) -> Coordinate {
    let mut point = [0.0; DIMENSIONS];
    point[0] = x;
    Coordinate::new(point, 1.0, 0.0, 0.001).unwrap()
}

/// Any place of a few.
pub(super) fn place() -> impl Strategy<Value = Place> {
    (0u8..6, 0u8..3).prop_map(|(n, x)| Place {
        node: node_name(n),
        segment: Text::default(),
        coordinate: at(f64::from(x)),
    })
}

fn with_nodes(count: u8) -> Registry {
    let mut registry = Registry::default();
    for n in 0..count {
        let node = Node { name: node_name(2 * n), address: "10.0.0.1".into(), ..Node::default() };
        let (node_update, instance) = (NodeUpdate::Put, None);
        let registration = Registration { node, node_update, instance, checks: Vec::new(), checks_replace: false };
        apply(&mut registry, Command::Register(Box::new(registration)));
    }
    registry
}

fn tell(registry: &mut Registry, n: u8, x: f64) {
    let place = Place { node: node_name(n), segment: Text::default(), coordinate: at(x) };
    assert_eq!(apply(registry, Command::Place(vec![place])), Outcome::Done);
}

#[test]
fn a_place_comes_and_goes_with_its_node() {
    let mut registry = with_nodes(1);
    tell(&mut registry, 2, 1.0);
    assert_eq!(registry.coordinates_index(), Index::ZERO, "nobody has that node");
    // The other case of the letters names the same node, and the node's own is kept.
    tell(&mut registry, 1, 1.0);
    assert_eq!(registry.place_of(&node_name(0)).unwrap().node, node_name(0));
    let told = registry.coordinates_index();
    assert_eq!(told, registry.index());
    tell(&mut registry, 0, 1.0);
    assert_eq!(registry.coordinates_index(), told, "it is where it was");
    apply(&mut registry, Command::DeregisterNode { node: node_name(0) });
    assert_eq!(registry.places().count(), 0);
    assert!(registry.coordinates_index() > told);
}

#[test]
fn rows_are_sorted_by_distance() {
    let mut registry = with_nodes(5);
    for (n, x) in [(0, 0.0), (2, 3.0), (4, 1.0), (8, 2.0)] {
        tell(&mut registry, n, x);
    }
    let order = |from: u8| {
        let mut rows: Vec<NodeName> = [6, 2, 0, 8, 4].map(node_name).into();
        registry.sort_near(&node_name(from), &mut rows, |row| row);
        rows
    };
    assert_eq!(order(0), [0, 4, 8, 2, 6].map(node_name));
    assert_eq!(order(1), order(0), "names of nodes have no case");
    assert_eq!(order(2), [2, 8, 4, 0, 6].map(node_name));
    // Nobody knows where the one is, and the other is not there at all.
    assert_eq!(order(6), [6, 2, 0, 8, 4].map(node_name));
    assert_eq!(order(20), order(6));
}

#[test]
fn places_are_in_checkpoints() {
    let mut registry = with_nodes(1);
    tell(&mut registry, 0, 1.0);
    let read = Registry::read_from(&mut bytes(&registry).as_slice()).unwrap();
    assert_eq!(read.place_of(&node_name(0)), registry.place_of(&node_name(0)));
    assert_eq!(bytes(&read), bytes(&registry));
    let [rest @ .., with_places] = registry.old_bytes();
    assert_eq!(Registry::read_from(&mut with_places.as_slice()).unwrap().places().count(), 1);
    for old in rest {
        let read = Registry::read_from(&mut old.as_slice()).unwrap();
        assert_eq!((read.places().count(), read.coordinates_index()), (0, Index::ZERO), "there were none then");
    }
}

//! Replacing the whole state: piece by piece, or not at all; older formats too.

use super::super::restore::{PIECE_MAX, Piece, RestoreCommand};
use super::*;

fn filled(keys: u32) -> Registry {
    let mut registry = Registry::default();
    for n in 0..keys {
        apply(&mut registry, set(&format!("k/{n}"), &vec![7; 1 << 10], KvCondition::Always));
    }
    registry
}

/// Hands a state over as a proposer does.
fn restore(registry: &mut Registry, state: &[u8], touched: &mut Touched) -> Outcome {
    let id = Text::from("r");
    let begin = RestoreCommand::Begin { id: id.clone(), size: state.len() as u64 };
    assert_eq!(registry.apply(Command::Restore(begin), touched), Outcome::Done);
    for (n, piece) in state.chunks(PIECE_MAX).enumerate() {
        let (offset, bytes) = ((n * PIECE_MAX) as u64, Piece(piece.into()));
        let piece = RestoreCommand::Piece { id: id.clone(), offset, bytes };
        assert_eq!(registry.apply(Command::Restore(piece), touched), Outcome::Done);
        assert!(!touched.is_replaced(), "not before the end");
    }
    registry.apply(Command::Restore(RestoreCommand::Finish { id }), touched)
}

#[test]
fn a_state_takes_the_place_of_another_whole() {
    let (kept, mut registry) = (filled(600), filled(3));
    let mut touched = Touched::default();
    assert_eq!(restore(&mut registry, &bytes(&kept), &mut touched), Outcome::Done);
    assert!(touched.is_replaced());
    assert_eq!(bytes(&registry), bytes(&kept));
    assert_eq!(registry.lineage(), 1, "indexes of before mean nothing now");
}

#[test]
fn a_replica_that_begins_in_the_middle_agrees() {
    let state = bytes(&filled(600));
    let (mut one, mut two) = (filled(3), filled(3));
    let id = Text::from("r");
    let commands = std::iter::once(RestoreCommand::Begin { id: id.clone(), size: state.len() as u64 })
        .chain(state.chunks(PIECE_MAX).enumerate().map(|(n, piece)| RestoreCommand::Piece {
            id: id.clone(),
            offset: (n * PIECE_MAX) as u64,
            bytes: Piece(piece.into()),
        }))
        .chain([RestoreCommand::Finish { id: id.clone() }]);
    for command in commands {
        two = Registry::read_from(&mut bytes(&two).as_slice()).unwrap();
        let outcome = apply(&mut one, Command::Restore(command.clone()));
        assert_eq!(outcome, apply(&mut two, Command::Restore(command)));
        assert_eq!(bytes(&one), bytes(&two));
    }
    assert_eq!(bytes(&one), state);
}

#[test]
fn a_state_that_cannot_be_read_changes_nothing() {
    let mut damaged = bytes(&filled(5));
    damaged.truncate(damaged.len() / 2);
    let mut registry = filled(3);
    let before = bytes(&registry);
    let mut touched = Touched::default();
    assert!(matches!(restore(&mut registry, &damaged, &mut touched), Outcome::Refused(Refusal::Restore(_))));
    assert!(touched.is_empty());
    assert_eq!(bytes(&registry), before);
}

#[test]
fn pieces_of_another_restore_are_refused() {
    let mut registry = filled(1);
    let mut ask = |command| apply(&mut registry, Command::Restore(command));
    let begin = |id: &str| RestoreCommand::Begin { id: id.into(), size: 2 };
    let piece = |id: &str, offset| RestoreCommand::Piece { id: id.into(), offset, bytes: Piece([1].into()) };
    let refused = |outcome| matches!(outcome, Outcome::Refused(Refusal::Restore(_)));
    assert!(refused(ask(piece("a", 0))));
    assert_eq!(ask(begin("a")), Outcome::Done);
    assert_eq!(ask(piece("a", 0)), Outcome::Done);
    assert!(refused(ask(piece("a", 0))), "it is there already");
    assert!(refused(ask(piece("b", 1))));
    assert!(refused(ask(RestoreCommand::Finish { id: "b".into() })));
    assert_eq!(ask(begin("b")), Outcome::Done);
    assert!(refused(ask(RestoreCommand::Finish { id: "a".into() })));
    assert!(refused(ask(RestoreCommand::Finish { id: "b".into() })), "half of it came");
}

#[test]
fn the_formats_before_are_read_too() {
    let kept = filled(3);
    for old in kept.old_bytes() {
        let mut registry = Registry::default();
        let mut touched = Touched::default();
        assert_eq!(restore(&mut registry, &old, &mut touched), Outcome::Done);
        assert_eq!(bytes(&registry), bytes(&kept));
    }
}

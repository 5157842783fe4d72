//! The checker itself: it refuses what is broken, takes what is right, and agrees with trying every order.
#![allow(clippy::print_stdout, reason = "seeds and figures are said where a reader looks")]

use crate::checker::{Event, Model, is_linearizable};
use crate::lock::{self, Attempt, Lock};
use crate::register::{self, Op, Register};

fn event<O>(sent: u64, answered: u64, op: O) -> Event<O> {
    Event { sent, answered: Some(answered), op }
}

fn unanswered<O>(sent: u64, op: O) -> Event<O> {
    Event { sent, answered: None, op }
}

fn holds(history: &[Event<Op>]) -> bool {
    is_linearizable::<Register>(register::State::default(), history)
}

fn read(value: u64, index: u64) -> Op {
    Op::Read(Some(Some((value, index))))
}

const NOTHING: Op = Op::Read(Some(None));

#[test]
fn a_write_is_seen_once_it_is_answered() {
    assert!(holds(&[event(0, 1, Op::Put(7)), event(2, 3, read(7, 1))]));
    assert!(!holds(&[event(0, 1, Op::Put(7)), event(2, 3, NOTHING)]), "a lost write");
    assert!(holds(&[event(0, 3, Op::Put(7)), event(1, 2, NOTHING)]), "it may be late");
    assert!(!holds(&[event(0, 1, read(7, 1)), event(2, 3, Op::Put(7))]), "a read of what is not written yet");
}

#[test]
fn what_was_seen_is_not_unseen() {
    let put = event(0, 9, Op::Put(7));
    assert!(holds(&[put.clone(), event(1, 2, NOTHING), event(3, 4, read(7, 1))]));
    assert!(!holds(&[put, event(1, 2, read(7, 1)), event(3, 4, NOTHING)]), "a read older than the one before it");
}

#[test]
fn an_unanswered_write_may_come_late_or_never() {
    let cut_off = unanswered(0, Op::Put(7));
    assert!(holds(&[cut_off.clone(), event(1, 2, NOTHING)]));
    assert!(holds(&[cut_off.clone(), event(1, 2, NOTHING), event(3, 4, read(7, 1))]));
    assert!(!holds(&[cut_off, event(1, 2, read(7, 1)), event(3, 4, NOTHING)]), "it came, and went");
    assert!(!holds(&[event(0, 1, read(7, 1)), unanswered(2, Op::Put(7))]), "it was not sent yet");
}

#[test]
fn check_and_set_lets_one_through() {
    let cas = |value, held| Op::Cas { value, index: 5, held: Some(held) };
    let start = [event(0, 1, Op::Put(1)), event(2, 3, read(1, 5))];
    let with = |more: &[Event<Op>]| holds(&[&start, more].concat());
    assert!(with(&[event(4, 8, cas(2, true)), event(5, 7, cas(3, false))]));
    assert!(!with(&[event(4, 8, cas(2, true)), event(5, 7, cas(3, true))]), "both went through");
    assert!(!with(&[event(4, 5, cas(2, false))]), "refused though nothing had changed");
    assert!(!with(&[event(4, 5, Op::Put(9)), event(6, 7, cas(2, true))]), "it had changed");
    let made = |held| Op::Cas { value: 1, index: 0, held: Some(held) };
    assert!(!holds(&[event(0, 1, made(false))]), "there was no key");
    assert!(!holds(&[event(0, 3, made(true)), event(1, 2, made(true))]), "made twice");
}

#[test]
fn indexes_only_grow_and_are_not_shared() {
    let two = |one, other| {
        holds(&[
            event(0, 1, Op::Put(1)),
            event(2, 3, read(1, one)),
            event(4, 5, Op::Put(2)),
            event(6, 7, read(2, other)),
        ])
    };
    assert!(two(5, 6));
    assert!(!two(5, 5), "another write with the same index");
    assert!(!two(5, 4), "an index that went back");
}

#[test]
fn a_lock_has_one_holder() {
    let acquire = |session, attempt| lock::Op::Acquire { session, attempt: Some(attempt) };
    let holds = |history: &[Event<lock::Op>]| is_linearizable::<Lock>(lock::State::default(), history);
    let first = event(0, 1, acquire(1, Attempt::Taken));
    assert!(holds(&[first.clone(), event(2, 3, acquire(2, Attempt::HeldByAnother))]));
    assert!(!holds(&[first.clone(), event(2, 3, acquire(2, Attempt::Taken))]), "two holders");
    let destroy = event(2, 3, lock::Op::Destroy { session: 1 });
    assert!(holds(&[first.clone(), destroy.clone(), event(4, 5, acquire(2, Attempt::Taken))]));
    assert!(!holds(&[first.clone(), destroy.clone(), event(4, 5, acquire(2, Attempt::HeldByAnother))]), "held by none");
    assert!(!holds(&[first.clone(), destroy, event(4, 5, acquire(1, Attempt::Taken))]), "taken by an ended session");
    let shown = |holder, token| lock::Op::Read(Some(Some((holder, token))));
    assert!(holds(&[first.clone(), event(2, 3, shown(Some(1), 1))]));
    assert!(!holds(&[first.clone(), event(2, 3, shown(Some(1), 2))]), "a token that nobody was given");
    let release = |held| lock::Op::Release { session: 2, held: Some(held) };
    assert!(holds(&[first.clone(), event(2, 3, release(false))]));
    assert!(!holds(&[first, event(2, 3, release(true))]), "released by another");
}

/// Tries every order, and every choice of which unanswered operations took effect.
fn by_trial<M: Model>(state: &M::State, left: &[Event<M::Op>]) -> bool
where
    M::Op: Clone,
{
    let first_answer = left.iter().filter_map(|event| event.answered).min();
    let Some(first_answer) = first_answer else { return true };
    left.iter().enumerate().filter(|(_, event)| event.sent < first_answer).any(|(at, event)| {
        let Some(next) = M::step(state, &event.op) else { return false };
        let mut rest = left.to_vec();
        rest.remove(at);
        by_trial::<M>(&next, &rest)
    })
}

#[test]
fn the_checker_agrees_with_trying_every_order() {
    let seed = std::env::var("CALLBOARD_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: the_checker_agrees_with_trying_every_order {seed} (CALLBOARD_SEED={seed} repeats its choices)");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut counts = [0_u32; 2];
    for _ in 0..20_000 {
        let mut times: Vec<u64> = (0..12).collect();
        dice.shuffle(&mut times);
        let history: Vec<Event<Op>> = times
            .chunks_exact(2)
            .enumerate()
            .map(|(number, pair)| {
                let (sent, answered) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
                let answered = (dice.u8(..6) > 0).then_some(answered);
                let given = answered.is_some();
                let (value, index) = (dice.u64(1..4), dice.u64(0..4));
                let op = match dice.u8(..6) {
                    0 => Op::Read(given.then_some(None)),
                    1 | 2 => Op::Read(given.then_some(Some((value, index.max(1))))),
                    3 => Op::Cas { value: number as u64, index, held: given.then(|| dice.bool()) },
                    4 => Op::DeleteCas { index, held: given.then(|| dice.bool()) },
                    _ => Op::Put(number as u64),
                };
                Event { sent, answered, op }
            })
            .collect();
        let found = holds(&history);
        assert_eq!(found, by_trial::<Register>(&register::State::default(), &history), "{history:?}");
        counts[usize::from(found)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 500), "both kinds came up: {counts:?}");
}

//! Histories made with a real node that is killed under its clients, and started again in its place.
#![allow(clippy::print_stdout, reason = "seeds and figures are said where a reader looks")]

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use callboard_tests::http::{Connection, Reply};
use callboard_tests::node::Node;
use callboard_tests::wait;
use serde_json::Value;

use crate::checker::{Event, is_linearizable};
use crate::lock::{self, Attempt, Lock};
use crate::register::{self, Register};

/// Clients at a time. Each that is cut off goes on as another one.
const CLIENTS: u64 = 6;
/// Kills in each history.
const ROUNDS: u64 = 5;
/// Answers before each kill.
const ANSWERS: u64 = 250;
/// How soon a client knocks again, so that it leaves the machine to the node that is starting.
const BREATH: Duration = Duration::from_millis(5);
/// Keys of each kind.
const KEYS: u64 = 12;

/// What happened to each key. Time is a counter: it orders, and that is all that the checker asks of it.
struct Histories<Op> {
    clock: AtomicU64,
    /// Numbers that nobody else writes.
    values: AtomicU64,
    answers: AtomicU64,
    events: Mutex<BTreeMap<u64, Vec<Event<Op>>>>,
}

impl<Op> Histories<Op> {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { clock: zero(), values: AtomicU64::new(1), answers: zero(), events: Mutex::default() }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::SeqCst)
    }

    /// Does one thing to a key. `ask` is handed nothing that is not known, and tells the operation, with its answer or
    /// without one.
    fn note(
        &self,
        key: u64,
        op: impl Fn(Option<&Reply>) -> Op,
        ask: impl FnOnce() -> io::Result<Reply>,
    ) -> io::Result<Reply> {
        let sent = self.now();
        let reply = ask().and_then(told);
        let answered = reply.is_ok().then(|| self.now());
        let event = Event { sent, answered, op: op(reply.as_ref().ok()) };
        self.events.lock().expect("no client panicked").entry(key).or_default().push(event);
        self.answers.fetch_add(u64::from(answered.is_some()), Ordering::SeqCst);
        reply
    }
}

/// An answer that tells what happened; any other failure leaves it open.
fn told(reply: Reply) -> io::Result<Reply> {
    match reply.status {
        500 if !reply.text().starts_with("invalid session") => Err(io::Error::other(reply.text())),
        _ => Ok(reply),
    }
}

fn seed(name: &str) -> u64 {
    let given = std::env::var("CALLBOARD_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: {name} {seed} (CALLBOARD_SEED={seed} repeats its choices)");
    seed
}

/// Runs clients against a node that is killed under them. A client ends at its first failure, and another takes its
/// place: what was cut off stays open for ever.
fn under_kills<Op: Send>(
    histories: &Histories<Op>,
    seed: u64,
    client: impl Fn(&mut Connection, &mut fastrand::Rng) -> io::Result<()> + Sync,
) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut node = Node::durable(folder.path());
    let ended = AtomicBool::new(false);
    let address = node.http.address;
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (client, ended) = (&client, &ended);
            scope.spawn(move || {
                let mut dice = fastrand::Rng::with_seed(seed ^ number);
                while !ended.load(Ordering::Acquire) {
                    // Nothing was sent on a connection that was not made.
                    let Ok(mut connection) = Connection::open(address) else {
                        thread::sleep(BREATH);
                        continue;
                    };
                    while !ended.load(Ordering::Acquire) && client(&mut connection, &mut dice).is_ok() {}
                }
            });
        }
        for round in 1..=ROUNDS {
            wait::until_true("enough answers", Duration::from_secs(120), || {
                histories.answers.load(Ordering::SeqCst) >= round * ANSWERS
            });
            node = node.killed_and_started_in_place();
        }
        wait::until_true("enough answers", Duration::from_secs(120), || {
            histories.answers.load(Ordering::SeqCst) >= (ROUNDS + 1) * ANSWERS
        });
        ended.store(true, Ordering::Release);
    });
}

#[test]
fn keys_are_linearizable_under_kills() {
    let seed = seed("keys_are_linearizable_under_kills");
    let histories = Histories::new();
    under_kills(&histories, seed, |connection, dice| key_step(&histories, connection, dice));
    let events = histories.events.into_inner().expect("no client panicked");
    let (mut all, mut open) = (0, 0);
    for (key, history) in &events {
        all += history.len();
        open += history.iter().filter(|event| event.answered.is_none()).count();
        assert!(
            is_linearizable::<Register>(register::State::default(), history),
            "seed {seed}, key {key}: {history:#?}"
        );
    }
    println!("figure: {all} operations on {} keys, {open} cut off, every history linearizable", events.len());
}

fn key_step(
    histories: &Histories<register::Op>,
    connection: &mut Connection,
    dice: &mut fastrand::Rng,
) -> io::Result<()> {
    use register::Op;
    let number = dice.u64(..KEYS);
    let path = format!("/v1/kv/linear/{number}");
    let mode = if dice.bool() { "?consistent" } else { "" };
    let reply = histories.note(
        number,
        |reply| Op::Read(reply.map(shown)),
        || connection.request("GET", &format!("{path}{mode}"), b""),
    )?;
    let index = shown(&reply).map_or(0, |(_, index)| index);
    let value = histories.value();
    // The number is written as flags, which are shown as they are.
    let (put, cas) = (format!("{path}?flags={value}"), format!("{path}?flags={value}&cas={index}"));
    match dice.u8(..10) {
        0..2 => histories.note(number, |_| Op::Put(value), || connection.request("PUT", &put, b"x")),
        2..8 => histories.note(
            number,
            |reply| Op::Cas { value, index, held: reply.map(is_true) },
            || connection.request("PUT", &cas, b"x"),
        ),
        8 => histories.note(number, |_| Op::Delete, || connection.request("DELETE", &path, b"")),
        // Without a key there is nothing to compare with.
        _ if index == 0 => return Ok(()),
        _ => histories.note(
            number,
            |reply| Op::DeleteCas { index, held: reply.map(is_true) },
            || connection.request("DELETE", &format!("{path}?cas={index}"), b""),
        ),
    }?;
    Ok(())
}

#[test]
fn locks_are_linearizable_under_kills() {
    let seed = seed("locks_are_linearizable_under_kills");
    let histories = Histories::new();
    // Ids of sessions by the numbers that the model knows them by; each belongs to one key.
    let sessions: Mutex<BTreeMap<String, u64>> = Mutex::default();
    under_kills(&histories, seed, |connection, dice| lock_step(&histories, &sessions, connection, dice));
    let events = histories.events.into_inner().expect("no client panicked");
    let (mut all, mut open) = (0, 0);
    for (key, history) in &events {
        all += history.len();
        open += history.iter().filter(|event| event.answered.is_none()).count();
        assert!(is_linearizable::<Lock>(lock::State::default(), history), "seed {seed}, key {key}: {history:#?}");
    }
    println!("figure: {all} operations on {} locks, {open} cut off, every history linearizable", events.len());
}

/// A session from its beginning to its end, on one lock.
fn lock_step(
    histories: &Histories<lock::Op>,
    sessions: &Mutex<BTreeMap<String, u64>>,
    connection: &mut Connection,
    dice: &mut fastrand::Rng,
) -> io::Result<()> {
    use lock::Op;
    let number = dice.u64(..KEYS);
    let path = format!("/v1/kv/lock/{number}");
    let body = br#"{"Checks": [], "LockDelay": "0s"}"#;
    let made = told(connection.request("PUT", "/v1/session/create", body)?)?;
    let id = made.json()["ID"].as_str().expect("a session has an id").to_owned();
    let session = histories.value();
    sessions.lock().expect("no client panicked").insert(id.clone(), session);
    let holder = |reply: &Reply| {
        let rows: Value = if reply.status == 404 { Value::Null } else { reply.json() };
        let row = rows.get(0)?;
        let holder = row["Session"].as_str().map(|id| sessions.lock().expect("no client panicked")[id]);
        Some((holder, row["LockIndex"].as_u64().expect("a lock index")))
    };
    let mut over = false;
    while !over {
        match dice.u8(..8) {
            0..3 => histories.note(
                number,
                |reply| Op::Acquire { session, attempt: reply.map(attempt) },
                || connection.request("PUT", &format!("{path}?acquire={id}"), histories.value().to_string().as_bytes()),
            ),
            3..5 => histories.note(
                number,
                |reply| Op::Release { session, held: reply.map(is_true) },
                || connection.request("PUT", &format!("{path}?release={id}"), histories.value().to_string().as_bytes()),
            ),
            5..7 => {
                histories.note(number, |reply| Op::Read(reply.map(holder)), || connection.request("GET", &path, b""))
            }
            _ => {
                over = true;
                let ended = histories.note(
                    number,
                    |_| Op::Destroy { session },
                    || connection.request("PUT", &format!("/v1/session/destroy/{id}"), b""),
                )?;
                assert_eq!(ended.status, 200, "{}", ended.text());
                histories.note(
                    number,
                    |reply| Op::Acquire { session, attempt: reply.map(attempt) },
                    || connection.request("PUT", &format!("{path}?acquire={id}"), b"late"),
                )
            }
        }?;
    }
    Ok(())
}

fn attempt(reply: &Reply) -> Attempt {
    match (reply.status, reply.text().as_str()) {
        (200, "true") => Attempt::Taken,
        (200, "false") => Attempt::HeldByAnother,
        (500, text) if text.starts_with("invalid session") => Attempt::NoSuchSession,
        other => panic!("no answer to taking a lock: {other:?}"),
    }
}

/// Value and index of a key, if it is there.
fn shown(reply: &Reply) -> Option<(u64, u64)> {
    if reply.status == 404 {
        return None;
    }
    let row = reply.clone().ok().json()[0].clone();
    let value = row["Flags"].as_u64().expect("flags");
    Some((value, row["ModifyIndex"].as_u64().expect("an index")))
}

fn is_true(reply: &Reply) -> bool {
    match (reply.status, reply.text().as_str()) {
        (200, "true") => true,
        (200, "false") => false,
        other => panic!("neither true nor false: {other:?}"),
    }
}

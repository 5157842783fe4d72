//! Fifty rounds of SIGKILL under concurrent writers: keys by check-and-set, registrations with a check each.
//!
//! After each restart, by the first default read that the node answers: every acknowledged write is there; a write
//! without an answer is there whole or not at all; no index is lower than one that was shown before.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callboard_tests::http::{Connection, Http};
use callboard_tests::node::Node;
use callboard_tests::wait;
use serde_json::{Value, json};

use crate::ledger::{Entry, Ledger};

const ROUNDS: u32 = 50;

/// Writers of keys; each has its own keys.
const KEY_WRITERS: u64 = 4;

/// Writers of registrations; each has its own instances.
const SERVICE_WRITERS: u64 = 4;

/// Things of one writer.
const THINGS: u64 = 4;

/// Reads whose index is followed from round to round.
const FOLLOWED: [&str; 5] = [
    "/v1/kv/k/?recurse",
    "/v1/catalog/nodes",
    "/v1/catalog/services",
    "/v1/health/state/any",
    "/v1/health/service/app",
];

#[test]
fn fifty_kills_lose_nothing() {
    let seed =
        std::env::var("CALLBOARD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed: fifty_kills_lose_nothing {seed} (CALLBOARD_SEED={seed} repeats its choices)");
    let mut dice = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut node = Node::durable(folder.path());
    let mut ledgers = vec![Ledger::new(); usize::try_from(KEY_WRITERS + SERVICE_WRITERS).expect("a few")];
    let mut indexes = BTreeMap::new();
    let (mut acknowledged, mut unknown, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..ROUNDS {
        for path in FOLLOWED {
            indexes.insert(path, node.http.get(path).index());
        }
        // Killed after a number of acknowledgements rather than after a time: a slow machine does as much.
        let until = dice.u64(20..200);
        let told = AtomicU64::new(0);
        let http = node.http;
        let seeds: Vec<u64> = ledgers.iter().map(|_| dice.u64(..)).collect();
        thread::scope(|scope| {
            for ((number, ledger), seed) in (0_u64..).zip(ledgers.iter_mut()).zip(seeds) {
                let told = &told;
                scope.spawn(move || write(http, number, ledger, seed, told));
            }
            wait::until_true("enough acknowledgements", Duration::from_secs(60), || {
                told.load(Ordering::Acquire) >= until
            });
            node.process.kill();
        });
        acknowledged += told.load(Ordering::Acquire);
        unknown += ledgers.iter().flat_map(Ledger::values).filter(|entry| entry.unknown.is_some()).count();
        let begun = Instant::now();
        node = node.killed_and_started();
        slowest = slowest.max(begun.elapsed());
        let said = format!("seed {seed}, round {round}");
        check_keys(&node.http, &mut ledgers[..usize::try_from(KEY_WRITERS).expect("a few")], &said);
        check_services(&node.http, &mut ledgers[usize::try_from(KEY_WRITERS).expect("a few")..], &said);
        for (path, before) in &indexes {
            let after = node.http.get(path).index();
            assert!(after >= *before, "{said}: the index of {path} went from {before} to {after}");
        }
    }
    println!("figure: {acknowledged} writes acknowledged in {ROUNDS} rounds, {unknown} cut off, none lost or halved");
    println!("figure: slowest restart until a leader, the first row and the first read, debug build: {slowest:?}");
}

/// Writes until the node is gone. What is cut off stays unknown in the ledger.
fn write(http: Http, number: u64, ledger: &mut Ledger, seed: u64, told: &AtomicU64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let Ok(mut connection) = Connection::open(http.address) else { return };
    loop {
        let thing = dice.u64(..THINGS);
        let done = if number < KEY_WRITERS {
            write_key(&mut connection, ledger, &format!("k/{number}/{thing}"))
        } else {
            write_service(&mut connection, ledger, &format!("app-{number}-{thing}"))
        };
        match done {
            Ok(()) => told.fetch_add(1, Ordering::AcqRel),
            Err(_) => return,
        };
    }
}

/// One step of a key: by check-and-set on the index that the key has now, so that a lost or doubled write shows.
fn write_key(connection: &mut Connection, ledger: &mut Ledger, key: &str) -> io::Result<()> {
    let entry = ledger.entry(key.to_owned()).or_default();
    let next = entry.acknowledged.unwrap_or(0) + 1;
    let found = connection.request("GET", &format!("/v1/kv/{key}"), b"")?;
    let index = if found.status == 404 { 0 } else { found.json()[0]["ModifyIndex"].as_u64().expect("an index") };
    entry.unknown = Some(next);
    // The value is long enough to be torn, were anything torn.
    let value = format!("{next} ").repeat(200);
    let reply = connection.request("PUT", &format!("/v1/kv/{key}?cas={index}&flags={next}"), value.as_bytes())?;
    assert_eq!((reply.status, reply.text().trim()), (200, "true"), "{key}: nobody else writes it");
    entry.settle(Some(next));
    Ok(())
}

/// One step of an instance: registered anew with its number in port, meta and check.
fn write_service(connection: &mut Connection, ledger: &mut Ledger, id: &str) -> io::Result<()> {
    let entry = ledger.entry(id.to_owned()).or_default();
    let next = entry.acknowledged.unwrap_or(0) + 1;
    let body = json!({"ID": id, "Name": "app", "Port": next, "Meta": {"round": next.to_string()},
        "Check": {"CheckID": format!("check-{id}"), "Name": "own", "Notes": next.to_string(), "TTL": "10m", "Status": "passing"}});
    entry.unknown = Some(next);
    let reply = connection.request("PUT", "/v1/agent/service/register", body.to_string().as_bytes())?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    entry.settle(Some(next));
    Ok(())
}

fn check_keys(http: &Http, ledgers: &mut [Ledger], said: &str) {
    // The first read after the restart, in the default mode: it must not miss an acknowledged write.
    let reply = http.get("/v1/kv/k/?recurse");
    let rows = if reply.status == 404 { Vec::new() } else { reply.json().as_array().expect("a list").clone() };
    let shown: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["Key"].as_str().expect("a key"), row)).collect();
    for (key, entry) in ledgers.iter_mut().flat_map(|ledger| ledger.iter_mut()) {
        let value = shown.get(key.as_str()).map(|row| row["Flags"].as_u64().expect("flags"));
        assert!(entry.allows(value), "{said}: {key} shows {value:?}, and {entry:?}");
        if let Some(value) = value {
            let whole = http.get(&format!("/v1/kv/{key}?raw")).ok().text();
            assert_eq!(whole, format!("{value} ").repeat(200), "{said}: {key} is whole");
        }
        entry.settle(value);
    }
}

fn check_services(http: &Http, ledgers: &mut [Ledger], said: &str) {
    let rows = http.get("/v1/health/service/app").ok().json();
    let known: usize = ledgers.iter().flat_map(Ledger::values).filter(|entry| touched(entry)).count();
    assert!(rows.as_array().expect("a list").len() <= known, "{said}: an instance that nobody registered: {rows}");
    for (id, entry) in ledgers.iter_mut().flat_map(|ledger| ledger.iter_mut()) {
        let row = rows.as_array().expect("a list").iter().find(|row| row["Service"]["ID"] == *id.as_str());
        let value = row.map(|row| row["Service"]["Port"].as_u64().expect("a port"));
        assert!(entry.allows(value), "{said}: {id} shows {value:?}, and {entry:?}");
        if let (Some(row), Some(value)) = (row, value) {
            let own = format!("check-{id}");
            let check =
                row["Checks"].as_array().expect("a list").iter().find(|check| check["CheckID"] == *own.as_str());
            let check = check.unwrap_or_else(|| panic!("{said}: {id} is there without its check: {row}"));
            let written = (&row["Service"]["Meta"]["round"], &check["Notes"]);
            assert_eq!(written, (&json!(value.to_string()), &json!(value.to_string())), "{said}: {id} is of one piece");
        }
        entry.settle(value);
    }
}

fn touched(entry: &Entry) -> bool {
    entry.acknowledged.is_some() || entry.unknown.is_some()
}

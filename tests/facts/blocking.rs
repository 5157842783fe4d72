//! Blocking reads against a model, for every endpoint that has them.
//!
//! The model knows the index rules and nothing of the server: from the writes alone it says whose index rises and who is
//! woken. One writer, and a follower of each endpoint, show that no wake-up is lost and none is needless; many writers
//! at once show that an index never goes back, that the same index is the same content, and that everyone ends with the
//! last one.

mod model;
mod write;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use callboard_tests::http::Http;
use callboard_tests::node::Node;
use serde_json::json;

use self::model::{ENDPOINTS, Model, Source};
use self::write::{Write, random, write};

/// How long news may take on a busy machine.
const NEWS: Duration = Duration::from_secs(20);

/// What an endpoint answered: the index, and the body.
type Told = (u64, String);

/// Follows an endpoint as clients do, and tells what comes.
fn follow(http: &Http, path: &str, from: u64, stop: &AtomicBool, told: &Sender<(u64, String)>) {
    let mut index = from;
    while !stop.load(Ordering::Relaxed) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let reply = http.get(&format!("{path}{separator}index={index}&wait=25s"));
        assert!(matches!(reply.status, 200 | 404), "{path}: {} {}", reply.status, reply.text());
        let (before, now) = (index, reply.index());
        assert!(now >= before, "{path} went back from {before} to {now}");
        index = now;
        // At the end of its wait an answer has nothing new; nobody waits that long here but for the end.
        if now > before && told.send((now, reply.text())).is_err() {
            return;
        }
    }
}

/// Lets the followers go, also when a claim does not hold: a thread that nobody stops would be waited for.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn endpoint_state(http: &Http, path: &str) -> (u64, String) {
    let reply = http.get(path);
    (reply.index(), reply.text())
}

/// What has come until now, the last of it.
fn drain(told: &Receiver<Told>) -> Vec<Told> {
    told.try_iter().collect()
}

#[test]
fn no_wake_up_is_lost_and_none_is_needless() {
    let node = Node::dev();
    let http = node.http;
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    // The rules of what nobody ever wrote are shown elsewhere: everything was there once.
    for first in [
        Write::Node { node: 0, address: 1 },
        Write::Instance { node: 0, service: 0, port: 1 },
        Write::Instance { node: 0, service: 1, port: 1 },
        Write::DropNode { node: 0 },
        Write::Key { key: 0, value: 0 },
    ] {
        write(&http, first);
        model.apply(first);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        let followers: Vec<(&str, Source, Receiver<Told>)> = ENDPOINTS
            .iter()
            .map(|(path, source)| {
                let (tell, told) = channel();
                let from = endpoint_state(&http, path).0;
                let stop = &stop;
                scope.spawn(move || follow(&http, path, from, stop, &tell));
                (*path, *source, told)
            })
            .collect();
        let waiting = u32::try_from(ENDPOINTS.len()).expect("few");
        let mut states: Vec<(u64, String)> = ENDPOINTS.iter().map(|(path, _)| endpoint_state(&http, path)).collect();
        for step in 0..120 {
            // All of them wait before the next write, so each is woken by it or by none.
            node.until_waiters(waiting);
            let next = random(&mut dice);
            let before = model.clone();
            write(&http, next);
            model.apply(next);
            let about = format!("seed {seed}, step {step}, {next:?}");
            for ((path, source, told), state) in followers.iter().zip(&mut states) {
                let now = endpoint_state(&http, path);
                let rises = model.index(*source) > before.index(*source);
                assert_eq!(now.0 > state.0, rises, "{about}: {path} went from {} to {}", state.0, now.0);
                assert!(now.0 >= state.0, "{about}: {path} went back from {} to {}", state.0, now.0);
                assert!(rises || now.1 == state.1, "{about}: {path} changed without its index");
                let wakes = rises && !(before.is_absent(*source) && model.is_absent(*source));
                if wakes {
                    match told.recv_timeout(NEWS) {
                        Ok(news) => assert_eq!(news, now, "{about}: {path} told something else"),
                        Err(RecvTimeoutError::Timeout) => panic!("{about}: {path} was not woken"),
                        Err(RecvTimeoutError::Disconnected) => panic!("{about}: the follower of {path} ended"),
                    }
                }
                *state = now;
            }
            for (path, _, told) in &followers {
                assert_eq!(drain(told), [], "{about}: {path} was woken for nothing");
            }
        }
        stop.store(true, Ordering::Relaxed);
        // Whoever still waits is let go by a change of everything.
        end(&http);
    });
}

/// Changes every endpoint once more.
fn end(http: &Http) {
    for node in 0..2 {
        write(http, Write::Node { node, address: 9 });
        write(http, Write::Instance { node, service: node, port: 9 });
        write(http, Write::Check { node, of: Some(node), status: 1 });
        write(http, Write::Check { node, of: Some(node), status: 2 });
        write(http, Write::Session { node });
        write(http, Write::Place { node, x: 9 });
        write(http, Write::Defaults { service: node, protocol: 0 });
        write(http, Write::Defaults { service: node, protocol: 1 });
        write(http, Write::Key { key: node, value: 8 });
    }
    write(http, Write::Query { name: 9, service: 0 });
    let _ = http.put("/v1/kv/other/x", "end").ok();
    let resolver = json!({"Kind": "service-resolver", "Name": "end"});
    let _ = http.put_json("/v1/config", &resolver).ok();
}

#[test]
fn many_writers_leave_one_history() {
    let node = Node::dev();
    let http = node.http;
    let stop = AtomicBool::new(false);
    let seed = fastrand::u64(..);
    let told: Vec<(&str, Vec<(u64, String)>)> = thread::scope(|scope| {
        let _ending = Ending(&stop);
        // Two followers of each: what one is told, the other may be told, and never anything else.
        let followers: Vec<(&str, Receiver<Told>)> = ENDPOINTS
            .iter()
            .chain(ENDPOINTS)
            .map(|(path, _)| {
                let (tell, told) = channel();
                let stop = &stop;
                scope.spawn(move || follow(&http, path, 1, stop, &tell));
                (*path, told)
            })
            .collect();
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                scope.spawn(move || {
                    let mut dice = fastrand::Rng::with_seed(seed ^ writer);
                    (0..150).for_each(|_| write(&http, random(&mut dice)));
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("it ends well"));
        end(&http);
        let mut all = Vec::new();
        for (path, told) in followers {
            let last = endpoint_state(&http, path);
            let mut heard = drain(&told);
            // Nobody misses the last change: it comes within a time, or was there already.
            while heard.last() != Some(&last) {
                let news = told.recv_timeout(NEWS);
                heard.push(
                    news.unwrap_or_else(|_| panic!("seed {seed}: {path} missed {last:?}, heard {:?}", heard.last())),
                );
            }
            all.push((path, heard));
        }
        stop.store(true, Ordering::Relaxed);
        // Lets go whoever still waits.
        (0..2).for_each(|node| write(&http, Write::DropNode { node }));
        (0..3).for_each(|key| write(&http, Write::DropKey { key }));
        (0..2).for_each(|service| write(&http, Write::DropDefaults { service }));
        write(&http, Write::Query { name: 8, service: 1 });
        let _ = http.delete("/v1/kv/other/x").ok();
        let _ = http.delete("/v1/config/service-resolver/end").ok();
        all
    });
    let mut contents: BTreeMap<(&str, u64), &String> = BTreeMap::new();
    for (path, heard) in &told {
        assert!(heard.is_sorted_by(|one, next| one.0 < next.0), "seed {seed}: {path} was told an index twice");
        for (index, body) in heard {
            let known = contents.entry((path, *index)).or_insert(body);
            assert_eq!(*known, body, "seed {seed}: {path} has two contents at {index}");
        }
    }
}

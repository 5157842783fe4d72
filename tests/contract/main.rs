//! One suite, three servers: what the SDK does holds against its own kit, against our control node, and against any
//! server that speaks the contract (`CALLBOARD_CONTRACT_ADDR=http://127.0.0.1:8500`), by the same cases.
//!
//! A case is a function over a [`server::Server`] in `catalog`, `store` or `locks`; here each becomes a test per server.

mod catalog;
mod locks;
mod server;
mod store;

use std::time::Duration;

/// How long news may take on a busy machine.
const NEWS: Duration = Duration::from_secs(15);

/// Returns a name that no other run uses: a given server may remember the last one.
fn unique(what: &str) -> String {
    format!("contract-{what}-{:08x}", fastrand::u32(..))
}

/// Waits for what a busy machine may be slow with.
async fn news<T>(what: &str, coming: impl Future<Output = T>) -> T {
    match tokio::time::timeout(NEWS, coming).await {
        Ok(come) => come,
        Err(_) => panic!("waited {NEWS:?} in vain for {what}"),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be made").block_on(work)
}

/// Says what a server cannot show.
#[expect(clippy::print_stdout, reason = "what is passed over belongs in the record of the run")]
fn passed_over(what: &str) {
    println!("passed over: {what}");
}

macro_rules! cases {
    ($($family:ident :: $case:ident),* $(,)?) => {
        mod kit {
            $(#[test]
            fn $case() {
                crate::block_on(async { crate::$family::$case(&mut crate::server::Kit::start().await).await });
            })*
        }

        mod control_node {
            $(#[test]
            fn $case() {
                // The harness blocks, so it is started before there is a runtime.
                let mut server = crate::server::Program::start();
                crate::block_on(crate::$family::$case(&mut server));
            })*
        }

        mod given {
            $(#[test]
            fn $case() {
                match crate::server::Given::named() {
                    Some(mut server) => crate::block_on(crate::$family::$case(&mut server)),
                    None => crate::passed_over(concat!(stringify!($case), ": CALLBOARD_CONTRACT_ADDR names no server")),
                }
            })*
        }
    };
}

cases! {
    catalog::an_instance_signs_in_is_seen_and_leaves,
    catalog::a_status_is_seen_and_a_missed_beat_too,
    catalog::what_was_lost_is_registered_again,
    catalog::a_watch_follows,
    catalog::a_watch_survives_an_index_that_begins_anew,
    catalog::what_is_wrong_is_refused,
    store::keys_are_written_on_conditions,
    store::reads_of_keys_wait,
    store::values_are_followed,
    store::events_come_once,
    store::rules_are_listed_and_followed,
    locks::one_holds_at_a_time,
    locks::the_end_of_a_session_is_told,
    locks::a_lock_delay_is_kept,
    locks::an_election_is_seen,
    locks::a_semaphore_admits_so_many,
    locks::a_lock_outlives_the_loss_of_all_data,
}

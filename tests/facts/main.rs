//! The named facts of the architecture that one control node, or one node and one application, can show.
//!
//! `server` holds the facts of the control node, asked over its API, `sessions` those of its locks, `transactions` those
//! of writes as one, `blocking` those of reads that wait, `snapshots` those of what is kept elsewhere, `rules` those of
//! config entries, slots and events, `multiplexed` those of many waits on one connection. `application` holds those of
//! the SDK, against a real control node. `replicas_agree` is shown beside the code that makes it true.

mod application;
mod blocking;
mod multiplexed;
mod rules;
mod server;
mod sessions;
mod snapshots;
mod transactions;

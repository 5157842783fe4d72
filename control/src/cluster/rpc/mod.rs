//! Messages between control nodes: HTTP/1.1 with postcard bodies, on a port of its own.
//!
//! | Path | Carries |
//! | --- | --- |
//! | `/internal/raft/…` | the log's own messages |
//! | `/internal/checkpoint` | a whole state, streamed |
//! | `/internal/propose` | an entry for the leader to write |
//! | `/internal/barrier` | a read's question up to where it must wait |
//! | `/internal/errand` | what only the leader's memory knows |
//! | `/internal/begin` | a promise to begin a cluster with these servers and no others |
//! | `/internal/gossip` | where a member of the log is found by gossip |

mod client;
mod secure;
mod serve;
mod wire;

pub(super) use client::{Addresses, CallError, Caller, Lane};
pub use secure::RpcTls;
pub(super) use serve::serve;
pub use wire::Beaten;
pub(super) use wire::{Errand, Errands, Founder, Refused, Run, Sure, Written, decode, encode};

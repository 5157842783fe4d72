//! The replicated log of a control node: the only place that names openraft and redb.
//!
//! It knows bytes, not the registry. A [`Machine`] is handed in; [`Raft::propose`] makes bytes durable on
//! a quorum, hands them to the machine in log order, and returns the machine's answer.
//!
//! | Module | Decides |
//! | --- | --- |
//! | [`raft`] | the handle: propose, read barrier, membership, shutdown |
//! | [`machine`] | what the log drives |
//! | `state` | applies committed entries, restores and checkpoints the machine |
//! | `log` | entries, vote and committed position: newest in memory, all in one redb file behind one thread |
//! | `checkpoint` | checkpoint files: format, checksum, which are kept, which one to start from |
//! | `data_dir` | the lock and the names inside the data folder |
//! | `keeper` | the background task: status, when to checkpoint, what to purge |
//! | [`transport`], `network` | how calls to other nodes leave and arrive, as bytes |
//!
//! It stands alone because instantiating openraft costs about a minute of compile time.

mod checkpoint;
mod data_dir;
mod error;
mod keeper;
mod log;
pub mod machine;
mod network;
mod options;
pub mod raft;
mod start;
mod state;
mod status;
pub mod transport;
mod types;

pub use error::Error;
pub use machine::{Committed, Machine};
pub use options::{Bootstrap, Options};
pub use raft::{Barrier, Proposed, Raft};
pub use status::{Follower, Peer, Role, Status};
pub use transport::{CheckpointReader, CheckpointReceiver, Rpc, Transport, Unreachable};

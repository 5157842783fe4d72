//! The words of Callboard and what crosses the wire between its parts.
//!
//! Nothing here does I/O, reads a clock or rolls dice. The map:
//!
//! - words: [`name`], [`index`], [`node`], [`instance`], [`check`], [`definition`], [`kv`], [`session`], [`text`]:
//!   rows as the registry stores them;
//! - [`prepared`]: questions that are kept under a name;
//! - [`config_entry`]: the rules by which clients reach services; [`intention`]: which of them count for a call;
//! - [`coordinate`]: where nodes are, and how far apart;
//! - [`acl`]: what access control protects, and how far;
//! - [`api`]: Consul's HTTP interface: queries, headers, bodies, exactly as clients know them;
//! - [`duration`]: Go-style durations, both ways;
//! - [`filter`]: the `?filter=` language;
//! - [`hcl`]: the language of configuration files and rules;
//! - [`dns`]: from a question to records.
//!
//! The same structs serve both sides: a control node writes what the SDK reads.

pub mod acl;
pub mod api;
pub mod check;
pub mod config_entry;
pub mod coordinate;
pub mod definition;
pub mod dns;
pub mod duration;
mod escape;
pub mod filter;
pub mod hcl;
pub mod index;
pub mod instance;
pub mod intention;
pub mod kv;
pub mod name;
pub mod node;
pub mod position;
pub mod prepared;
#[cfg(feature = "schema")]
mod schema;
pub mod session;
pub mod text;

pub use check::{Check, CheckStatus};
pub use definition::CheckDefinition;
pub use index::Index;
pub use instance::Instance;
pub use name::{CheckId, InstanceId, NodeName, ServiceName};
pub use node::Node;

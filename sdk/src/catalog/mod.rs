//! The application's local copy of the registry, one immutable [`Snapshot`] per service.
//!
//! Holds what is known and what changed, and the file it may be kept in; does not fetch it (that is
//! `watch`) and does not choose among endpoints (that is `balance`). [`Catalog::fixed`] stands in
//! for a registry in tests and where the endpoints are known beforehand.

mod change;
mod chunk;
mod columns;
mod fixed;
mod members;
mod snapshot;
mod store;
mod sweep;

pub use change::Change;
pub use chunk::Member;
pub use fixed::Catalog;
pub use members::Members;
pub use snapshot::Snapshot;
pub(crate) use store::Writer;
pub use store::{LastGood, Store, StoreError};

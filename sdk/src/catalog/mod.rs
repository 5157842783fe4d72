//! The application's local copy of the registry, one immutable [`Snapshot`] per service.
//!
//! Holds what is known and what changed; does not fetch it (that is `watch`) and does not choose
//! among endpoints (that is `balance`).

mod change;
mod snapshot;

pub use change::Change;
pub use snapshot::{Member, Snapshot};

//! One call of a service over HTTP: pick, connection, response, and what to do when one of them fails.
//!
//! [`HttpService`] calls one service. It decides what may be tried again and where; who is picked is decided by
//! `balance`, which connection is used by [`crate::http::Pool`]. Called by applications, by the sidecar and by the
//! adapters, of which [`crate::tower`] is the nearest.

mod body;
mod budget;
mod error;
mod judge;
mod service;

pub use body::ResponseBody;
pub use budget::RetryBudget;
pub use error::{Attempt, CallError, Reason};
pub use judge::Judge;
pub use service::{HashKey, HttpService, HttpSettings};

//! Calling a service over HTTP: pick, connection, response, and a retry where that is safe.
//!
//! [`HttpService`] is a `tower` service over an application's requests and the data path of the
//! sidecar. It decides what may be tried again and where; who is picked is decided by `balance`, which
//! connection is used by [`crate::http::Pool`].

mod body;
mod budget;
mod error;
#[cfg(feature = "tower")]
mod flight;
#[cfg(any(feature = "tower", feature = "reqwest"))]
mod held;
mod judge;
mod service;
mod tries;

pub use body::ResponseBody;
pub use budget::RetryBudget;
pub use error::{Attempt, CallError, Reason};
#[cfg(feature = "tower")]
pub use flight::{Flight, FlightLayer};
#[cfg(any(feature = "tower", feature = "reqwest"))]
pub use held::{HeldBody, Hold};
pub use judge::Judge;
pub use service::{HashKey, HttpService, HttpSettings};
pub(crate) use tries::Tries;

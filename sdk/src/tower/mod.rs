//! Calling a service over HTTP: pick, connection, response, and a retry where that is safe.
//!
//! [`HttpService`] is a `tower` service over an application's requests and the data path of the
//! sidecar. It decides what may be tried again and where; who is picked is decided by `balance`, which
//! connection is used by [`crate::http::Pool`].

mod body;
mod budget;
#[cfg(feature = "tower")]
mod discover;
mod error;
#[cfg(feature = "tower")]
mod flight;
#[cfg(any(feature = "tower", feature = "reqwest"))]
mod held;
mod judge;
#[cfg(feature = "tower")]
mod layer;
mod service;
mod tries;

pub use body::ResponseBody;
pub use budget::RetryBudget;
#[cfg(feature = "tower")]
pub use discover::Discovery;
pub use error::{Attempt, CallError, Reason};
#[cfg(feature = "tower")]
pub use flight::{Flight, FlightLayer};
#[cfg(any(feature = "tower", feature = "reqwest"))]
pub use held::{HeldBody, Hold};
pub use judge::Judge;
#[cfg(feature = "tower")]
pub use layer::{BalanceLayer, Balanced, Bodies, Keep, Whole};
pub use service::{HashKey, HttpService, HttpSettings};
pub(crate) use tries::Tries;

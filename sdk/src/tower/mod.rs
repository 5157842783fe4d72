//! The `tower` side of calls: [`HttpService`] is a `tower` service over an application's requests.
//!
//! Decides nothing: what a call is, is decided in [`crate::call`], whose names that users of `tower` need stand here too.

#[cfg(feature = "tower")]
mod discover;
#[cfg(feature = "tower")]
mod flight;
#[cfg(any(feature = "tower", feature = "reqwest"))]
mod held;
#[cfg(feature = "tower")]
mod layer;

pub(crate) use crate::call::Tries;
pub use crate::call::{
    Attempt, CallError, HashKey, HttpService, HttpSettings, Judge, Reason, ResponseBody, RetryBudget,
};
#[cfg(feature = "tower")]
pub use discover::Discovery;
#[cfg(feature = "tower")]
pub use flight::{Flight, FlightLayer};
#[cfg(any(feature = "tower", feature = "reqwest"))]
pub use held::{HeldBody, Hold};
#[cfg(feature = "tower")]
pub use layer::{BalanceLayer, Balanced, Bodies, Keep, Whole};

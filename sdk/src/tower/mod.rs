//! The `tower` side of calls: [`HttpService`] is a `tower` service over an application's requests.
//!
//! Decides nothing: what a call is, is decided in [`crate::call`], whose names that users of `tower` need stand here too.

pub use crate::call::{
    Attempt, CallError, HashKey, HttpService, HttpSettings, Judge, Reason, ResponseBody, RetryBudget,
};

//! Clients of one service that know of one another, by keys and sessions that any Consul has.
//!
//! Under one session per client and service, whose end deletes its keys: a seat (`callboard/clients/<service>/<n>`), from
//! which [`crate::balance::BalancerSettings::subset`] learns which of how many clients this is; and votes
//! (`callboard/ejections/<service>/<instance>/<node>/<session>`) on endpoints that it set aside, which a quorum makes
//! count for all. `seat` and `quorum` decide and are pure; `company` is the task. Started by the client, per service, when
//! a setting asks for it.

mod company;
mod quorum;
mod seat;

pub(crate) use company::Company;
pub use quorum::SharedEjection;

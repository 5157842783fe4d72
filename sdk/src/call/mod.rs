//! One call of a service over HTTP: pick, connection, response, and what to do when one of them fails.
//!
//! [`HttpService`] calls one service. It decides what may be tried again and where; who is picked is decided by
//! `balance`, which connection is used by [`crate::http::Pool`]. Called by applications, by the sidecar and by the
//! adapters, of which [`crate::tower`] is the nearest.
//!
//! The pure parts, each a file: `retry` (what is tried again), `refusals` (what servers refuse under a bound), `hedge` and `histogram` (when a second server is asked),
//! `limit` (how many calls may be under way), `judge` (what an answer says of its endpoint). Around them: `deadline`,
//! `limiter`, `attempt` (one try), `sequence` (all tries of a call), `service` (the handle), `follow` and `plan` (the
//! registry's rules); `tries` keeps account for adapters that call by other means.

#[doc = include_str!("../../docs/retry.md")]
pub mod guide {}

mod attempt;
mod body;
mod budget;
mod deadline;
mod error;
mod follow;
mod hedge;
mod histogram;
#[cfg(feature = "tower")]
mod inbound;
mod judge;
mod lane;
mod limit;
mod limiter;
mod plan;
mod refusals;
mod retry;
mod sequence;
mod service;
mod settings;
mod shape;
#[cfg(feature = "tower")]
mod shed;
mod stats;
mod tries;

pub use body::ResponseBody;
pub use budget::RetryBudget;
pub use deadline::{Deadline, Inherited, TIMEOUT};
pub use error::{Attempt, CallError, Reason};
pub use follow::RulesState;
pub(crate) use follow::{FollowSettings, Follower};
pub use hedge::HedgeSettings;
pub use histogram::Histogram;
#[cfg(feature = "tower")]
pub use inbound::{Inbound, InboundLayer};
pub use judge::Judge;
pub use limit::{Gradient, LimitSettings, Seen};
pub use limiter::{Limiter, Place};
pub use retry::{ATTEMPT, ATTEMPTS_MAX, Advice, RetryPolicy};
pub use service::{HashKey, HttpService};
pub use settings::{BreakerSettings, HttpSettings};
#[cfg(feature = "tower")]
pub use shed::{Shed, ShedLayer};
pub use stats::{CallCounts, CallStats, CallsOf};
pub(crate) use tries::Tries;

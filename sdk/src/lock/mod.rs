//! Locks, elections and semaphores over the registry's sessions and keys.
//!
//! [`Session`] is kept alive and told when it ends; [`Lock`] is a key that one may hold, with a [`FencingToken`];
//! [`Election`] is a lock whose holder is watched; [`Semaphore`] admits several. What is decided without a socket or a
//! clock is in `lease`, `contend`, `fence`, `monitor` and `places`. What is promised and what is not: [`guide`].

#[doc = include_str!("../../docs/locks.md")]
pub mod guide {}

mod contend;
mod election;
mod fence;
mod lease;
mod monitor;
mod mutex;
mod places;
mod semaphore;
mod session;

pub use election::{Election, Leader, Leadership};
pub use fence::FencingToken;
pub use mutex::{LOCK_FLAGS, Lock, Locked};
pub use places::SEMAPHORE_FLAGS;
pub use semaphore::{Permit, Semaphore};
pub use session::{Lost, Session, SessionSettings};

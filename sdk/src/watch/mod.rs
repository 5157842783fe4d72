//! Keeping a live copy of one service: ask, wait, publish, and survive whatever the servers do.
//!
//! One task per service and client, whatever the number of handles. What an answer means is decided in
//! `cursor`, which is pure; `poll` is the task around it; `rows` turns the wire into endpoints.

mod cursor;
mod handle;
mod pace;
mod poll;
mod rows;

pub use cursor::{Cursor, CursorSettings, Question, Reply, Step};
pub use handle::{Origin, Watch};
pub(crate) use handle::{Probing, Shared, WatchHandle};
pub(crate) use poll::{Poll, run};
pub use rows::endpoints;

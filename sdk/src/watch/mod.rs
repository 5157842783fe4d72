//! Keeping a live copy of one service: ask, wait, publish, and survive whatever the servers do.
//!
//! One task per service and client, whatever the number of handles. What an answer means is decided in
//! `cursor`, and whether one that takes nearly everybody away is believed in `doubt`, which are pure; `poll` is the
//! task around them; `rows` turns the wire into endpoints; `stand_in` holds what is used before the registry answers.
//! What else can be waited for (keys, sessions, config entries, events) is asked by `follow` under the same rules, and
//! kept live by `live`.

mod cursor;
mod doubt;
mod events;
mod follow;
mod handle;
mod key;
mod live;
mod pace;
mod poll;
mod rows;
mod stand_in;
mod tick;

pub use cursor::{Cursor, CursorSettings, Question, Reply, Step};
pub use doubt::{Dialled, Doubt, DoubtSettings, Verdict};
pub use events::EventWatch;
pub(crate) use follow::{Follow, News, Reader, of_the_leader, shown};
pub use handle::{Held, Origin, Watch, WatchView};
pub(crate) use handle::{Probing, Shared, WatchHandle};
pub(crate) use key::{Decoder, decoded};
pub use key::{Value, Values};
pub use live::Live;
pub(crate) use poll::{Poll, run};
pub use rows::endpoints;
#[cfg(feature = "dns")]
pub(crate) use stand_in::DnsSource;
pub(crate) use stand_in::StandIn;
pub(crate) use tick::tick;

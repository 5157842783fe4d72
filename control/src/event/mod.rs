//! User events: messages to whoever listens now, on every node.
//!
//! Events do not pass through the log: nothing depends on them, and a disk write for each would make it carry what nobody
//! reads twice. They travel by gossip, and a node that was cut off hears the last of them when it is met again. Each node
//! decides by its own name and services whether it keeps one, and they are gone with the processes that heard them. `told`
//! is their form on the way, `audience` (PURE) says who keeps one, `ring` (PURE) remembers the last ones, `post` sends and
//! receives. Who calls it: `http` fires and lists, `server` runs [`listen`].

mod audience;
mod post;
mod ring;
mod told;

pub use audience::{Audience, InvalidFilter};
pub use post::{Events, FireError, listen};

//! The rules of the DNS interface: what a name asks for, and which records answer it.
//!
//! A question goes through three pure steps. [`Zone::lookup`] reads the name; the caller finds the rows, healthy
//! ones only, and says what it [`Found`]; [`answer`] turns that into a [`Reply`]. Before it is sent,
//! [`Reply::trim`] drops answers from the end until the encoded message fits. Randomness, time and settings are
//! arguments.
//!
//! No bytes are read or written here and nothing is looked up: the control node's `dns` folder does that, and the
//! sidecar's. Names are text with labels parted by dots; those of records are fully qualified and end with a dot.

mod answer;
mod message;
mod name;
mod question;
mod settings;
mod shuffle;
mod txt;

#[cfg(test)]
mod tests;

pub use answer::{Found, InstanceRow, NodeRow, Order, Query, answer};
pub use message::{Record, RecordData, RecordType, Reply, ResponseCode, Transport, View};
pub use question::{Asked, Lookup, Zone};
pub use settings::{ServiceTtl, Settings, Soa};

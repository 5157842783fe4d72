//! The log: entries, vote, committed position and what was purged.
//!
//! Newest entries live in memory (`tail`), all of them in one file (`disk`), and `store` puts the two
//! together for the consensus engine. Without a data folder there is no `disk` and nothing leaves memory.

mod disk;
mod store;
#[cfg(test)]
mod suite;
pub(crate) mod tail;

pub(crate) use disk::Disk;
pub(crate) use store::LogStore;

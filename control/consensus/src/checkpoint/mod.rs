//! Checkpoints: the whole state as of one log entry, as plain files beside the log.
//!
//! `format` decides the bytes, `shelf` which ones are kept and which one a restart begins from.

mod format;
mod shelf;

pub(crate) use shelf::{Checkpoint, Incoming, Shelf};

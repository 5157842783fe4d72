//! What the log drives: the contract between the replicated log and the state built from it.
//!
//! It decides nothing about durability or order, which the log guarantees, and nothing about the meaning
//! of the bytes, which the implementer alone knows. Implemented by the control node's cluster module.

use std::io::{self, Read, Write};

/// Writes one state, frozen when it was taken, to a writer. Run on a blocking thread while entries go on
/// being applied.
pub type CheckpointWriter = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// One committed entry, as it was proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed<'a> {
    /// Place in the replicated log. Grows, but not by one: the log also carries entries of its own.
    pub log_index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
    /// The proposed bytes.
    pub data: &'a [u8],
}

/// The deterministic state that committed entries are applied to.
pub trait Machine: Send + Sync + 'static {
    /// Applies entries that became committed together, in log order, and returns one answer per entry,
    /// handed to whoever proposed it.
    ///
    /// Called from one task only. The new state must be visible to readers before this returns: the
    /// proposer is answered right afterwards. Every node applies the same entries, so the result may
    /// depend on nothing but the state and the entries.
    fn apply(&mut self, entries: &[Committed<'_>]) -> Vec<Vec<u8>>;

    /// Takes a handle to the present state in constant time; entries go on being applied while it is
    /// written. Two nodes that applied the same entries write the same bytes.
    fn checkpoint(&self) -> CheckpointWriter;

    /// Replaces the whole state by what a checkpoint holds.
    ///
    /// # Errors
    /// When the bytes cannot be read or understood; the old state then stands untouched.
    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()>;
}

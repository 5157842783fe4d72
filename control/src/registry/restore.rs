//! Replacing the whole state by one that was kept elsewhere.
//!
//! A state is larger than an entry of the log, so it comes in pieces, which wait here (and in checkpoints) until the last
//! one is there; then it is read and takes the place of everything at once. A new beginning gives up what waits. What
//! cannot be read is refused, and nothing else changes.

use std::sync::Arc;

use callboard_proto::text::Text;
use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::Registry;
use super::command::{Outcome, Refusal};
use super::topic::Touched;

/// The largest state, in bytes.
pub const RESTORE_MAX: u64 = 1 << 30;
/// The largest piece of one, in bytes.
pub const PIECE_MAX: usize = 256 * 1024;

/// A step of replacing the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RestoreCommand {
    /// A state of so many bytes will come.
    Begin {
        /// What its pieces are told by.
        id: Text,
        /// Its length in bytes.
        size: u64,
    },
    /// The next piece of it.
    Piece {
        /// Of which state.
        id: Text,
        /// Its place, in bytes.
        offset: u64,
        /// The bytes.
        bytes: Piece,
    },
    /// All of it is there: it takes the place of the present one.
    Finish {
        /// Which state.
        id: Text,
    },
}

/// Bytes of a state, which may hold secrets and are not printed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece(pub Arc<[u8]>);

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The pieces that wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Staged {
    id: Text,
    size: u64,
    length: u64,
    pieces: Vector<Piece>,
}

impl Registry {
    pub(super) fn apply_restore(&mut self, command: RestoreCommand, touched: &mut Touched) -> Outcome {
        let refuse = |text: String| Outcome::Refused(Refusal::Restore(text));
        match command {
            RestoreCommand::Begin { size, .. } if size > RESTORE_MAX => {
                refuse(format!("a state of {size} bytes; at most {RESTORE_MAX} are accepted"))
            }
            RestoreCommand::Begin { id, size } => {
                self.staged = Some(Staged { id, size, length: 0, pieces: Vector::new() });
                Outcome::Done
            }
            RestoreCommand::Piece { id, offset, bytes } => match &mut self.staged {
                Some(staged) if staged.id == id && staged.takes(offset, &bytes) => {
                    staged.length += bytes.0.len() as u64;
                    staged.pieces.push_back(bytes);
                    Outcome::Done
                }
                _ => refuse("another restore began, or a piece is not the next one".to_owned()),
            },
            RestoreCommand::Finish { id } => match self.staged.take_if(|staged| staged.id == id) {
                Some(staged) if staged.length == staged.size => match Registry::read_from(&mut &*staged.whole()) {
                    Ok(restored) => {
                        *self = Registry { staged: None, ..restored.replacing(self) };
                        touched.replace();
                        Outcome::Done
                    }
                    Err(error) => refuse(error.to_string()),
                },
                Some(staged) => refuse(format!("{} of {} bytes came", staged.length, staged.size)),
                None => refuse("another restore began".to_owned()),
            },
        }
    }
}

impl Staged {
    fn takes(&self, offset: u64, piece: &Piece) -> bool {
        let length = piece.0.len();
        offset == self.length && (1..=PIECE_MAX).contains(&length) && self.length + length as u64 <= self.size
    }

    fn whole(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| piece.0.iter().copied()).collect()
    }
}

//! What can be wrong with a text in HCL, and how it is said.

use std::fmt;

use crate::position::Position;

/// How much of a remote text a message repeats, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// Why a text is not HCL. The same text fails again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The text does not follow the grammar.
    Syntax {
        /// Where reading stopped.
        at: Position,
        /// What would have been right there.
        expected: &'static str,
    },
    /// Objects and lists are nested deeper than [`DEPTH_MAX`](super::DEPTH_MAX).
    TooDeep {
        /// Where the bound was passed.
        at: Position,
    },
    /// A setting that has a value gets another.
    Twice {
        /// Where it is given again.
        at: Position,
        /// Its name.
        name: String,
    },
    /// The text is meant to be JSON and is none.
    Json(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = |at: &Position| write!(f, "line {}, column {}: ", at.line, at.column);
        match self {
            Self::Syntax { at, expected } => {
                place(at)?;
                write!(f, "expected {expected}")
            }
            Self::TooDeep { at } => {
                place(at)?;
                write!(f, "nested deeper than {} levels", super::DEPTH_MAX)
            }
            Self::Twice { at, name } => {
                place(at)?;
                write!(f, "{:?} is given a second time", name.chars().take(ECHO_CHARS_MAX).collect::<String>())
            }
            Self::Json(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

//! What can be wrong with a filter, and how it is said.
//!
//! Every message begins with the words that Consul's clients look for. Positions are written as Consul writes them,
//! `line:column (offset)`. The HTTP status is not chosen here.

use std::fmt;

use crate::position::Position;

/// The words with which every message begins.
const PREFIX: &str = "Failed to create boolean expression evaluator";

/// How much of a remote text a message repeats, in characters.
const ECHO_CHARS_MAX: usize = 128;

/// Why a text is not a filter for the asked row type. No row was evaluated; the same text fails again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The text is longer than [`TEXT_BYTES_MAX`](super::TEXT_BYTES_MAX).
    TooLong {
        /// The length of the text, in bytes.
        bytes: usize,
    },
    /// Parentheses and `not`s are nested deeper than [`DEPTH_MAX`](super::DEPTH_MAX).
    TooDeep {
        /// Where the bound was passed.
        at: Position,
    },
    /// More patterns than [`PATTERNS_MAX`](super::PATTERNS_MAX).
    TooManyPatterns,
    /// The text does not follow the grammar.
    Syntax {
        /// Where reading stopped.
        at: Position,
        /// What would have been right there.
        expected: &'static str,
    },
    /// The rows have no such field.
    UnknownSelector {
        /// The selector as written, with its parts joined by dots.
        selector: String,
        /// The known selector that looks most like it.
        nearest: Option<String>,
    },
    /// The field exists but cannot be compared in this way.
    WrongOperator {
        /// The selector as written.
        selector: String,
        /// The operator as written.
        operator: &'static str,
        /// The operators that the field has.
        allowed: &'static str,
    },
    /// The value cannot be read as the kind of the field.
    WrongValue {
        /// The selector as written.
        selector: String,
        /// The value as written.
        value: String,
        /// What the field holds.
        kind: &'static str,
    },
    /// The value after `matches` is not a regular expression, or a too large one.
    BadPattern {
        /// The pattern as written.
        pattern: String,
        /// What the regular expression engine says about it.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}: ")?;
        match self {
            Self::TooLong { bytes } => {
                write!(f, "the expression is {bytes} bytes long, at most {} are accepted", super::TEXT_BYTES_MAX)
            }
            Self::TooDeep { at } => {
                write!(f, "{at}: nested deeper than {} levels", super::DEPTH_MAX)
            }
            Self::TooManyPatterns => write!(f, "more than {} \"matches\" comparisons", super::PATTERNS_MAX),
            Self::Syntax { at, expected } => write!(f, "{at}: no match found, expected {expected}"),
            Self::UnknownSelector { selector, nearest } => {
                write!(f, "Selector {:?} is not valid", echo(selector))?;
                match nearest {
                    Some(nearest) => write!(f, ", the nearest known one is {nearest:?}"),
                    None => Ok(()),
                }
            }
            Self::WrongOperator { selector, operator, allowed } => {
                write!(
                    f,
                    "Invalid match operator {operator:?} for selector {:?}, which takes {allowed}",
                    echo(selector)
                )
            }
            Self::WrongValue { selector, value, kind } => {
                write!(
                    f,
                    "Failed to coerce value {:?} for selector {:?}: it is not {kind}",
                    echo(value),
                    echo(selector)
                )
            }
            Self::BadPattern { pattern, reason } => {
                write!(f, "Failed to compile regular expression {:?}: {reason}", echo(pattern))
            }
        }
    }
}

impl std::error::Error for Error {}

/// Cuts remote text to a length fit for a message.
fn echo(text: &str) -> &str {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

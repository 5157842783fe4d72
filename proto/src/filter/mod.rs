//! Consul's `?filter=` language: text in, one decision per row out.
//!
//! A filter is read in three steps, one file each: `lexer` cuts the text, `parser` builds an [`Expression`] that
//! knows nothing of rows, and `bind` checks it against the [`Schema`] of one row type. An unknown field or a value of
//! the wrong kind is therefore an error even when there are no rows. What comes out, [`Filter`], answers yes or no
//! without allocating.
//!
//! Which types are rows, and what their fields are called, is in `rows`, and in [`shapes`] for rows that are judged by
//! their JSON. The HTTP routes of the control node and of
//! the sidecar call [`Filter::parse`] once a request. Every bound on remote text is a constant of this file.

mod bind;
mod error;
mod expression;
mod json;
mod lexer;
mod parser;
mod rows;
mod schema;
pub mod shapes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

pub use error::Error;
pub use expression::{Comparison, Expression, Literal, Operator, Selector};
pub use schema::{Field, Fields, Keyed, Kind, Leaf, Many, Schema, Value};
pub use shapes::{Document, Shape};

/// The longest accepted expression, in bytes.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// How many parentheses and `not`s may enclose one comparison; the parser and the evaluator recurse this deep.
pub const DEPTH_MAX: usize = 64;

/// How many `matches` comparisons one expression may hold; compiling a pattern is the dearest thing a filter asks
/// for.
pub const PATTERNS_MAX: usize = 16;

/// The largest compiled pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512 * 1024;

/// An expression bound to the row type `R`.
///
/// Cheap to evaluate, safe to share between threads; built once per request by [`Filter::parse`].
pub struct Filter<R: ?Sized> {
    test: bind::Test,
    rows: PhantomData<fn(&R)>,
}

impl<R: Fields> Filter<R> {
    /// Reads an expression and binds it to the fields of `R`. Empty text is the filter that keeps every row.
    ///
    /// # Errors
    ///
    /// [`Error`] when the text is not an expression, exceeds a bound of this module, names a field that `R` does not
    /// have, or compares a field in a way that its kind does not allow. Nothing was evaluated.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::all());
        }
        Self::bind(&Expression::parse(text)?)
    }

    /// Binds an expression that has been read already, so that one text can be applied to several row types.
    ///
    /// # Errors
    ///
    /// [`Error`] as for [`Filter::parse`], without the errors of syntax.
    pub fn bind(expression: &Expression) -> Result<Self, Error> {
        Ok(Self { test: bind::bind(expression, R::schema())?, rows: PhantomData })
    }

    /// Returns the filter that keeps every row.
    #[must_use]
    pub fn all() -> Self {
        Self { test: bind::Test::All(Vec::new()), rows: PhantomData }
    }

    /// Returns the filter that keeps no row.
    #[must_use]
    pub fn none() -> Self {
        Self { test: bind::Test::Any(Vec::new()), rows: PhantomData }
    }

    /// Says whether the row satisfies the expression.
    #[must_use]
    pub fn matches(&self, row: &R) -> bool {
        self.test.holds(row)
    }

    /// Says whether a row of any type with the same schema satisfies the expression: for rows that only borrow what they
    /// show, and so have a type of their own for each lifetime. With another schema the answer means nothing.
    #[must_use]
    pub fn matches_like(&self, row: &dyn Fields) -> bool {
        self.test.holds(row)
    }
}

impl<R: ?Sized> fmt::Debug for Filter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.test).finish()
    }
}

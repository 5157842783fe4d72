//! HCL, as configuration files, rules of access control and config entries are written in: read as the JSON that it
//! stands for.
//!
//! This is HCL 1, which Consul's users write (`hashicorp/hcl`, README, "Syntax"). It is not the HCL 2 of other tools: a
//! block or a setting need not end with its line, and blocks may stand inside the objects of lists. Nothing is evaluated:
//! `${…}` is text.
//!
//! `lexer` cuts the text into tokens, `reader` builds the value.

mod error;
mod lexer;
mod reader;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use error::Error;

/// How deep objects and lists may be nested.
pub const DEPTH_MAX: usize = 64;

/// Reads HCL, or JSON, which it tells by the brace that it begins with.
///
/// A block becomes an object under its name, and each label another object inside; objects of the same name and labels
/// become a list, whether they are written with an equal sign or without.
///
/// # Errors
/// What is wrong, and in which line and column. A setting that is given twice is refused: nobody can tell which one is
/// meant.
pub fn parse(text: &str) -> Result<Value, Error> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| Error::Json(error.to_string()));
    }
    reader::read(text)
}

//! The table of tables: the pages of conformance are made by the suites that find what they say; here they are read and
//! held against what a node says of its own interface.
//!
//! `endpoints` makes the last page, a row for each operation with what every other page has of it, and refuses one that
//! a page has left out. `pages` looks at the pages themselves: nothing on them is without a test that tells it.

mod endpoints;
mod pages;

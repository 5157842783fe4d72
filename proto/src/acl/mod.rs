//! Access control: its words, its rules, its rows.
//!
//! `words` says what can be protected and how far one may go, `rules` reads what a policy says, `authority` decides by the
//! rules of all policies of a caller, `rows` is what the registry keeps, `templates` writes the rules that identities stand
//! for. PURE: who a caller is, is found out elsewhere.

mod authority;
pub mod rows;
mod rules;
pub mod templates;
mod words;

pub use authority::{Authority, Fallback};
pub use rules::{Grant, InvalidRules, Label, RULES_MAX, Rule, RuleSet};
pub use words::{Level, Resource};

//! The registry's rules for calls: from config entries to what is to be done with one call.
//!
//! Pure. [`Entries`] holds the four kinds of entries that clients follow, [`compile`] turns what they say of one service into
//! [`Rules`], and [`Rules::choose`] answers for a call: which target, changed how, with which times and retries. Who
//! fetches entries is `call::follow`; who acts on the answer is `call::plan`.
//!
//! ```
//! use callboard::route::{CallView, Entries, compile};
//! use callboard_proto::config_entry::ConfigEntry;
//!
//! let entry = |text: &str| serde_json::from_str::<ConfigEntry>(text).unwrap();
//! let entries: Entries = [
//!     entry(r#"{"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"},
//!         "v2": {"Filter": "Service.Meta.version == v2"}}}"#),
//!     entry(r#"{"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 95, "ServiceSubset": "v1"},
//!         {"Weight": 5, "ServiceSubset": "v2"}]}"#),
//! ].into_iter().collect();
//! let rules = compile(&entries, "web", "").unwrap().unwrap();
//! let get = http::Request::get("/").body(()).unwrap();
//! let to_v2 = |turn: &u64| {
//!     let chosen = rules.choose(&CallView::of(&get), None, *turn);
//!     rules.targets()[chosen.target].subset.as_ref().unwrap().name() == "v2"
//! };
//! assert_eq!((0..1000).filter(to_v2).count(), 50);
//! ```

#[doc = include_str!("../../docs/rules.md")]
pub mod guide {}

mod change;
mod compile;
mod entries;
mod hash;
mod matcher;
mod retry;
mod rules;
mod split;
mod subset;
#[cfg(test)]
mod tests;

pub use change::{HeaderChanges, Rewrite};
pub use compile::{RuleError, compile};
pub use entries::Entries;
pub use hash::{Hashes, NewCookie, SourceAddress};
pub use matcher::{CallView, Matcher};
pub use rules::{Action, Algorithm, Chosen, Rules, Target};
pub use split::Split;
pub use subset::Subset;

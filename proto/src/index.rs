//! The registry's own counter, and the rules by which clients and servers use it.
//!
//! Every command that changes something moves the index by one. Readers quote the last index they
//! saw and wait until the answer may differ. Who calls it: the registry (to stamp rows), the HTTP
//! side (to answer) and the SDK (to decide what an answer means).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A place in the history of writes; it only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Index(pub u64);

impl Index {
    /// Before the first write.
    pub const ZERO: Index = Index(0);

    /// The next place in history.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The form in which an index crosses the wire: never 0, because clients treat 0 as an error.
    #[must_use]
    pub fn on_wire(self) -> Index {
        Index(self.0.max(1))
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Index {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Index, Self::Err> {
        // Go's ParseUint takes no sign; Rust's parser would accept a leading plus.
        let digits = text.strip_prefix('+').map_or(text, |_| "+");
        digits.parse().map(Index)
    }
}

/// How long a blocking read waits when the client names no time.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// The longest wait that is honoured.
pub const WAIT_MAX: Duration = Duration::from_secs(600);

/// The time a blocking read may wait: the client's wish within the bounds, plus a random share of up
/// to a sixteenth (so that many clients do not come back at once).
///
/// `dice` is any random word; the result never exceeds `wait + wait/16`, which clients allow for.
#[must_use]
pub fn wait_for(wish: Option<Duration>, dice: u64) -> Duration {
    wait_within(wish, WAIT_DEFAULT, WAIT_MAX, dice)
}

/// The same with bounds that an operator set.
#[must_use]
pub fn wait_within(wish: Option<Duration>, default: Duration, max: Duration, dice: u64) -> Duration {
    let wait = match wish {
        None | Some(Duration::ZERO) => default.min(max),
        Some(wish) => wish.min(max),
    };
    let spread = (wait / 16).as_nanos() as u64;
    wait + Duration::from_nanos(if spread == 0 { 0 } else { dice % (spread + 1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_index_is_never_zero_on_the_wire() {
        assert_eq!(Index(0).on_wire(), Index(1));
        assert_eq!(Index(7).on_wire(), Index(7));
    }

    #[test]
    fn signs_and_fractions_are_not_indexes() {
        for text in ["+1", "-1", "1.5", "", "abc", "18446744073709551616"] {
            assert!(text.parse::<Index>().is_err(), "{text}");
        }
        assert_eq!("18446744073709551615".parse(), Ok(Index(u64::MAX)));
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_a_sixteenth(millis in 1u64..700_000, dice: u64) {
            let wish = Duration::from_millis(millis);
            let wait = wait_for(Some(wish), dice);
            let bounded = wish.min(WAIT_MAX);
            prop_assert!(wait >= bounded && wait <= bounded + bounded / 16);
        }
    }

    #[test]
    fn no_wish_means_five_minutes() {
        assert_eq!(wait_for(None, 0), WAIT_DEFAULT);
        assert_eq!(wait_for(Some(Duration::ZERO), 0), WAIT_DEFAULT);
    }
}

//! What a contender for a key does next, given what it saw. Pure: no socket, no clock; the dice are an argument.
//!
//! A key that is free is tried. A try that fails although the key looked free means a lock delay, whose end is not news to
//! anybody, so it is tried again after a pause; or that another was faster, which is news. A try whose answer was lost may have
//! taken the lock, so the next look decides. Called by `mutex`.

use std::time::Duration;

use callboard_proto::api::kv::KvShown;

use crate::backoff::Backoff;

/// The pauses between tries during a lock delay, whose length the contender does not know.
const DELAYED: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(5) };

/// What a look at the key showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nobody holds it, or it does not exist.
    Free,
    /// This session holds it.
    Mine,
    /// Another session holds it.
    Held,
    /// It is used for something else: its flags are others.
    Foreign,
}

impl Sight {
    /// Reads a row.
    #[must_use]
    pub(super) fn of(row: Option<&KvShown>, session: &str, flags: u64) -> Self {
        match row {
            None => Sight::Free,
            Some(row) if *row.session == *session => Sight::Mine,
            Some(row) if row.flags != flags => Sight::Foreign,
            Some(row) if row.session.is_empty() => Sight::Free,
            Some(_) => Sight::Held,
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Try to take it.
    Try,
    /// Wait for news of the key.
    Wait,
    /// Wait for news of the key, but at most for so long; then try.
    Pause(Duration),
    /// It is held: read the token.
    Confirm,
    /// It cannot be used as a lock.
    Conflict,
}

/// Remembers the tries.
#[derive(Debug, Default)]
pub(super) struct Contender {
    refused: u32,
}

impl Contender {
    /// Decides what a look at the key means.
    pub(super) fn saw(&mut self, sight: Sight) -> Step {
        match sight {
            Sight::Free => Step::Try,
            Sight::Mine => Step::Confirm,
            Sight::Held => {
                self.refused = 0;
                Step::Wait
            }
            Sight::Foreign => Step::Conflict,
        }
    }

    /// Decides what the answer to a try means: taken, not taken, or none that came.
    pub(super) fn tried(&mut self, taken: Option<bool>, dice: u32) -> Step {
        if taken == Some(true) {
            return Step::Confirm;
        }
        self.refused = self.refused.saturating_add(1);
        Step::Pause(DELAYED.delay(self.refused, dice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(session: &str, flags: u64) -> KvShown {
        KvShown {
            lock_index: 1,
            key: "k".into(),
            flags,
            value: None,
            session: session.into(),
            create_index: callboard_proto::Index(1),
            modify_index: callboard_proto::Index(1),
        }
    }

    #[test]
    fn a_key_is_seen_for_what_it_is() {
        for (row, sight) in [
            (None, Sight::Free),
            (Some(row("", 7)), Sight::Free),
            (Some(row("me", 7)), Sight::Mine),
            (Some(row("other", 7)), Sight::Held),
            (Some(row("", 0)), Sight::Foreign),
            (Some(row("other", 0)), Sight::Foreign),
        ] {
            assert_eq!(Sight::of(row.as_ref(), "me", 7), sight, "{row:?}");
        }
    }

    #[test]
    fn a_lock_delay_is_waited_out_with_growing_pauses() {
        let mut contender = Contender::default();
        assert_eq!(contender.saw(Sight::Free), Step::Try);
        let pauses: Vec<Step> = (0..5).map(|_| contender.tried(Some(false), 0)).collect();
        let millis = [500, 1000, 2000, 4000, 5000].map(|pause| Step::Pause(Duration::from_millis(pause)));
        assert_eq!(pauses, millis);
        assert_eq!(contender.saw(Sight::Held), Step::Wait);
        assert_eq!(contender.tried(None, 0), millis[0], "somebody held it meanwhile");
        assert_eq!(contender.saw(Sight::Mine), Step::Confirm, "the lost answer was a yes");
    }
}

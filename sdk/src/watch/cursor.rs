//! What to ask next, given the last reply: the client's side of blocking queries, without a socket.
//!
//! The rules: an equal index means that nothing changed; a higher one is news; a lower one means that a
//! server lags or the registry lost its data, so nothing is published until the leader itself has been
//! asked; nor is an answer that takes nearly everybody away (`doubt`). An error changes nothing that is known: the index stays, the next question does not wait (the
//! server behind it may be another one), and the waits between tries grow. Called by `poll`.

use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::api::meta::ReadMeta;
use callboard_proto::api::query::Consistency;

use crate::backoff::Backoff;

/// Holds the settings of a cursor.
#[derive(Debug, Clone, Copy)]
pub struct CursorSettings {
    /// How long a server is asked to wait.
    pub wait: Duration,
    /// Whether any server may answer.
    pub stale: bool,
    /// The waits after failures.
    pub backoff: Backoff,
    /// The wait after the question was refused: nobody can answer it until somebody changes something.
    pub refused_pause: Duration,
}

/// Says what to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Wait until the index is past this one; none answers at once.
    pub index: Option<Index>,
    /// For how long to wait.
    pub wait: Option<Duration>,
    /// Who may answer.
    pub consistency: Consistency,
}

/// Tells what came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Rows, with what the headers said.
    Rows {
        /// The headers.
        meta: ReadMeta,
        /// Whether there was no row.
        empty: bool,
        /// Whether they take so many away that the leader must say so too, and its word be weighed.
        suspicious: bool,
    },
    /// No answer, a 5xx, a 429, or an answer that cannot be used (as one without an index).
    Failed,
    /// A 4xx: the question itself is wrong, or not allowed.
    Refused,
}

/// Says what to do with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Publish the rows.
    Publish,
    /// What is published was confirmed.
    Unchanged,
    /// Publish nothing, and ask the leader at once: the index went backwards, or nearly everybody is gone.
    Confirm,
    /// The leader itself says that nearly everybody is gone. [`Cursor::believe`] it and publish, or keep what is
    /// known and ask again: the leader, at once.
    Doubt,
    /// Publish nothing, and ask again after this time.
    Retry(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Wait for news.
    Follow,
    /// Ask at once: at the start, and after an error.
    Look,
    /// Ask the leader at once, and believe what it says.
    Confirm,
}

/// Remembers the place in history.
#[derive(Debug)]
pub struct Cursor {
    settings: CursorSettings,
    seen: Index,
    mode: Mode,
    failures: u32,
    // Whether indexes say what is newer, or only whether two answers are the same.
    ordered: bool,
}

impl Cursor {
    /// Builds a cursor that has seen nothing.
    #[must_use]
    pub fn new(settings: CursorSettings) -> Self {
        Self { settings, seen: Index::ZERO, mode: Mode::Look, failures: 0, ordered: true }
    }

    /// Builds a cursor over a pseudo index, as lists of events have: any other index is news.
    #[must_use]
    pub fn by_equality(settings: CursorSettings) -> Self {
        Self { ordered: false, ..Self::new(settings) }
    }

    /// Returns the index of what was published last.
    #[must_use]
    pub fn seen(&self) -> Index {
        self.seen
    }

    /// Returns the failures since the last usable reply.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns what to ask next.
    #[must_use]
    pub fn question(&self) -> Question {
        let usual = if self.settings.stale { Consistency::Stale } else { Consistency::Leader };
        match self.mode {
            Mode::Follow => Question { index: Some(self.seen), wait: Some(self.settings.wait), consistency: usual },
            Mode::Look => Question { index: None, wait: None, consistency: usual },
            Mode::Confirm => Question { index: None, wait: None, consistency: Consistency::Consistent },
        }
    }

    /// Decides what a reply means. `holding` says whether endpoints are published; `dice` is any random word.
    pub fn reply(&mut self, reply: Reply, holding: bool, dice: u32) -> Step {
        match reply {
            Reply::Failed => self.fail(dice),
            Reply::Refused => {
                self.failures = self.failures.saturating_add(1);
                self.look();
                let pause = self.settings.refused_pause;
                Step::Retry(pause - pause.mul_f64(0.25 * f64::from(dice) / f64::from(u32::MAX)))
            }
            Reply::Rows { meta, .. } if meta.index == Index::ZERO => self.fail(dice),
            // A server without a leader may have lost its rows, or never had them.
            Reply::Rows { meta, empty: true, .. } if holding && !meta.known_leader => self.fail(dice),
            Reply::Rows { meta, suspicious, .. }
                if ((self.ordered && meta.index < self.seen) || suspicious) && self.mode != Mode::Confirm =>
            {
                self.failures = 0;
                self.mode = Mode::Confirm;
                Step::Confirm
            }
            Reply::Rows { suspicious: true, .. } => {
                self.failures = 0;
                Step::Doubt
            }
            Reply::Rows { meta, .. } => {
                self.failures = 0;
                self.mode = Mode::Follow;
                if meta.index == self.seen {
                    return Step::Unchanged;
                }
                self.seen = meta.index;
                Step::Publish
            }
        }
    }

    /// Takes the answer that was doubted, of this index, for true.
    pub fn believe(&mut self, index: Index) {
        (self.seen, self.mode) = (index, Mode::Follow);
    }

    fn fail(&mut self, dice: u32) -> Step {
        self.failures = self.failures.saturating_add(1);
        self.look();
        Step::Retry(self.settings.backoff.delay(self.failures, dice))
    }

    fn look(&mut self) {
        // Whoever was about to ask the leader still has to.
        if self.mode == Mode::Follow {
            self.mode = Mode::Look;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor() -> Cursor {
        Cursor::new(CursorSettings {
            wait: Duration::from_secs(60),
            stale: true,
            backoff: Backoff::default(),
            refused_pause: Duration::from_secs(30),
        })
    }

    fn rows(index: u64) -> Reply {
        rows_of(index, true, false)
    }

    fn rows_of(index: u64, known_leader: bool, empty: bool) -> Reply {
        Reply::Rows { meta: meta(index, known_leader), empty, suspicious: false }
    }

    fn meta(index: u64, known_leader: bool) -> ReadMeta {
        ReadMeta { index: Index(index), known_leader, last_contact: Duration::ZERO, consistency: None }
    }

    fn loss(index: u64) -> Reply {
        Reply::Rows { meta: meta(index, true), empty: true, suspicious: true }
    }

    fn waits(cursor: &Cursor) -> Option<u64> {
        cursor.question().index.map(|index| index.0)
    }

    #[test]
    fn the_usual_life() {
        let mut cursor = cursor();
        assert_eq!(waits(&cursor), None, "the first question does not wait");
        assert_eq!(cursor.reply(rows(7), false, 0), Step::Publish);
        assert_eq!(waits(&cursor), Some(7));
        assert_eq!(cursor.question().consistency, Consistency::Stale);
        assert_eq!(cursor.reply(rows(7), true, 0), Step::Unchanged);
        assert_eq!(cursor.reply(rows(9), true, 0), Step::Publish);
        assert_eq!(waits(&cursor), Some(9));
    }

    #[test]
    fn errors_keep_the_index_and_ask_without_waiting() {
        let mut cursor = cursor();
        cursor.reply(rows(7), false, 0);
        assert_eq!(cursor.reply(Reply::Failed, true, 0), Step::Retry(Duration::from_millis(100)));
        assert_eq!(cursor.reply(Reply::Failed, true, 0), Step::Retry(Duration::from_millis(200)));
        assert_eq!((waits(&cursor), cursor.seen()), (None, Index(7)));
        assert_eq!(cursor.reply(rows(7), true, 0), Step::Unchanged);
        assert_eq!(cursor.reply(Reply::Failed, true, 0), Step::Retry(Duration::from_millis(100)));
        assert_eq!(cursor.reply(rows(0), true, 0), Step::Retry(Duration::from_millis(200)), "0 is an error");
        assert_eq!(cursor.reply(Reply::Refused, true, 0), Step::Retry(Duration::from_secs(30)));
    }

    #[test]
    fn an_index_that_goes_back_is_confirmed_by_the_leader() {
        let mut cursor = cursor();
        cursor.reply(rows(70), false, 0);
        assert_eq!(cursor.reply(rows(3), true, 0), Step::Confirm);
        assert_eq!(cursor.question(), Question { index: None, wait: None, consistency: Consistency::Consistent });
        assert_eq!(cursor.reply(Reply::Failed, true, 0), Step::Retry(Duration::from_millis(100)));
        assert_eq!(cursor.question().consistency, Consistency::Consistent, "an error does not make it forget");
        assert_eq!(cursor.reply(rows(3), true, 0), Step::Publish, "the data was lost indeed");
        assert_eq!(waits(&cursor), Some(3));
        assert_eq!(cursor.reply(rows(2), true, 0), Step::Confirm);
        assert_eq!(cursor.reply(rows(3), true, 0), Step::Unchanged, "it was a server that lagged");
    }

    #[test]
    fn a_pseudo_index_is_compared_for_equality_only() {
        let mut cursor = Cursor::by_equality(cursor().settings);
        assert_eq!(cursor.reply(rows(70), false, 0), Step::Publish);
        assert_eq!(cursor.reply(rows(3), true, 0), Step::Publish);
        assert_eq!(cursor.reply(rows(3), true, 0), Step::Unchanged);
        assert_eq!(waits(&cursor), Some(3));
    }

    #[test]
    fn nobody_leading_never_clears() {
        let mut cursor = cursor();
        cursor.reply(rows(7), false, 0);
        assert!(matches!(cursor.reply(rows_of(8, false, true), true, 0), Step::Retry(_)));
        assert_eq!(cursor.seen(), Index(7));
        assert_eq!(cursor.reply(rows_of(8, false, false), true, 0), Step::Publish, "rows are good from anybody");
        assert_eq!(cursor.reply(rows_of(9, true, true), true, 0), Step::Publish, "the leader may clear");
    }

    #[test]
    fn a_loss_is_told_by_the_leader_and_then_weighed() {
        let mut cursor = cursor();
        cursor.reply(rows(7), false, 0);
        assert_eq!(cursor.reply(loss(9), true, 0), Step::Confirm);
        assert_eq!(cursor.question().consistency, Consistency::Consistent);
        assert_eq!(cursor.reply(loss(9), true, 0), Step::Doubt);
        assert_eq!((cursor.seen(), waits(&cursor)), (Index(7), None), "what is doubted was not seen");
        assert_eq!(cursor.reply(rows(10), true, 0), Step::Publish, "they are back");
        assert_eq!(cursor.reply(loss(7), true, 0), Step::Confirm);
        assert_eq!(cursor.reply(loss(7), true, 0), Step::Doubt);
        cursor.believe(Index(7));
        assert_eq!((cursor.seen(), waits(&cursor)), (Index(7), Some(7)));
    }

    fn any_reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            6 => (0u64..20, any::<bool>(), any::<bool>()).prop_map(|(index, leader, empty)| rows_of(index, leader, empty)),
            1 => (1u64..20).prop_map(loss),
            1 => Just(Reply::Failed),
            1 => Just(Reply::Refused),
        ]
    }

    proptest! {
        /// A published snapshot is older than the one before it only if the leader itself said so.
        #[test]
        fn snapshot_never_older(replies in proptest::collection::vec((any_reply(), any::<u32>()), 0..60)) {
            let mut cursor = cursor();
            let mut published = Index::ZERO;
            for (reply, dice) in replies {
                let asked = cursor.question();
                let step = cursor.reply(reply, published > Index::ZERO, dice);
                let leader = asked.consistency == Consistency::Consistent && asked.index.is_none();
                prop_assert!(step != Step::Doubt || leader, "only what the leader said is weighed");
                if step == Step::Publish {
                    let Reply::Rows { meta, suspicious: false, .. } = reply else { panic!("only such are published") };
                    prop_assert!(meta.index > published || leader);
                    published = meta.index;
                }
                prop_assert_eq!(cursor.seen(), published);
                prop_assert!(cursor.question().index.is_none_or(|index| index == published && index > Index::ZERO));
            }
        }

        /// Whatever happens, there is a bound on how often is asked: errors wait, and only an index that moves back and
        /// forth makes a reply be followed at once.
        #[test]
        fn failures_wait_at_least_half_the_base(count in 1u32..50, dice: u32) {
            let mut cursor = cursor();
            for _ in 0..count {
                let Step::Retry(after) = cursor.reply(Reply::Failed, false, dice) else { panic!("an error retries") };
                prop_assert!(after >= Duration::from_millis(49) && after <= Duration::from_secs(15));
            }
        }
    }
}

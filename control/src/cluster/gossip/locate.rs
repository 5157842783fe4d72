//! Measures how long messages to other members take, and finds this node's place by that. PURE but for its dice.
//!
//! A question carries a token, its answer the same token and the place of whoever answers; what comes late, twice or
//! unasked is passed over. The task sends what is made here, and says what time it is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use callboard_proto::coordinate::Coordinate;
use serde::{Deserialize, Serialize};

use super::vivaldi::Vivaldi;

/// First byte of every message, so that a later format can be told apart.
const FORMAT: u8 = 1;
/// How many questions may wait for an answer; further ones are not asked.
const ASKED_MAX: usize = 64;
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Ask { token: u64 },
    Answer { token: u64, place: Coordinate },
}

/// What a message leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// This is to be sent back.
    Reply(Vec<u8>),
    /// This node is elsewhere than it believed.
    Moved(Coordinate),
    /// Nothing.
    Nothing,
}

/// Finds the place of this node.
pub(super) struct Locator {
    vivaldi: Vivaldi,
    /// Who was asked and when, by token.
    asked: HashMap<u64, (String, Instant)>,
    dice: fastrand::Rng,
}

impl Locator {
    pub(super) fn new(dice: fastrand::Rng) -> Locator {
        Locator { vivaldi: Vivaldi::default(), asked: HashMap::new(), dice }
    }

    /// A question for a member, which is sent now.
    pub(super) fn ask(&mut self, member: &str, now: Instant) -> Option<Vec<u8>> {
        self.asked.retain(|_, (_, at)| now.duration_since(*at) < ANSWER_MAX);
        if self.asked.len() >= ASKED_MAX {
            return None;
        }
        let token = self.dice.u64(..);
        self.asked.insert(token, (member.to_owned(), now));
        encode(&Message::Ask { token })
    }

    /// Hears what another member sent.
    pub(super) fn hear(&mut self, bytes: &[u8], now: Instant) -> Heard {
        let Some((&FORMAT, rest)) = bytes.split_first() else { return Heard::Nothing };
        match postcard::from_bytes(rest) {
            Ok(Message::Ask { token }) => {
                let answer = Message::Answer { token, place: *self.vivaldi.place() };
                encode(&answer).map_or(Heard::Nothing, Heard::Reply)
            }
            Ok(Message::Answer { token, place }) => {
                let Some((member, at)) = self.asked.remove(&token) else { return Heard::Nothing };
                self.vivaldi.measured(&member, &place, now.duration_since(at), &mut self.dice);
                Heard::Moved(*self.vivaldi.place())
            }
            Err(_) => Heard::Nothing,
        }
    }

    /// Forgets a member that is gone.
    pub(super) fn forget(&mut self, member: &str) {
        self.vivaldi.forget(member);
        self.asked.retain(|_, (asked, _)| asked != member);
    }
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    postcard::to_extend(message, vec![FORMAT]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator(seed: u64) -> Locator {
        Locator::new(fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn two_nodes_learn_how_far_they_are_apart() {
        let (mut one, mut two) = (locator(1), locator(2));
        let mut now = Instant::now();
        let rtt = Duration::from_millis(40);
        for _ in 0..100 {
            for turn in 0..2 {
                let (from, to) = if turn == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
                let ask = from.ask("other", now).expect("there is room");
                let Heard::Reply(answer) = to.hear(&ask, now + rtt / 2) else { panic!("no answer") };
                now += rtt;
                assert!(matches!(from.hear(&answer, now), Heard::Moved(_)));
                assert_eq!(from.hear(&answer, now), Heard::Nothing, "it came twice");
            }
        }
        let seconds = one.vivaldi.place().distance(two.vivaldi.place());
        assert!((seconds - 0.040).abs() < 0.004, "{seconds}");
    }

    #[test]
    fn what_was_not_asked_counts_for_nothing() {
        let mut one = locator(1);
        let now = Instant::now();
        let unasked = encode(&Message::Answer { token: 7, place: Coordinate::default() }).unwrap();
        assert_eq!(one.hear(&unasked, now), Heard::Nothing);
        for bytes in [&[][..], &[FORMAT], &[FORMAT, 9, 9], &[FORMAT + 1, 0, 7]] {
            assert_eq!(one.hear(bytes, now), Heard::Nothing);
        }
        assert_eq!(*one.vivaldi.place(), Coordinate::default());
    }

    #[test]
    fn questions_are_bounded_and_given_up() {
        let mut one = locator(1);
        let now = Instant::now();
        for n in 0..ASKED_MAX {
            assert!(one.ask(&n.to_string(), now).is_some());
        }
        assert!(one.ask("more", now).is_none());
        one.forget("0");
        assert!(one.ask("more", now).is_some());
        assert!(one.ask("later", now + ANSWER_MAX).is_some());
        assert_eq!(one.asked.len(), 1);
    }
}

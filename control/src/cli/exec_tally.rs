//! What is known of a program that runs elsewhere: which keys are news, what is printed of them, and how it ended. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::exec::{Part, Place};

/// A line without an end is printed in pieces of this many bytes.
const LINE_MAX: usize = 64 * 1024;

/// What a key says of whom that was not said before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct News {
    /// The node.
    pub(super) node: String,
    /// What it says.
    pub(super) part: Part,
}

/// Reads the keys below a place, again and again. Remembers so much of each node, not of each key.
#[derive(Debug)]
pub(super) struct Tree {
    place: Place,
    /// The last that each node said: nothing that comes before it is news.
    last: HashMap<String, Part>,
}

impl Tree {
    /// Begins where nothing was seen.
    pub(super) fn new(place: Place) -> Tree {
        Tree { place, last: HashMap::new() }
    }

    /// Returns what is new among all keys: of each node first that it took the job, then what it says in order, then the
    /// end.
    pub(super) fn news(&mut self, keys: &[String]) -> Vec<News> {
        let found = keys.iter().filter_map(|key| self.place.read(key));
        let is_news = |(node, part): &(&str, Part)| self.last.get(*node).is_none_or(|last| part > last);
        let mut news: Vec<News> =
            found.filter(is_news).map(|(node, part)| News { node: node.to_owned(), part }).collect();
        news.sort_unstable();
        self.last.extend(news.iter().map(|news| (news.node.clone(), news.part)));
        news
    }
}

/// Counts who took the job, and how it ended for each.
#[derive(Debug, Default)]
pub(super) struct Tally {
    acked: usize,
    ended: usize,
    failed: usize,
}

impl Tally {
    /// Notes that a node took the job.
    pub(super) fn acked(&mut self) {
        self.acked += 1;
    }

    /// Notes that the program ended on a node.
    pub(super) fn ended(&mut self, code: i64) {
        self.ended += 1;
        self.failed += usize::from(code != 0);
    }

    /// Returns for how long silence is borne: twice as long while somebody is known to be at it.
    pub(super) fn patience(&self, wait: Duration) -> Duration {
        if self.acked > self.ended { wait.saturating_mul(2) } else { wait }
    }

    /// Says whether the program ended well wherever it was begun.
    pub(super) fn is_well(&self) -> bool {
        self.failed == 0 && self.ended >= self.acked
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} / {} node(s) completed / acknowledged", self.ended, self.acked)
    }
}

/// Puts what nodes say into lines that begin with their names; a line is printed when it is whole.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: BTreeMap<String, Vec<u8>>,
}

impl Lines {
    /// Takes what a node says, and returns what is to be printed.
    pub(super) fn push(&mut self, node: &str, said: &[u8]) -> Vec<u8> {
        let line = self.begun.entry(node.to_owned()).or_default();
        line.extend_from_slice(said);
        let mut printed = Vec::new();
        while let Some(end) = line.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
            write(&mut printed, node, &line[..end]);
            line.drain(..=end);
        }
        while line.len() >= LINE_MAX {
            write(&mut printed, node, &line[..LINE_MAX]);
            line.drain(..LINE_MAX);
        }
        printed
    }

    /// Returns what a node began to say and did not end.
    pub(super) fn rest(&mut self, node: &str) -> Vec<u8> {
        let mut printed = Vec::new();
        if let Some(line) = self.begun.remove(node).filter(|line| !line.is_empty()) {
            write(&mut printed, node, &line);
        }
        printed
    }

    /// Returns what all nodes began to say and did not end.
    pub(super) fn rests(&mut self) -> Vec<u8> {
        let nodes: Vec<String> = self.begun.keys().cloned().collect();
        nodes.iter().flat_map(|node| self.rest(node)).collect()
    }
}

fn write(printed: &mut Vec<u8>, node: &str, line: &[u8]) {
    // As Consul's program prints it.
    printed.extend_from_slice(format!("    {node}: ").as_bytes());
    printed.extend_from_slice(line);
    printed.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exec::Call;

    fn place() -> Place {
        Call { prefix: "_rexec".to_owned(), session: "s".to_owned(), ..Call::default() }.place()
    }

    #[test]
    fn a_key_is_news_once_and_the_end_comes_last() {
        let place = place();
        let mut tree = Tree::new(place.clone());
        let keys = |parts: &[(&str, Part)]| {
            let mut keys: Vec<String> = parts.iter().map(|(node, part)| place.key(node, *part)).collect();
            keys.extend([place.job(), "other".to_owned()]);
            keys.sort();
            keys
        };
        let news = |parts: &[(&str, Part)]| -> Vec<News> {
            parts.iter().map(|(node, part)| News { node: (*node).to_owned(), part: *part }).collect()
        };
        let first = [("a", Part::Ack), ("b", Part::Ack), ("b", Part::Out(0))];
        assert_eq!(tree.news(&keys(&first)), news(&first));
        assert_eq!(tree.news(&keys(&first)), []);
        let more = [("a", Part::Out(0)), ("a", Part::Out(1)), ("a", Part::Exit), ("b", Part::Out(1))];
        assert_eq!(tree.news(&keys(&[&first[..], &more[..]].concat())), news(&more));
        let later = [("b", Part::Out(7)), ("c", Part::Ack)];
        assert_eq!(tree.news(&keys(&later)), news(&later), "a node may take away what was read");
        assert_eq!(tree.news(&keys(&[&more[..], &later[..]].concat())), []);
    }

    #[test]
    fn the_tally_says_how_it_went() {
        let second = Duration::from_secs(1);
        let mut tally = Tally::default();
        assert!(tally.is_well() && tally.patience(second) == second);
        tally.acked();
        assert!(!tally.is_well(), "it did not end");
        assert_eq!(tally.patience(second), 2 * second);
        tally.ended(0);
        assert!(tally.is_well() && tally.patience(second) == second);
        tally.acked();
        tally.ended(3);
        assert!(!tally.is_well());
        assert_eq!(tally.to_string(), "2 / 2 node(s) completed / acknowledged");
    }

    #[test]
    fn lines_are_told_whole_and_by_name() {
        let mut lines = Lines::default();
        let text = |printed: Vec<u8>| String::from_utf8(printed).unwrap();
        assert_eq!(text(lines.push("a", b"one\ntw")), "    a: one\n");
        assert_eq!(text(lines.push("b", b"x\n\ny\n")), "    b: x\n    b: \n    b: y\n");
        assert_eq!(text(lines.push("a", b"o\n")), "    a: two\n");
        assert_eq!(text(lines.push("a", b"end")), "");
        assert_eq!(text(lines.rest("a")), "    a: end\n");
        assert_eq!(text(lines.rest("a")), "");
        let _ = lines.push("c", b"left");
        assert_eq!(text(lines.rests()), "    c: left\n");
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_is_lost(said in "([a-z]{0,5}\n?){0,12}", cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(said.len())).collect();
            cuts.extend([0, said.len()]);
            cuts.sort_unstable();
            let mut lines = Lines::default();
            let mut printed = Vec::new();
            for pair in cuts.windows(2) {
                printed.extend(lines.push("n", &said.as_bytes()[pair[0]..pair[1]]));
            }
            printed.extend(lines.rests());
            let expect: String = said.lines().map(|line| format!("    n: {line}\n")).collect();
            prop_assert_eq!(String::from_utf8(printed).unwrap(), expect);
        }
    }
}

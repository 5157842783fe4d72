//! How much of what a check says is kept: the beginning of an answer, the end of a script's output.
//!
//! Pure. Outputs are bounded by the definition's `output_max`, in bytes; what is cut away is cut
//! between characters. Called by the probes and by the runner.

use std::collections::VecDeque;

/// Cuts a text to at most `max` bytes, between characters.
#[must_use]
pub fn clip(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Keeps the last bytes of a stream, and counts them all.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: VecDeque<u8>,
    max: usize,
    total: u64,
}

impl Tail {
    /// An empty stream of which at most `max` bytes will be kept.
    pub(crate) fn new(max: usize) -> Tail {
        Tail { kept: VecDeque::new(), max, total: 0 }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.max)..];
        let over = (self.kept.len() + bytes.len()).saturating_sub(self.max);
        self.kept.drain(..over);
        self.kept.extend(bytes);
    }

    /// The end of the stream as text; when some was cut away, a line before it says how much.
    pub(crate) fn into_text(self) -> String {
        let kept = self.kept.len();
        let cut = self.total > kept as u64;
        let mut bytes = Vec::from(self.kept);
        if cut {
            // The cut may have gone through a character: at most three bytes of one can be left over.
            let torn = bytes.iter().take(3).take_while(|byte| (*byte & 0xC0) == 0x80).count();
            bytes.drain(..torn);
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into());
        if cut { format!("Captured {kept} of {} bytes\n...\n{text}", self.total) } else { text }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tail(max: usize, parts: &[&str]) -> String {
        let mut tail = Tail::new(max);
        for part in parts {
            tail.push(part.as_bytes());
        }
        tail.into_text()
    }

    #[test]
    fn the_end_is_kept_and_the_cut_is_told() {
        assert_eq!(tail(4, &[]), "");
        assert_eq!(tail(4, &["ab", "cd"]), "abcd");
        assert_eq!(tail(4, &["ab", "cde"]), "Captured 4 of 5 bytes\n...\nbcde");
        assert_eq!(tail(4, &["abcdefgh"]), "Captured 4 of 8 bytes\n...\nefgh");
        assert_eq!(tail(2, &["aé!"]), "Captured 2 of 4 bytes\n...\n!");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(clip("aé".into(), 2), "a");
        assert_eq!(clip("aé".into(), 3), "aé");
        assert_eq!(clip("abc".into(), 0), "");
    }

    proptest! {
        #[test]
        fn the_tail_is_the_end_of_the_whole(parts in proptest::collection::vec("[a-z]{0,20}", 0..8), max in 1usize..40) {
            let whole = parts.concat();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let text = tail(max, &parts);
            let end = &whole[whole.len().saturating_sub(max)..];
            if whole.len() > max {
                prop_assert_eq!(text, format!("Captured {max} of {} bytes\n...\n{end}", whole.len()));
            } else {
                prop_assert_eq!(text, end);
            }
        }
    }
}

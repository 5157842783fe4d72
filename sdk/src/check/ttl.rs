//! The words of a check that waits for beats.
//!
//! Decides what a check says when no beat came in time. The deadlines themselves are kept by whoever
//! hears the beats: the leading control node, or the sidecar.

/// The output of a check whose time ran out; `last` is its output before that.
#[must_use]
pub fn expired(last: &str) -> String {
    if last.is_empty() {
        "TTL expired".into()
    } else {
        format!("TTL expired (last output before timeout follows): {last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_keeps_the_last_words() {
        assert_eq!(expired(""), "TTL expired");
        assert_eq!(expired("disk 91%"), "TTL expired (last output before timeout follows): disk 91%");
    }
}

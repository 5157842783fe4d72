//! Metadata as the text of TXT records (RFC 1464).

use crate::text::Meta;

/// Metadata keys with this prefix are published as the bare value.
const BARE_VALUE_PREFIX: &str = "rfc1035-";

/// Writes each pair as `key=value`, or as the value alone if the key says so.
pub(super) fn texts(meta: &Meta) -> impl Iterator<Item = String> {
    meta.iter().map(|(key, value)| {
        if key.starts_with(BARE_VALUE_PREFIX) { value.to_string() } else { format!("{}={value}", attribute(key)) }
    })
}

/// Quotes what would end or blur an attribute name: equals signs, backquotes, and blanks at its ends.
fn attribute(key: &str) -> String {
    let begin = key.len() - key.trim_start_matches([' ', '\t']).len();
    let end = key.trim_end_matches([' ', '\t']).len();
    let mut quoted = String::with_capacity(key.len());
    for (place, c) in key.char_indices() {
        if matches!(c, '=' | '`') || place < begin || place >= end {
            quoted.push('`');
        }
        quoted.push(c);
    }
    quoted
}

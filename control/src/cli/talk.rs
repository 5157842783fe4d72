//! What a command says: data to standard output, everything else to standard error.
//!
//! Decides how tables and JSON look. A reader that has read enough (`| head`) ends the command, without a complaint.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::failure::{Failure, Kind};

/// Writes data.
///
/// # Errors
/// When nobody takes it.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    if !write_if_read(bytes)? {
        std::process::exit(0);
    }
    Ok(())
}

/// Writes data; says whether anybody still reads. For those who have something to put in order at the end.
///
/// # Errors
/// When nobody takes it, for another reason than having read enough.
pub(super) fn write_if_read(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::because(Kind::Failed, "writing to standard output", &error)),
    }
}

/// Writes a line of data.
///
/// # Errors
/// As [`write`].
pub(super) fn say(line: impl AsRef<str>) -> Result<(), Failure> {
    write(format!("{}\n", line.as_ref()).as_bytes())
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As [`write`].
pub(super) fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    say(pretty(value)?)
}

/// Returns a value as indented JSON, as Consul's own program indents it.
pub(super) fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter));
    written.map_err(|error| Failure::because(Kind::Failed, "writing JSON", &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Says something to people.
#[allow(clippy::print_stderr, reason = "talk goes to standard error")]
pub(super) fn note(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// Says why a command failed.
pub(super) fn complain(failure: &Failure) {
    // Texts of Consul's that scripts look for say so themselves.
    let begins = failure.text.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("error"));
    let prefix = if begins { "" } else { "error: " };
    note(format!("{prefix}{}", failure.text));
    for cause in &failure.causes {
        note(format!("cause: {cause}"));
    }
    if let Some(hint) = &failure.hint {
        note(format!("hint: {hint}"));
    }
}

/// Lays rows out in columns, two spaces apart; the last is not padded.
pub(super) fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.as_ref().get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.as_ref().iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns the cells of a row.
pub(super) fn cells<T: ToString>(row: impl IntoIterator<Item = T>) -> Vec<String> {
    row.into_iter().map(|cell| cell.to_string()).collect()
}

/// Returns the text of a member of an object, of whatever type; nothing when it is missing.
pub(super) fn text(object: &Value, member: &str) -> String {
    match &object[member] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Returns the pairs of a map as `key=value`, sorted by key.
pub(super) fn pairs(map: &Value) -> String {
    let Some(map) = map.as_object() else { return String::new() };
    let mut pairs: Vec<String> =
        map.keys().map(|key| format!("{key}={}", text(&Value::Object(map.clone()), key))).collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_two_spaces_apart() {
        let rows = [cells(["Node", "Address", ""]), cells(["n1", "127.0.0.1:8301", "x"]), cells(["longer"])];
        assert_eq!(table(&rows), "Node    Address\nn1      127.0.0.1:8301  x\nlonger\n");
    }

    #[test]
    fn members_are_shown_whatever_they_are() {
        let value = serde_json::json!({"a": "x", "b": 1, "c": null, "m": {"k2": "v", "k1": 2}});
        assert_eq!((text(&value, "a"), text(&value, "b"), text(&value, "c")), ("x".into(), "1".into(), String::new()));
        assert_eq!(pairs(&value["m"]), "k1=2,k2=v");
        assert_eq!(pretty(&serde_json::json!({"a": [1]})).unwrap(), "{\n    \"a\": [\n        1\n    ]\n}");
    }
}

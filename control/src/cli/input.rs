//! What a command is given to read: words, files, standard input. Bounded.

use super::failure::{Failure, Kind};

/// The largest file or standard input that is read whole, in bytes.
const INPUT_MAX: u64 = 64 << 20;

/// Reads what a word of the command line stands for: `@FILE` a file, `-` standard input, all else itself.
pub(super) fn data(word: &str) -> Result<Vec<u8>, Failure> {
    match word.strip_prefix('@') {
        Some(path) => read_file(path),
        None if word == "-" => read_all("standard input", std::io::stdin().lock()),
        None => Ok(word.as_bytes().to_vec()),
    }
}

/// Reads a file, or standard input for `-`, as text.
pub(super) fn file_text(path: &str) -> Result<String, Failure> {
    let bytes = if path == "-" { data(path)? } else { read_file(path)? };
    String::from_utf8(bytes).map_err(|error| Failure::because(Kind::Usage, format!("{path} is not text"), &error))
}

fn read_file(path: &str) -> Result<Vec<u8>, Failure> {
    let open = std::fs::File::open(path);
    read_all(path, open.map_err(|error| Failure::because(Kind::Usage, format!("reading {path}"), &error))?)
}

fn read_all(what: &str, from: impl std::io::Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut from = std::io::Read::take(from, INPUT_MAX + 1);
    let read = std::io::Read::read_to_end(&mut from, &mut bytes);
    read.map_err(|error| Failure::because(Kind::Failed, format!("reading {what}"), &error))?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(Failure::usage(format!("{what} is longer than {INPUT_MAX} bytes")));
    }
    Ok(bytes)
}

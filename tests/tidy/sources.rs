//! What every source file has and what none may have: an opening that says what it decides, a bearable length,
//! and nothing that is only true on the machine where it was written.

use std::path::PathBuf;
use std::process::Command;

use callboard_tests::binaries::workspace;

/// Lines at which a file surely holds a second noun.
const LINES_MAX: usize = 600;

/// Words that belong to one machine or to how the work is organised, written in two halves so that this file
/// passes its own test.
const FOREIGN: [&str; 14] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp/", "brief"),
    concat!("../", "shared/"),
    concat!("Must", " show"),
    concat!("issues", " show"),
    concat!("issue", " #"),
    concat!("index.", "crates.io"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
    concat!("arti", "factory"),
    concat!("co-authored", "-by"),
];

#[test]
fn every_source_says_what_it_decides() {
    let silent: Vec<String> = sources("rs")
        .into_iter()
        // Code of the fuzzer's macro begins with its attribute.
        .filter(|(path, _)| !path.starts_with("tests/fuzz"))
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "these files do not begin with `//!`: {silent:#?}");
}

#[test]
fn no_source_is_too_long() {
    let long: Vec<String> = sources("rs")
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "look for the second noun in these: {long:#?}");
}

#[test]
fn nothing_of_one_machine_is_tracked() {
    let mut found = Vec::new();
    for (path, text) in sources("") {
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            for word in FOREIGN.iter().filter(|word| lower.contains(&word.to_lowercase())) {
                found.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_top_level_is_fixed() {
    const KNOWN: [&str; 14] = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "clippy.toml",
        "control",
        "deny.toml",
        "examples",
        "proto",
        "rustfmt.toml",
        "sdk",
        "sidecar",
        "tests",
    ];
    let strange: Vec<String> = tracked()
        .into_iter()
        .filter_map(|path| path.split('/').next().map(str::to_owned))
        .filter(|top| !top.starts_with('.') && !KNOWN.contains(&top.as_str()))
        .collect();
    assert!(strange.is_empty(), "the top level holds what its owner fixed; these are new: {strange:#?}");
}

/// The text files of the repository whose name ends so: path and text.
pub(crate) fn sources(extension: &str) -> Vec<(String, String)> {
    tracked()
        .into_iter()
        .filter(|path| extension.is_empty() || path.ends_with(&format!(".{extension}")))
        .filter_map(|path| {
            let text = std::fs::read_to_string(workspace().join(&path)).ok()?;
            Some((path, text))
        })
        .collect()
}

/// Every file that is tracked or would be if it were added.
fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .current_dir(workspace())
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .expect("git starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("our paths are text");
    said.split('\0')
        .filter(|path| !path.is_empty() && PathBuf::from(workspace()).join(path).is_file())
        .map(str::to_owned)
        .collect()
}

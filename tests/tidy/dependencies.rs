//! What may come into the tree: licences and sources, by the lists of `deny.toml`, so that the check also holds where
//! `cargo deny` is not installed. Advisories are only known to `cargo deny`.

use std::collections::BTreeSet;
use std::process::Command;

use callboard_tests::binaries::workspace;
use serde_json::Value;

/// The one registry, by the name that cargo writes into the lock file.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn licences_are_allowed() {
    let allowed = allowed();
    let mut refused = Vec::new();
    for package in metadata()["packages"].as_array().expect("metadata lists packages") {
        let licence = package["license"].as_str().unwrap_or("(none stated)");
        if !permits(licence, &allowed) {
            refused.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    assert!(refused.is_empty(), "deny.toml does not allow these licences: {refused:#?}");
}

#[test]
fn everything_comes_from_the_one_registry() {
    let mut strange = Vec::new();
    for package in metadata()["packages"].as_array().expect("metadata lists packages") {
        if package["source"].as_str().is_some_and(|source| source != REGISTRY) {
            strange.push(format!("{}: {}", package["name"], package["source"]));
        }
    }
    assert!(strange.is_empty(), "{strange:#?}");
}

#[test]
fn licence_expressions_are_read() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("ISC AND (MIT OR GPL-3.0)", true),
        ("(ISC OR MIT) AND GPL-3.0", false),
        ("GPL-3.0 WITH Some-exception OR ISC", true),
        ("(none stated)", false),
    ] {
        assert_eq!(permits(expression, &allowed), expected, "{expression}");
    }
}

/// What cargo says of the workspace and all it depends on.
pub(crate) fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace())
        .args(["metadata", "--format-version", "1", "--all-features"])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("metadata is JSON")
}

/// The licences of `deny.toml`.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace().join("deny.toml")).expect("deny.toml is there");
    let list = text.split_once("allow = [").and_then(|(_, rest)| rest.split_once("\n]")).expect("it lists licences").0;
    list.lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix("\","))
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be met with the allowed licences: `OR` (and the old `/`) is weaker than `AND`.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, allowed);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut licence = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        licence = format!("{licence} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&licence)
}

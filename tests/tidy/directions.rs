//! The arrows of the architecture, checked twice: between packages by `cargo metadata`, inside a package by what its
//! sources name. A rule here is a sentence of the architecture's "who may know whom".

use std::collections::BTreeSet;
use std::process::Command;

use callboard_tests::binaries::workspace;
use serde_json::Value;

use crate::sources::sources;

/// What of the workspace a package may use, outside its own tests.
const PACKAGES: [(&str, &[&str]); 5] = [
    ("callboard-proto", &[]),
    ("callboard", &["callboard-proto"]),
    ("callboard-sidecar", &["callboard", "callboard-proto"]),
    ("callboard-consensus", &[]),
    ("callboard-control", &["callboard", "callboard-proto", "callboard-consensus"]),
];

/// `(folder, allowed inside it, words)`: below the folder, no source but those under the allowed paths names a word.
const WORDS: [(&str, &[&str], &[&str]); 13] = [
    // The wire knows no runtime, no socket and no clock.
    (
        "proto/src/",
        &[],
        &["tokio", "hyper", "hickory", "std::net::Tcp", "std::net::Udp", "Instant::now", "SystemTime::now"],
    ),
    // One package names the engine of the log.
    ("", &["control/consensus/", "tests/tidy/"], &["openraft::", "redb::", "use openraft", "use redb"]),
    // The registry imports only proto.
    (
        "control/src/registry/",
        &[],
        &[
            "crate::cluster",
            "crate::watch",
            "crate::check",
            "crate::http",
            "crate::dns",
            "crate::config",
            "crate::server",
            "crate::cli",
            "callboard_consensus",
            "tokio",
            "hyper",
            "Instant::now",
            "SystemTime::now",
            "fastrand",
        ],
    ),
    // Readers of the registry never see the log.
    ("control/src/http/", &[], &["callboard_consensus", "crate::server", "crate::cli", "crate::dns"]),
    ("control/src/dns/", &[], &["callboard_consensus", "crate::server", "crate::cli", "crate::http", "crate::console"]),
    ("control/src/cluster/", &[], &["crate::http", "crate::dns", "crate::server", "crate::cli", "crate::check"]),
    ("control/src/check/", &[], &["crate::http", "crate::dns", "crate::server", "crate::cli", "callboard_consensus"]),
    // What runs programs for others writes as everybody does, and knows no front door.
    ("control/src/exec/", &[], &["crate::http", "crate::dns", "crate::server", "crate::cli", "callboard_consensus"]),
    // A token is found by the hash of a secret, which is made in one place: no text of a secret is compared.
    ("control/src/", &["control/src/acl/secret.rs", "control/src/registry/tests/"], &["SecretHash("]),
    (
        "control/src/",
        &["control/src/acl/resolver.rs", "control/src/http/acl_token.rs", "control/src/registry/"],
        &["acl_token_of("],
    ),
    // Choosing knows nothing of how the news arrived.
    (
        "sdk/src/balance/",
        &[],
        &["crate::http", "crate::watch", "crate::registration", "tokio", "hyper", "Instant::now"],
    ),
    ("sdk/src/", &[], &["callboard_control", "callboard_sidecar"]),
    ("sidecar/src/", &[], &["callboard_control"]),
];

#[test]
fn packages_know_only_whom_they_may() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    for (name, allowed) in PACKAGES {
        let package = packages
            .iter()
            .find(|package| package["name"] == name)
            .unwrap_or_else(|| panic!("the workspace has a package {name}"));
        let known: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .expect("a package lists dependencies")
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|known| known.starts_with("callboard"))
            .collect();
        let surplus: Vec<&&str> = known.iter().filter(|known| !allowed.contains(*known)).collect();
        assert!(surplus.is_empty(), "{name} must not know {surplus:?}");
    }
}

#[test]
fn sources_name_only_whom_they_may() {
    let sources = sources("rs");
    let mut found = Vec::new();
    for (folder, allowed, words) in WORDS {
        for (path, text) in &sources {
            let excused = allowed.iter().any(|prefix| path.starts_with(prefix)) || is_test(path);
            if !path.starts_with(folder) || excused {
                continue;
            }
            for (number, line) in code_lines(text) {
                for word in words.iter().filter(|word| line.contains(**word)) {
                    found.push(format!("{path}:{number} names {word}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_imports_server_main_or_cli() {
    let mut found = Vec::new();
    for (path, text) in sources("rs") {
        for package in ["control/src/", "sidecar/src/"] {
            let Some(inside) = path.strip_prefix(package) else { continue };
            // The line runs main → cli → server; beside it nobody looks up.
            if ["main.rs", "lib.rs", "server.rs"].contains(&inside)
                || inside.starts_with("cli")
                || inside.starts_with("server/")
            {
                continue;
            }
            for (number, line) in code_lines(&text) {
                if ["crate::server", "crate::cli", "crate::main"].iter().any(|word| line.contains(word)) {
                    found.push(format!("{path}:{number}: {}", line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn configuration_stops_at_constructors() {
    let found: Vec<String> = sources("rs")
        .into_iter()
        .filter(|(path, _)| path.starts_with("control/src/"))
        .filter(|(path, _)| {
            let inside = &path["control/src/".len()..];
            // What `server` is made of: it binds, opens the log file, hands settings on, and reads them again.
            let parts = ["main.rs", "lib.rs", "server.rs", "listen.rs", "log_file.rs", "settings.rs", "reload.rs"];
            !parts.contains(&inside)
                && !["config.rs", "error.rs"].contains(&inside)
                && !["cli", "config/", "server/"].iter().any(|prefix| inside.starts_with(prefix))
        })
        .filter(|(_, text)| code_lines(text).any(|(_, line)| line.contains("crate::config")))
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "these see the configuration: {found:#?}");
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/benches/")
}

/// The lines of code with their numbers: no comments, and nothing from the unit tests on, which close a file.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// What cargo says of the workspace and all it depends on.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace())
        .args(["metadata", "--format-version", "1", "--all-features"])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("metadata is JSON")
}

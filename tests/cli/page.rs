//! The page of the command line: every command that the program offers, a few forms of each in one story on one node,
//! with the exit code and the first line that was shown. What only that run knows, ids and numbers, is left out.

use std::process::Command;

use callboard_tests::binaries;
use callboard_tests::conformance::Section;
use callboard_tests::node::{MANAGEMENT, Node};

use crate::run::{Ended, command, ended};

/// A line, and before it the name under which the first id that it shows is kept for later lines. `{…}` stands for such
/// an id, and `{folder}` for a folder of the test's own.
const STORY: &[(&str, &str)] = &[
    ("", "version"),
    ("", "consul version"),
    ("", "validate {folder}/agent.hcl"),
    ("", "validate {folder}/nothing.hcl"),
    ("", "completion bash"),
    ("", "completion tcsh"),
    ("", "exec -wait=1s uptime"),
    ("", "exec -tag=v1 uptime"),
    ("", "keygen"),
    ("", "members"),
    ("", "members -status=failed"),
    ("", "info"),
    ("", "reload"),
    ("", "join 127.0.0.1:1"),
    ("", "force-leave nobody"),
    ("", "keyring -list"),
    ("", "event -name deploy v1"),
    ("", "event"),
    ("", "maint -enable -reason upgrade"),
    ("", "maint -disable"),
    ("", "rtt nobody"),
    ("", "debug -duration=1s -interval=1s -capture=agent -output={folder}/bundle"),
    ("", "debug -duration=1h -interval=1ms"),
    ("", "kv put a/b hello"),
    ("", "kv put -cas -modify-index=1 a/b other"),
    ("", "kv get a/b"),
    ("", "kv get -keys a/"),
    ("", "kv get -recurse a/"),
    ("", "kv get nothing"),
    ("", "kv export a/"),
    ("", "kv import @{folder}/nothing.json"),
    ("", "kv delete a/b"),
    ("", "services register -name web -port 80"),
    ("", "catalog datacenters"),
    ("", "catalog nodes"),
    ("", "catalog nodes -service web"),
    ("", "catalog services -tags"),
    ("", "watch -type services"),
    ("", "watch -type key"),
    ("", "services export -name web -consumer-peers other"),
    ("", "services deregister -id web"),
    ("", "services deregister -id web"),
    ("session", "session create -name mine -ttl 30s"),
    ("", "session list"),
    ("", "session renew {session}"),
    ("", "session destroy {session}"),
    ("", "session renew {session}"),
    ("", "lock jobs 'echo held'"),
    ("", "config write {folder}/defaults.hcl"),
    ("", "config list -kind service-defaults"),
    ("", "config read -kind service-defaults -name web"),
    ("", "config delete -kind service-defaults -name web"),
    ("", "config read -kind service-defaults -name web"),
    ("", "intention create -allow web db"),
    ("", "intention create -deny web db"),
    ("", "intention check web db"),
    ("", "intention get web db"),
    ("", "intention list"),
    ("", "intention match db"),
    ("", "intention delete web db"),
    ("", "connect ca get-config"),
    ("", "connect ca set-config -config-file {folder}/nothing.json"),
    ("", "operator usage instances"),
    ("", "operator raft list-peers"),
    ("", "operator raft remove-peer -id 00000000-0000-4000-8000-000000000000"),
    ("", "operator raft transfer-leader"),
    ("", "operator autopilot get-config"),
    ("", "operator autopilot set-config -min-quorum=1"),
    ("", "operator autopilot state"),
    ("", "snapshot save {folder}/snap"),
    ("", "snapshot inspect {folder}/snap"),
    ("", "snapshot restore {folder}/snap"),
    ("", "snapshot inspect {folder}/agent.hcl"),
    ("", "export {folder}/all.json"),
    ("", "import {folder}/all.json -dry-run"),
    ("", "import {folder}/nothing.json"),
    ("", "tls ca create"),
    ("", "tls ca create"),
    ("", "tls cert create -server"),
    ("", "tls cert create -client -ca {folder}/nothing.pem"),
    ("", "acl bootstrap"),
    ("", "acl policy create -name reads -rules 'key_prefix \"\" { policy = \"read\" }'"),
    ("", "acl policy create -name reads"),
    ("", "acl policy read -name reads"),
    ("", "acl policy update -name reads -description changed"),
    ("", "acl policy list"),
    ("", "acl role create -name people -policy-name reads"),
    ("", "acl role read -name people"),
    ("", "acl role update -name people -description changed"),
    ("", "acl role list"),
    ("token", "acl token create -description robot -role-name people"),
    ("", "acl token read -accessor-id {token}"),
    ("", "acl token read -self"),
    ("", "acl token update -accessor-id {token} -description changed"),
    ("", "acl token clone -accessor-id {token}"),
    ("", "acl token list"),
    ("", "acl token delete -accessor-id {token}"),
    ("", "acl auth-method create -name sso -type oidc"),
    ("", "acl auth-method read -name sso"),
    ("", "acl auth-method update -name sso -description changed"),
    ("", "acl auth-method list"),
    ("rule", "acl binding-rule create -method sso -bind-type role -bind-name people"),
    ("", "acl binding-rule read -id {rule}"),
    ("", "acl binding-rule update -id {rule} -description changed"),
    ("", "acl binding-rule list"),
    ("", "acl binding-rule delete -id {rule}"),
    ("", "acl auth-method delete -name sso"),
    ("", "acl role delete -name people"),
    ("", "acl policy delete -name reads"),
    ("", "acl templated-policy list"),
    ("", "acl templated-policy read -name builtin/service"),
    ("", "acl templated-policy preview -name builtin/service -var name:web"),
    ("", "acl set-agent-token default ''"),
    ("", "login -method none -bearer-token-file {folder}/agent.hcl -token-sink-file {folder}/sink"),
    ("", "logout"),
    ("", "leave"),
];

/// Commands that have no end of their own, and where they are shown.
const WITHOUT_END: [&str; 2] = ["agent", "monitor"];

/// The names of all commands, `kv get` and the like, by what the program says of itself.
fn offered() -> Vec<String> {
    let (mut open, mut all) = (vec![Vec::<String>::new()], Vec::new());
    while let Some(names) = open.pop() {
        let output = Command::new(binaries::control()).args(&names).arg("--help").output().expect("the program starts");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let below: Vec<&str> =
            listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
        if below.is_empty() {
            all.push(names.join(" "));
        }
        open.extend(below.into_iter().map(|name| [&names[..], &[name.to_owned()]].concat()));
    }
    all.sort();
    all
}

/// The command that a line begins with.
fn named<'a>(offered: &'a [String], line: &str) -> Option<&'a str> {
    let line = line.strip_prefix("consul ").unwrap_or(line);
    let fits = |name: &&String| line == **name || line.starts_with(&format!("{name} "));
    offered.iter().find(fits).map(String::as_str)
}

/// The first thing that a command showed, without what only this run knows.
fn shown(found: &Ended, folder: &str) -> String {
    // What goes well and shows nothing may have told people how far it was.
    let text = match (found.stdout.trim(), found.code) {
        ("", 0) => "",
        ("", _) => &found.stderr,
        (text, _) => text,
    };
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    let line = line.replace(folder, "{folder}");
    // Ids, and keys.
    let is_own = |word: &str| id(word).is_some() || word.len() == 44 && word.ends_with('=');
    let ids = line.split(' ').map(|word| if is_own(word) { "…" } else { word }).collect::<Vec<_>>().join(" ");
    let mut plain = String::new();
    for letter in ids.chars() {
        match letter {
            '0'..='9' if plain.ends_with('…') => {}
            '0'..='9' => plain.push('…'),
            letter => plain.push(letter),
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A UUID in a text.
fn id(text: &str) -> Option<&str> {
    let fits = |part: &&str| {
        part.len() == 36
            && part.bytes().enumerate().all(|(place, byte)| match place {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    };
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').find(fits)
}

#[test]
fn every_command_is_on_the_page() {
    let acl =
        format!(r#"acl {{ enabled = true default_policy = "deny" tokens {{ initial_management = "{MANAGEMENT}" }} }}"#);
    let node = Node::dev_with(&["-hcl", &acl]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().display().to_string();
    for (name, text) in [
        ("agent.hcl", "node_name = \"n1\"\ndata_dir = \"/tmp\"\n"),
        ("defaults.hcl", "Kind = \"service-defaults\"\nName = \"web\"\nProtocol = \"http\"\n"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let offered = offered();
    assert!(offered.len() > 60, "the program tells its commands: {offered:?}");
    let mut page =
        Section::new("command-line", "What each command shows", &["Command", "Line", "Exit code", "Shows first"]);
    let mut ids = vec![("folder", path.clone())];
    let mut left: Vec<&str> = offered.iter().map(String::as_str).filter(|name| !WITHOUT_END.contains(name)).collect();
    for (keep, line) in STORY {
        let name = named(&offered, line).unwrap_or_else(|| panic!("{line} begins with no command"));
        left.retain(|other| *other != name);
        let filled = ids.iter().fold((*line).to_owned(), |line, (name, id)| line.replace(&format!("{{{name}}}"), id));
        let found = ended(command(&node, &filled).current_dir(folder.path()).env("CONSUL_HTTP_TOKEN", MANAGEMENT));
        if !keep.is_empty() {
            ids.push((keep, id(&found.stdout).unwrap_or_else(|| panic!("{line} shows no id: {found:?}")).to_owned()));
        }
        page.row([name, &format!("`{line}`"), &found.code.to_string(), &shown(&found, &path)]);
    }
    assert!(left.is_empty(), "nobody tells what these show: {left:?}");
    page.hold();
}

#[test]
fn what_only_a_run_knows_is_left_out() {
    let found = |code, stdout: &str| Ended { code, stdout: stdout.to_owned(), stderr: "else".to_owned() };
    let check = |text: &str, expect: &str| assert_eq!(shown(&found(0, text), "/tmp/x1"), expect);
    check("\nID:  0b2c1d3e-0000-4000-8000-00000000abcd\nmore", "ID: …");
    check("Saved to /tmp/x1/snap at index 17, 20.5 ms", "Saved to {folder}/snap at index …, ….… ms");
    check(" \n", "nothing");
    assert_eq!(shown(&found(1, " \n"), "/tmp/x1"), "else");
}

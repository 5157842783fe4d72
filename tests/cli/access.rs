//! Access control from the command line: the first token, rules, roles, and logging in with what others vouch for.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use callboard_tests::node::{MANAGEMENT, Node};
use callboard_tests::{needs, wait};
use serde_json::Value;

use crate::run::{Ended, LONG, agent, command, command_at, ended};

/// A node that denies unless told otherwise.
fn managed() -> Node {
    let acl =
        format!(r#"acl {{ enabled = true default_policy = "deny" tokens {{ initial_management = "{MANAGEMENT}" }} }}"#);
    Node::dev_with(&["-hcl", &acl])
}

/// Runs a line as the holder of a token.
fn run_as(node: &Node, token: &str, line: &str) -> Ended {
    ended(command(node, line).env("CONSUL_HTTP_TOKEN", token))
}

/// Runs a line that must succeed as whoever may do everything, and returns what it printed.
#[track_caller]
fn managing(node: &Node, line: &str) -> String {
    let found = run_as(node, MANAGEMENT, line);
    assert_eq!(found.code, 0, "{line}: {}", found.stderr);
    found.stdout
}

#[track_caller]
fn json(node: &Node, line: &str) -> Value {
    let printed = managing(node, &format!("{line} -format=json"));
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{line}: {error} in {printed}"))
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

/// The value of a line `Name:   value`.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {text}")).trim().to_owned()
}

#[test]
fn the_first_token_is_made_once_and_may_do_everything() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let acl = r#"acl { enabled = true default_policy = "deny" }"#;
    let (_process, at) = agent(folder.path(), "n1", &["-server", "-bootstrap", "-hcl", acl]);
    let line = |token: &str, line: &str| ended(command_at(&at, line).env("CONSUL_HTTP_TOKEN", token));
    let mut made = line("", "acl bootstrap");
    wait::until_true("a leader", LONG, || {
        let leaderless = made.stderr.contains("No cluster leader") || made.stderr.contains("ACL system");
        if made.code != 0 && leaderless {
            made = line("", "acl bootstrap");
        }
        made.code == 0 || !leaderless
    });
    assert_eq!(made.code, 0, "{}", made.stderr);
    holds(&made.stdout, &["Bootstrap Token (Global Management)", "global-management"]);
    let secret = field(&made.stdout, "SecretID");
    let done = line(&secret, "kv put a b");
    assert_eq!((done.code, done.stdout.as_str()), (0, "Success! Data written to: a\n"), "{}", done.stderr);
    let denied = line("", "kv put a b");
    assert!(denied.code == 4 && denied.stderr.contains("Permission denied"), "{denied:?}");
    let again = line(&secret, "acl bootstrap");
    assert!(again.code == 4 && again.stderr.contains("no longer allowed (reset index:"), "{again:?}");
}

#[test]
fn policies_are_made_read_changed_and_deleted() {
    let node = managed();
    let made = managing(
        &node,
        r#"acl policy create -name agents -description 'for agents' -rules 'node_prefix "" { policy = "write" } service_prefix "" { policy = "read" }'"#,
    );
    holds(&made, &["agents", "for agents", "node_prefix"]);
    let id = field(&made, "ID");
    assert_eq!(managing(&node, "acl policy read -name agents"), managing(&node, &format!("acl policy read -id {id}")));
    // An id may be cut short as long as it is the only one.
    assert_eq!(json(&node, &format!("acl policy read -id {}", &id[..8]))["ID"], id);
    let listed = json(&node, "acl policy list");
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|row| row["Name"].clone()).collect();
    assert_eq!(names.len(), 3, "with the two that are always there: {names:?}");
    managing(&node, r#"acl policy update -name agents -rules 'node_prefix "" { policy = "read" }'"#);
    let read = json(&node, "acl policy read -name agents");
    assert_eq!(
        (&read["Description"], &read["Rules"]),
        (&"for agents".into(), &r#"node_prefix "" { policy = "read" }"#.into())
    );
    let wrong = run_as(&node, MANAGEMENT, r#"acl policy create -name x -rules 'wings "" { policy = "read" }'"#);
    assert!(wrong.code == 1 && wrong.stderr.contains("wings"), "{wrong:?}");
    holds(&managing(&node, "acl policy delete -name agents"), &["deleted successfully"]);
    assert_eq!(run_as(&node, MANAGEMENT, "acl policy read -name agents").code, 4);
}

#[test]
fn tokens_do_what_their_links_say() {
    let node = managed();
    managing(&node, r#"acl policy create -name keys -rules 'key_prefix "app/" { policy = "write" }'"#);
    let role = managing(&node, "acl role create -name app -description people -policy-name keys -service-identity web");
    holds(&role, &["app", "people", "keys", "web"]);
    let made = json(&node, "acl token create -description one -role-name app");
    let (accessor, secret) =
        (made["AccessorID"].as_str().expect("an id"), made["SecretID"].as_str().expect("a secret"));
    assert_eq!(run_as(&node, secret, "kv put app/x 1").code, 0);
    let denied = run_as(&node, secret, "kv put other 1");
    assert!(denied.code == 4 && denied.stderr.contains("key"), "{denied:?}");
    assert_eq!(run_as(&node, secret, "services register -name web").code, 0);
    holds(&managing(&node, &format!("acl token read -accessor-id {accessor}")), &["one", "app"]);
    // Without a list of its own, what it had stays.
    managing(
        &node,
        &format!("acl token update -accessor-id {accessor} -description two -append-policy-name global-management"),
    );
    let changed = json(&node, &format!("acl token read -accessor-id {accessor}"));
    assert_eq!((&changed["Description"], &changed["Roles"][0]["Name"]), (&"two".into(), &"app".into()), "{changed}");
    assert_eq!(run_as(&node, secret, "kv put other 1").code, 0);
    let cloned = json(&node, &format!("acl token clone -accessor-id {accessor} -description three"));
    assert_ne!(cloned["AccessorID"], made["AccessorID"]);
    assert_eq!(run_as(&node, cloned["SecretID"].as_str().expect("a secret"), "kv put other 2").code, 0);
    assert_eq!(json(&node, "acl token list").as_array().map(Vec::len), Some(4), "with anonymous and the first");
    managing(&node, &format!("acl token delete -accessor-id {accessor}"));
    assert_eq!(run_as(&node, secret, "kv get app/x").code, 4);
    managing(&node, "acl role delete -name app");
    assert_eq!(json(&node, "acl role list").as_array().map(Vec::len), Some(0));
}

#[test]
fn a_token_ends_when_it_was_said_to() {
    let node = managed();
    let made = json(&node, "acl token create -expires-ttl 1h -local");
    assert_eq!(made["Local"], true);
    assert!(made["ExpirationTime"].as_str().is_some_and(|time| time.contains('T')), "{made}");
    let wrong = run_as(&node, MANAGEMENT, "acl token create -expires-ttl soon");
    assert!(wrong.code == 1 && wrong.stderr.contains("ExpirationTTL"), "{wrong:?}");
}

#[test]
fn whoever_is_vouched_for_logs_in_and_out() {
    let Some(program) = needs::program("openssl") else { return };
    let node = managed();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |words: &[&str]| {
        let output = Command::new(&program).args(words).output().expect("openssl runs");
        assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    openssl(&["genrsa", "-out", &file("key"), "2048"]);
    let public = String::from_utf8(openssl(&["rsa", "-in", &file("key"), "-pubout"])).expect("PEM is text");
    let config = serde_json::json!({
        "JWTValidationPubKeys": [public], "BoundIssuer": "house", "ClaimMappings": {"team": "team"},
    });
    std::fs::write(file("config"), config.to_string()).expect("it can be written");
    let made = managing(
        &node,
        &format!("acl auth-method create -name house -type jwt -max-token-ttl 10m -config @{}", file("config")),
    );
    holds(&made, &["house", "jwt"]);
    let rule = "acl binding-rule create -method house -bind-type service -bind-name '${value.team}' -selector 'value.team == \"web\"'";
    holds(&managing(&node, rule), &["house", "value.team"]);
    std::fs::write(file("proof"), proof(&openssl, &file, "web")).expect("it can be written");
    let login = |proof: &str, sink: &str| {
        let line = format!("login -method house -bearer-token-file {} -token-sink-file {}", file(proof), file(sink));
        ended(&mut command(&node, &line))
    };
    let done = login("proof", "sink");
    assert_eq!(done.code, 0, "{}", done.stderr);
    let sink = std::fs::read_to_string(file("sink")).expect("it was written");
    let mode = std::fs::metadata(file("sink")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "a secret is for its owner only: {mode:o}");
    assert_eq!(run_as(&node, sink.trim(), "services register -name web").code, 0);
    assert_eq!(run_as(&node, sink.trim(), "services register -name other").code, 4);
    assert_eq!(run_as(&node, sink.trim(), "logout").code, 0);
    assert_eq!(run_as(&node, sink.trim(), "services register -name web").code, 4);
    // Someone else of the same house, whom no rule is about.
    std::fs::write(file("stranger"), proof(&openssl, &file, "db")).expect("it can be written");
    let refused = login("stranger", "none");
    assert!(refused.code == 4 && !std::path::Path::new(&file("none")).exists(), "{refused:?}");
    managing(&node, "acl auth-method delete -name house");
    assert_eq!(json(&node, "acl binding-rule list").as_array().map(Vec::len), Some(0), "its rules went with it");
}

/// A JWT that says of whom it is (RFC 7519), signed with RS256.
fn proof(openssl: &dyn Fn(&[&str]) -> Vec<u8>, file: &dyn Fn(&str) -> String, team: &str) -> String {
    let encode = |bytes: &[u8]| {
        std::fs::write(file("plain"), bytes).expect("it can be written");
        let text = String::from_utf8(openssl(&["base64", "-A", "-in", &file("plain")])).expect("base64 is text");
        text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_")
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = serde_json::json!({"iss": "house", "sub": "me", "team": team, "iat": now, "exp": now + 600});
    let signed = format!("{}.{}", encode(br#"{"alg":"RS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    std::fs::write(file("signed"), &signed).expect("it can be written");
    let signature = openssl(&["dgst", "-sha256", "-sign", &file("key"), &file("signed")]);
    format!("{signed}.{}", encode(&signature))
}

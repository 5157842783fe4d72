//! One command run to its end against a node: its exit code and what it printed.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use callboard_tests::binaries;
use callboard_tests::node::{Node, addresses};
use callboard_tests::process::Process;

/// What a command ended with.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it said to people.
    pub(crate) stderr: String,
}

/// Splits a line into words at blanks; `'…'` is one word.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            letter => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Far beyond anything that should happen.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Starts an agent with these flags whatever becomes of it; returns its address, too.
pub(crate) fn agent(folder: &Path, name: &str, flags: &[&str]) -> (Process, String) {
    let mut command = Command::new(binaries::control());
    command.args(["agent", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-node", name, "-data-dir"]).arg(folder);
    command.args(["-http-port", "0", "-dns-port", "-1", "-server-port", "0", "-serf-lan-port", "0"]).args(flags);
    let process = Process::start(&mut command);
    let address = addresses(&process).http.to_string();
    (process, address)
}

/// The command of a line, which is asked of the node and may take half a minute.
pub(crate) fn command(node: &Node, line: &str) -> Command {
    command_at(&node.http.address.to_string(), line)
}

/// The same of whoever is at an address.
pub(crate) fn command_at(address: &str, line: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg("30").arg(binaries::control()).args(words(line));
    for name in ["HTTP_ADDR", "HTTP_TOKEN", "HTTP_AUTH", "HTTP_SSL"] {
        command.env_remove(format!("CALLBOARD_{name}")).env_remove(format!("CONSUL_{name}"));
    }
    command.env("CONSUL_HTTP_ADDR", address).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Runs a line.
pub(crate) fn run(node: &Node, line: &str) -> Ended {
    ended(&mut command(node, line))
}

/// Runs a line with something on its standard input.
pub(crate) fn run_with(node: &Node, line: &str, input: &str) -> Ended {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("input");
    std::fs::write(&path, input).expect("a file can be written");
    ended(command(node, line).stdin(File::open(&path).expect("the file is there")))
}

/// Runs a line that must succeed and print this.
#[track_caller]
pub(crate) fn check(node: &Node, line: &str, expect: &str) {
    let found = run(node, line);
    assert_eq!((found.code, found.stdout.trim_end()), (0, expect), "{line}: {}", found.stderr);
}

/// Runs a line that must fail with this code, and say this among other things.
#[track_caller]
pub(crate) fn refused(node: &Node, line: &str, code: i32, part: &str) {
    let found = run(node, line);
    assert_eq!(found.code, code, "{line}: {}", found.stderr);
    assert!(found.stderr.contains(part), "{line}: {}", found.stderr);
    assert_eq!(found.stdout, "", "data goes to standard output, {line} has none");
}

//! The page of clients: what each was seen to do, and of the packages whose every method is tried, which operations a
//! method asks for. A test tells its client's section; one that passes over for want of the client leaves it as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use callboard_tests::conformance::Section;
use callboard_tests::description;
use serde_json::{Map, Value};

/// What is said of a use that is as its users want it.
const PASSED: &str = "passed";

/// The section of a client.
pub(crate) struct Client(Section);

impl Client {
    /// Begins. What stands before a comma is the client's name.
    pub(crate) fn new(title: &str) -> Self {
        Self(Section::new("clients", title, &["Use", "Operations", "Result"]))
    }

    /// Says which version it is, of clients whose version is chosen here and not by the machine.
    pub(crate) fn version(self, version: &str) -> Self {
        Self(self.0.about(&format!("Version {version}.")))
    }

    /// Tells a use that went well: its test has just claimed it.
    pub(crate) fn did(&mut self, what: &str) {
        self.0.row([what, "", PASSED]);
    }

    /// Tells an operation that the client was kept from.
    pub(crate) fn left_out(&mut self, operation: &str, why: &str) {
        self.0.row(["not asked", operation, why]);
    }

    /// Tells every method that a script has said to have passed or to be refused, with the operations that it asked for.
    pub(crate) fn methods(&mut self, said: &str, paths: &Map<String, Value>) {
        let mut asked: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for line in said.lines().filter_map(|line| line.strip_prefix("asked: ")) {
            let [method, verb, path] = *line.split(' ').collect::<Vec<_>>() else { panic!("not three words: {line}") };
            let operation = match description::template(paths, path) {
                None => "a path that is none".to_owned(),
                Some(path) if paths[path][verb.to_lowercase()].is_null() => format!("no {verb} of {path}"),
                Some(path) => format!("{verb} {path}"),
            };
            asked.entry(method).or_default().insert(operation);
        }
        for line in said.lines().filter_map(|line| line.strip_prefix("method: ")) {
            let (method, result) = line.split_once(' ').expect("a method and what became of it");
            let operations = asked.remove(method).unwrap_or_default().into_iter().collect::<Vec<_>>().join(", ");
            self.0.row([method, &operations, result]);
        }
    }

    /// Compares the section with its page, or writes it.
    pub(crate) fn hold(self) {
        self.0.hold();
    }
}

/// The version of a Python package in the environment of `python`.
pub(crate) fn version_of(python: &Path, package: &str) -> String {
    let script = format!("import importlib.metadata as m; print(m.version({package:?}))");
    let output = Command::new(python).args(["-B", "-c", &script]).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

//! Each operation, and what every page has of it. None may be without a row about its rights, none that waits without
//! one about waiting, and each must be asked by something: a recorded exchange, a vector of the contract, a client's
//! method, or schemathesis.

use std::collections::{BTreeMap, BTreeSet};

use callboard_tests::conformance::{Section, written};
use callboard_tests::description;
use callboard_tests::node::Node;
use serde_json::{Map, Value};

/// What is asked by none of the pages' means, and what asks it.
const ASKED_ELSEWHERE: &[(&str, &str)] = &[
    ("GET /ui/{name}", "a page, which `e2e` reads in `operation`"),
    ("GET /v1/agent/metrics/stream", "an answer without end, which `e2e` follows in `configuration`"),
    ("GET /v1/openapi.json", "the description, which this suite reads"),
];

/// What the pages have, by operation.
#[derive(Default)]
struct Found {
    /// Recorded exchanges that were answered alike, and those whose difference is explained.
    recorded: BTreeMap<String, (u32, u32)>,
    vectors: BTreeMap<String, BTreeSet<u8>>,
    /// Rows about rights, or none where no right is asked for.
    rights: BTreeMap<String, u32>,
    waiting: BTreeMap<String, u32>,
    /// By client, how many of its methods.
    methods: BTreeMap<String, BTreeMap<String, u32>>,
    /// What schemathesis is kept from, and why.
    left_out: BTreeMap<String, String>,
}

impl Found {
    fn read(paths: &Map<String, Value>) -> Self {
        let mut found = Found::default();
        for row in ["http", "acl"].into_iter().flat_map(written).flat_map(|(_, rows)| rows) {
            let times: u32 = row[2].parse().expect("a number of times");
            let (alike, explained) = found.recorded.entry(row[0].clone()).or_default();
            *if row[3] == "as recorded" { alike } else { explained } += times;
        }
        for row in written("vectors").into_values().flatten() {
            let number = row[0].parse().expect("a vector has a number");
            for operation in operations(paths, &row[1]) {
                found.vectors.entry(operation).or_default().insert(number);
            }
        }
        for (title, rows) in written("rights") {
            for row in rows {
                *found.rights.entry(row[0].clone()).or_default() += u32::from(title == "Who may ask what");
            }
        }
        for row in written("waiting").into_values().flatten() {
            *found.waiting.entry(row[0].clone()).or_default() += 1;
        }
        for (title, rows) in written("clients") {
            let client = title.split(',').next().unwrap_or(&title);
            for row in rows.iter().filter(|row| !row[1].is_empty()) {
                if client == "schemathesis" {
                    found.left_out.insert(row[1].clone(), row[2].clone());
                    continue;
                }
                for operation in row[1].split(", ") {
                    let methods = found.methods.entry(operation.to_owned()).or_default();
                    *methods.entry(client.to_owned()).or_default() += 1;
                }
            }
        }
        found
    }

    /// The cells of an operation, and whether anything asks it.
    fn cells(&self, operation: &str) -> ([String; 6], bool) {
        let recorded = self.recorded.get(operation).map(|counts| match counts {
            (alike, 0) => format!("{alike} alike"),
            (0, explained) => format!("{explained} explained"),
            (alike, explained) => format!("{alike} alike, {explained} explained"),
        });
        let vectors = self.vectors.get(operation).map(|numbers| listed(numbers.iter()));
        let rights = self.rights.get(operation).map(|count| match count {
            0 => "no right".to_owned(),
            count => rows(*count),
        });
        let methods = self.methods.get(operation);
        let methods = methods.map(|of| listed(of.iter().map(|(client, count)| format!("{client} {count}"))));
        let left_out = self.left_out.get(operation);
        let asked = recorded.is_some() || vectors.is_some() || methods.is_some() || left_out.is_none();
        let cells = [
            recorded.unwrap_or_default(),
            vectors.unwrap_or_default(),
            rights.unwrap_or_default(),
            self.waiting.get(operation).map(|count| rows(*count)).unwrap_or_default(),
            methods.unwrap_or_default(),
            left_out.map_or_else(|| "asked".to_owned(), |why| format!("left out: {why}")),
        ];
        (cells, asked)
    }
}

fn rows(count: u32) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

fn listed<T: ToString>(things: impl Iterator<Item = T>) -> String {
    things.map(|thing| thing.to_string()).collect::<Vec<_>>().join(", ")
}

/// The operations that a text names: a method, and a path after it.
fn operations(paths: &Map<String, Value>, text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split([' ', ',']).collect();
    let named = words.windows(2).filter(|pair| ["GET", "PUT", "POST", "DELETE"].contains(&pair[0]));
    named.filter_map(|pair| Some(format!("{} {}", pair[0], description::template(paths, pair[1])?))).collect()
}

#[test]
fn every_operation_is_on_the_pages() {
    let paths = description::paths(&Node::dev().http, None);
    let found = Found::read(&paths);
    let mut page = Section::new(
        "endpoints",
        "Every operation, and where it is shown",
        &["Operation", "Recorded exchanges", "Vectors", "Rights", "Waiting", "Methods of clients", "Schemathesis"],
    );
    let mut wrong = Vec::new();
    let mut described = BTreeSet::new();
    for (path, item) in &paths {
        for (method, operation) in item.as_object().expect("a path has operations") {
            let name = format!("{} {path}", method.to_uppercase());
            let (cells, asked) = found.cells(&name);
            if cells[2].is_empty() {
                wrong.push(format!("{name}: nobody says who may ask it"));
            }
            let parameters = operation["parameters"].to_string();
            let waits = parameters.contains("\"index\"") || parameters.contains("/index\"");
            if waits && method == "get" && cells[3].is_empty() {
                wrong.push(format!("{name}: it waits, and nobody says for what"));
            }
            let elsewhere = ASKED_ELSEWHERE.iter().any(|(known, _)| *known == name);
            match (asked, elsewhere) {
                (false, false) => wrong.push(format!("{name}: nobody asks it")),
                (true, true) => wrong.push(format!("{name}: it is listed as asked elsewhere, and asked")),
                _ => {}
            }
            page.row(std::iter::once(name.clone()).chain(cells));
            described.insert(name);
        }
    }
    // What is on a page and not described is gone, but for what clients ask that never was.
    let never = |name: &str| name == "a path that is none" || name.starts_with("no ");
    let shown = [found.rights.keys(), found.waiting.keys()].into_iter().flatten();
    let shown: BTreeSet<&String> = shown.chain(found.methods.keys()).filter(|name| !never(name)).collect();
    wrong.extend(
        shown.into_iter().filter(|name| !described.contains(*name)).map(|name| format!("{name}: not described")),
    );
    assert!(wrong.is_empty(), "{} rows are missing or too many:\n{}", wrong.len(), wrong.join("\n"));
    page.hold();
    let mut page = Section::new("endpoints", "What is asked elsewhere", &["Operation", "Where"]);
    ASKED_ELSEWHERE.iter().for_each(|(name, place)| page.row([*name, *place]));
    page.hold();
}

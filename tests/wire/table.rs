//! The table of conformance: what was asked, and whether the answer was the recorded one. It is made of the rows that a
//! replay tells, never by hand; the page in the documentation must be what the replay makes.
//!
//! `CALLBOARD_WRITE_TABLES=1` writes the page instead of comparing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use callboard_tests::binaries::workspace;
use serde_json::Value;

/// One answer beside the recorded one.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What is asked: a method and a route, or a kind of DNS name.
    pub(crate) endpoint: String,
    /// How it is asked, and what is recorded.
    pub(crate) behaviour: String,
    /// The lines of the contract that explain the differences; none if there are none.
    pub(crate) explained: BTreeSet<&'static str>,
}

/// The route that a path belongs to, as the interface describes it.
pub(crate) fn route(description: &Value, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let paths = description["paths"].as_object().expect("a description has paths");
    let fits = |template: &&String| match template.split_once('{') {
        None => *template == path,
        Some((beginning, _)) => path.starts_with(beginning),
    };
    let longest = paths.keys().filter(fits).max_by_key(|template| template.find('{').unwrap_or(template.len()));
    longest.cloned().unwrap_or_else(|| "a path that is none".to_owned())
}

/// How a request is asked: who asks, the names of its parameters, and the recorded status.
pub(crate) fn behaviour(path: &str, holder: Option<&str>, status: u64) -> String {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let names: BTreeSet<&str> =
        query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty()).collect();
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.extend(holder.map(str::to_owned));
    match names.is_empty() {
        true => status.to_string(),
        false => format!("{} → {status}", names.join(" ")),
    }
}

/// Compares a section of the page with what a replay found.
pub(crate) fn hold(name: &str, title: &str, rows: &[Row]) {
    let made = render(title, rows);
    let path = workspace().join("control/docs/conformance").join(format!("{name}.md"));
    if std::env::var_os("CALLBOARD_WRITE_TABLES").is_some() {
        std::fs::write(&path, made).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "control/docs/conformance/{name}.md is not what this run found; CALLBOARD_WRITE_TABLES=1 writes it:\n{made}"
    );
}

fn render(title: &str, rows: &[Row]) -> String {
    let mut counts: BTreeMap<(&str, &str, &BTreeSet<&'static str>), usize> = BTreeMap::new();
    for row in rows {
        *counts.entry((&row.endpoint, &row.behaviour, &row.explained)).or_default() += 1;
    }
    let alike = rows.iter().filter(|row| row.explained.is_empty()).count();
    let mut page = format!("### {title}\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "{} answers beside the recorded ones: {alike} alike, {} unlike in a way that the contract explains, 0 unlike otherwise.\n",
        rows.len(),
        rows.len() - alike
    );
    page.push_str("| Asked | How, and recorded status | Times | Answer |\n| --- | --- | --- | --- |\n");
    for ((endpoint, behaviour, explained), times) in counts {
        let answer = match explained.is_empty() {
            true => "as recorded".to_owned(),
            false => explained.iter().copied().collect::<Vec<_>>().join("; "),
        };
        let _ = writeln!(page, "| {} | {behaviour} | {times} | {} |", escaped(endpoint), escaped(&answer));
    }
    page
}

/// A text in a cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn paths_belong_to_routes() {
    let description = serde_json::json!({"paths": {"/v1/kv/{key}": {}, "/v1/agent/service/{id}": {}, "/v1/agent/service/register": {}}});
    assert_eq!(route(&description, "/v1/kv/a/b?raw"), "/v1/kv/{key}");
    assert_eq!(route(&description, "/v1/agent/service/register"), "/v1/agent/service/register");
    assert_eq!(route(&description, "/v1/agent/service/x"), "/v1/agent/service/{id}");
    assert_eq!(route(&description, "/v1/nope"), "a path that is none");
    assert_eq!(
        behaviour("/v1/kv/a?raw&index=3&wait=1s", Some("(limited)"), 200),
        "`index` `raw` `wait` (limited) → 200"
    );
    assert_eq!(behaviour("/v1/kv/a", None, 404), "404");
}

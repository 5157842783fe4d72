//! What a replay tells its page: what was asked, and whether the answer was the recorded one.

use std::collections::{BTreeMap, BTreeSet};

use callboard_tests::conformance::Section;

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

/// Holds what a replay found against its page.
pub(crate) fn hold(page: &'static str, title: &str, rows: &[Row]) {
    let mut counts: BTreeMap<(&str, &str, &BTreeSet<&'static str>), usize> = BTreeMap::new();
    for row in rows {
        *counts.entry((&row.endpoint, &row.behaviour, &row.explained)).or_default() += 1;
    }
    let alike = rows.iter().filter(|row| row.explained.is_empty()).count();
    let about = format!(
        "{} answers beside the recorded ones: {alike} alike, {} unlike in a way that the contract explains, 0 unlike otherwise.",
        rows.len(),
        rows.len() - alike
    );
    let mut section =
        Section::new(page, title, &["Asked", "How, and recorded status", "Times", "Answer"]).about(&about);
    for ((endpoint, behaviour, explained), times) in counts {
        let answer = match explained.is_empty() {
            true => "as recorded".to_owned(),
            false => explained.iter().copied().collect::<Vec<_>>().join("; "),
        };
        section.row([endpoint, behaviour, &times.to_string(), &answer]);
    }
    section.hold();
}

#[test]
fn a_behaviour_names_the_parameters_and_who_asks() {
    assert_eq!(
        behaviour("/v1/kv/a?raw&index=3&wait=1s", Some("(limited)"), 200),
        "`index` `raw` `wait` (limited) → 200"
    );
    assert_eq!(behaviour("/v1/kv/a", None, 404), "404");
}

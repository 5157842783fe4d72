//! Templates: one definition that answers every name with a prefix.
//!
//! Texts below `Service` may hold `${name.full}`, `${name.prefix}`, `${name.suffix}`, `${match(N)}` and
//! `${agent.segment}`; `$${` stands for `${` itself. PURE: the same name always makes the same query.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{InvalidQuery, QueryDefinition, QueryService, QueryTemplate};

/// The longest expression, in bytes.
const REGEXP_MAX: usize = 1024;
/// The most room that a compiled expression may take, in bytes.
const COMPILED_MAX: usize = 256 * 1024;
/// The longest text that a template may make, in bytes.
const TEXT_MAX: usize = 16 * 1024;

/// The expression of a template, compiled.
#[derive(Debug, Clone)]
pub struct Pattern(Option<Regex>);

/// What the words between braces stand for.
struct Names<'a> {
    full: &'a str,
    prefix: &'a str,
    /// What each group matched, the whole match first.
    groups: Vec<&'a str>,
}

impl Pattern {
    pub(super) fn new(template: &QueryTemplate) -> Result<Pattern, InvalidQuery> {
        let text = &template.regexp;
        if text.is_empty() {
            return Ok(Pattern(None));
        }
        if text.len() > REGEXP_MAX {
            let length = text.len();
            return Err(InvalidQuery(format!("Bad Regexp: {length} bytes given; at most {REGEXP_MAX} are accepted")));
        }
        let compiled = RegexBuilder::new(text).size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).build();
        compiled.map(|regex| Pattern(Some(regex))).map_err(|error| InvalidQuery(format!("Bad Regexp: {error}")))
    }

    /// Checks that every text of a template can be made.
    pub(super) fn check(&self, service: &QueryService) -> Result<(), InvalidQuery> {
        let names = Names { full: "", prefix: "", groups: Vec::new() };
        fill(service, &names).map(|_| ())
    }

    /// Makes the query for a name that begins with the template's own.
    ///
    /// # Errors
    /// When a text becomes too long.
    pub fn render(&self, template: &QueryDefinition, name: &str) -> Result<QueryDefinition, InvalidQuery> {
        let captures = self.0.as_ref().and_then(|regex| regex.captures(name));
        let groups = captures.iter().flat_map(|captures| captures.iter());
        let names = Names {
            full: name,
            prefix: &template.name,
            groups: groups.map(|group| group.map_or("", |group| group.as_str())).collect(),
        };
        let mut service = fill(&template.service, &names)?;
        if template.template.remove_empty_tags {
            service.tags.retain(|tag| !tag.is_empty() && tag != "!");
        }
        Ok(QueryDefinition { service, ..template.clone() })
    }
}

/// Fills in every text below the service.
fn fill(service: &QueryService, names: &Names<'_>) -> Result<QueryService, InvalidQuery> {
    let broken = |error: serde_json::Error| InvalidQuery(format!("Bad template: {error}"));
    let mut value = serde_json::to_value(service).map_err(broken)?;
    fill_value(&mut value, names)?;
    serde_json::from_value(value).map_err(broken)
}

fn fill_value(value: &mut Value, names: &Names<'_>) -> Result<(), InvalidQuery> {
    match value {
        Value::String(text) => *text = fill_text(text, names)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_value(item, names))?,
        Value::Object(map) => map.values_mut().try_for_each(|item| fill_value(item, names))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn fill_text(text: &str, names: &Names<'_>) -> Result<String, InvalidQuery> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find("${") {
        let (before, after) = (&rest[..place], &rest[place + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = after;
            continue;
        }
        let Some(end) = after.find('}') else {
            return Err(InvalidQuery(format!("Bad template {:?}: ${{ without its }}", clip(text))));
        };
        filled.push_str(before);
        filled.push_str(names.of(after[..end].trim()).ok_or_else(|| {
            let word = clip(&after[..end]);
            InvalidQuery(format!(
                "Bad template: unknown {word:?}; name.full, name.prefix, name.suffix, match(N) and agent.segment are accepted"
            ))
        })?);
        rest = &after[end + 1..];
        if filled.len() > TEXT_MAX {
            return Err(InvalidQuery(format!("Bad template: a text becomes longer than {TEXT_MAX} bytes")));
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

impl<'a> Names<'a> {
    fn of(&self, word: &str) -> Option<&'a str> {
        match word {
            "name.full" => Some(self.full),
            // As it was asked, which may be in other letters.
            "name.prefix" => Some(self.full.get(..self.prefix.len()).unwrap_or_default()),
            "name.suffix" => Some(self.full.get(self.prefix.len()..).unwrap_or_default()),
            // Only one segment of the network exists, and it has no name.
            "agent.segment" => Some(""),
            word => {
                let group = word.strip_prefix("match(")?.strip_suffix(')')?.trim().parse().ok()?;
                Some(self.groups.get::<usize>(group).copied().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(regexp: &str, service: &str) -> QueryDefinition {
        QueryDefinition {
            name: "geo-".to_owned(),
            template: QueryTemplate {
                kind: "name_prefix_match".to_owned(),
                regexp: regexp.to_owned(),
                remove_empty_tags: true,
            },
            service: QueryService {
                service: service.to_owned(),
                tags: vec!["${match(2)}".to_owned(), "!${match(9)}".to_owned()],
                ..QueryService::default()
            },
            ..QueryDefinition::default()
        }
    }

    fn render(regexp: &str, service: &str, name: &str) -> Result<(String, Vec<String>), String> {
        let template = template(regexp, service);
        let made = template.pattern().and_then(|pattern| pattern.render(&template, name));
        made.map(|made| (made.service.service, made.service.tags)).map_err(|error| error.0)
    }

    #[test]
    fn texts_are_filled_in() {
        let check = |service: &str, expect: &str| {
            let made = render("^geo-(.*?)-([^-]+)$", service, "geo-db-master").unwrap();
            assert_eq!(made, (expect.to_owned(), vec!["master".to_owned()]), "{service}");
        };
        check("${match(1)}", "db");
        check("${match(0)}", "geo-db-master");
        check("x${match(7)}y", "xy");
        check("${name.full}", "geo-db-master");
        check("${ name.prefix }|${name.suffix}", "geo-|db-master");
        check("[${agent.segment}]", "[]");
        check("$${name.full}", "${name.full}");
        check("a$b", "a$b");
    }

    #[test]
    fn a_name_that_does_not_match_leaves_groups_empty() {
        assert_eq!(render("^geo-x$", "s${match(0)}", "geo-y"), Ok(("s".to_owned(), Vec::new())));
    }

    #[test]
    fn bad_templates_are_told() {
        let check = |regexp: &str, service: &str, expect: &str| {
            let error = template(regexp, service).validate().unwrap_err().0;
            assert!(error.starts_with(expect), "{error}");
        };
        check("(", "web", "Bad Regexp: ");
        check("(a{100}){1000}", "web", "Bad Regexp: ");
        check("", "${nope}", "Bad template: unknown \"nope\"");
        check("", "${name.full", "Bad template \"${name.full\": ${ without its }");
    }

    proptest! {
        #[test]
        fn no_text_panics(regexp in ".{0,20}", service in "[a-z${}().0-9]{0,30}", name in ".{0,30}") {
            let _ = template(&regexp, &service).validate();
            let _ = render(&regexp, &service, &name);
        }
    }
}

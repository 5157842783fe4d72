//! What can be carried from one registry to another: a list of rows by what they are, and the difference of two lists. Pure.
//!
//! A row holds only what somebody wrote: no index, no id that a registry gave, nothing that is empty. So two registries
//! hold the same when their rows are equal. What cannot be carried is said in words. Read by `carry_read`, written by
//! `carry_write`; as JSON it is the file of `export`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The form of the document.
const FORMAT: u32 = 1;

/// What a row is, in the order in which rows are written: what is referred to comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Noun {
    /// An access policy, by name.
    Policy,
    /// A role, by name.
    Role,
    /// A way to log in, by name.
    AuthMethod,
    /// A binding rule, by what it says.
    BindingRule,
    /// A token, by its public id.
    Token,
    /// A node, by name.
    Node,
    /// An instance, by node and id.
    Service,
    /// A check, by node and id.
    Check,
    /// A config entry, by kind and name.
    Config,
    /// A prepared query, by name.
    Query,
    /// A key.
    Key,
}

impl Noun {
    /// All of them, in the order in which they are written.
    pub(super) const ALL: [Noun; 11] = [
        Noun::Policy,
        Noun::Role,
        Noun::AuthMethod,
        Noun::BindingRule,
        Noun::Token,
        Noun::Node,
        Noun::Service,
        Noun::Check,
        Noun::Config,
        Noun::Query,
        Noun::Key,
    ];

    /// How it is called.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Noun::Policy => "policy",
            Noun::Role => "role",
            Noun::AuthMethod => "auth-method",
            Noun::BindingRule => "binding-rule",
            Noun::Token => "token",
            Noun::Node => "node",
            Noun::Service => "service",
            Noun::Check => "check",
            Noun::Config => "config",
            Noun::Query => "query",
            Noun::Key => "key",
        }
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// What it is.
    pub(super) noun: Noun,
    /// Which one.
    pub(super) name: String,
    /// What it says.
    pub(super) value: Value,
}

/// What a registry holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Portable {
    rows: BTreeMap<(Noun, String), Value>,
    /// What could not be carried, in words.
    pub(super) left: BTreeSet<String>,
    /// The nodes that are agents: their rows are kept true by themselves.
    pub(super) agents: BTreeSet<String>,
}

/// The form in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    callboard_export: u32,
    rows: Vec<Row>,
    #[serde(default)]
    left: BTreeSet<String>,
}

/// What is to be done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It is not there.
    Added,
    /// It is another there.
    Changed,
    /// It is the same there.
    Same,
    /// It is there only; it is left alone.
    Extra,
}

impl Portable {
    /// Puts a row in.
    pub(super) fn put(&mut self, noun: Noun, name: impl Into<String>, value: Value) {
        self.rows.insert((noun, name.into()), value);
    }

    /// Notes what cannot be carried.
    pub(super) fn leave(&mut self, what: impl Into<String>) {
        self.left.insert(what.into());
    }

    /// Returns how many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Compares with what a target holds, row by row in the order of writing.
    pub(super) fn against(&self, target: &Portable) -> Vec<(Change, Row)> {
        let row = |(noun, name): &(Noun, String), value: &Value| Row {
            noun: *noun,
            name: name.clone(),
            value: value.clone(),
        };
        let ours = self.rows.iter().map(|(key, value)| {
            let change = match target.rows.get(key) {
                None => Change::Added,
                Some(known) if comparable(key.0, known) == comparable(key.0, value) => Change::Same,
                Some(_) => Change::Changed,
            };
            (change, row(key, value))
        });
        let theirs = target.rows.iter().filter(|(key, _)| !self.rows.contains_key(*key));
        ours.chain(theirs.map(|(key, value)| (Change::Extra, row(key, value)))).collect()
    }

    /// Drops the rows of nodes that are agents of the target: what they are is theirs to say. What runs there is carried.
    pub(super) fn without_nodes(mut self, agents: &BTreeSet<String>) -> Self {
        for agent in agents {
            if self.rows.remove(&(Noun::Node, agent.clone())).is_some() {
                self.left
                    .insert(format!("node {agent}: an agent of the same name is there already, its own row stays"));
            }
        }
        self
    }

    /// Writes the document.
    pub(super) fn document(&self) -> Result<String, serde_json::Error> {
        let rows =
            self.rows.iter().map(|((noun, name), value)| Row { noun: *noun, name: name.clone(), value: value.clone() });
        let document = Document { callboard_export: FORMAT, rows: rows.collect(), left: self.left.clone() };
        serde_json::to_string_pretty(&document)
    }

    /// Reads a document.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if document.callboard_export != FORMAT {
            return Err(format!("its form is {}; {FORMAT} is known", document.callboard_export));
        }
        let mut portable = Self { left: document.left, ..Self::default() };
        for row in document.rows {
            let name = row.name.clone();
            if portable.rows.insert((row.noun, row.name), row.value).is_some() {
                return Err(format!("{} {name:?} is there twice", row.noun.as_str()));
            }
        }
        Ok(portable)
    }
}

/// What of a row is compared: what a check last said changes by itself, a secret is not shown by everybody, and what is as it
/// would be anyway is written out by one version and left out by another.
fn comparable(noun: Noun, value: &Value) -> Option<Value> {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut() {
        let passing: &[&str] = match noun {
            Noun::Check => &["Output"],
            Noun::Token => &["SecretID"],
            _ => &[],
        };
        for member in passing {
            members.remove(*member);
        }
    }
    lean(&value)
}

/// Returns a value without what is empty, zero or false in it.
fn lean(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(false) => None,
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        Value::Array(values) => {
            // Elements have places, so none is left out.
            let values = values.iter().map(|value| lean(value).unwrap_or(Value::Null)).collect::<Vec<_>>();
            (!values.is_empty()).then_some(Value::Array(values))
        }
        Value::Object(members) => {
            let kept: Map<String, Value> =
                members.iter().filter_map(|(name, value)| Some((name.clone(), lean(value)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        other => pruned(other),
    }
}

/// Returns the members of a row that are carried, without what is empty.
pub(super) fn kept(value: &Value, members: &[&str]) -> Value {
    let kept = members.iter().filter_map(|name| Some(((*name).to_owned(), pruned(&value[*name])?)));
    Value::Object(kept.collect())
}

/// Returns a value without what is empty in it; none when nothing is left.
pub(super) fn pruned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| value.clone()),
        Value::Array(values) => (!values.is_empty()).then(|| value.clone()),
        Value::Object(members) => {
            let kept: Map<String, Value> =
                members.iter().filter_map(|(name, value)| Some((name.clone(), pruned(value)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Bool(_) | Value::Number(_) => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named() {
        let (mut source, mut target) = (Portable::default(), Portable::default());
        source.put(Noun::Key, "a", json!({"Value": "x"}));
        source.put(Noun::Key, "b", json!({"Value": "x"}));
        source.put(Noun::Check, "n/c", json!({"Status": "passing", "Output": "now"}));
        source.put(Noun::Policy, "p", json!({}));
        target.put(Noun::Key, "b", json!({"Value": "y"}));
        target.put(Noun::Key, "c", json!({}));
        target.put(Noun::Check, "n/c", json!({"Status": "passing", "Output": "then", "Timeout": 0, "Hidden": false}));
        let found: Vec<(Change, Noun, String)> =
            source.against(&target).into_iter().map(|(change, row)| (change, row.noun, row.name)).collect();
        let expect = [
            (Change::Added, Noun::Policy, "p".to_owned()),
            (Change::Same, Noun::Check, "n/c".to_owned()),
            (Change::Added, Noun::Key, "a".to_owned()),
            (Change::Changed, Noun::Key, "b".to_owned()),
            (Change::Extra, Noun::Key, "c".to_owned()),
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn what_is_empty_is_not_there() {
        let row = json!({"ID": "a", "Tags": [], "Meta": {}, "Proxy": {"Expose": {}, "Mode": ""}, "Port": 0, "x": 1});
        assert_eq!(kept(&row, &["ID", "Tags", "Meta", "Proxy", "Port", "Nope"]), json!({"ID": "a", "Port": 0}));
    }

    #[test]
    fn a_document_of_another_form_is_refused() {
        for (text, part) in [
            ("{}", "callboard_export"),
            (r#"{"callboard_export": 2, "rows": []}"#, "its form is 2"),
            (r#"{"callboard_export": 1, "rows": [], "more": 1}"#, "more"),
        ] {
            let error = Portable::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let row = r#"{"noun": "key", "name": "a", "value": {}}"#;
        let twice = format!(r#"{{"callboard_export": 1, "rows": [{row}, {row}]}}"#);
        assert!(Portable::parse(&twice).unwrap_err().contains("twice"));
    }

    proptest! {
        /// What was exported is read again as it was, and differs from itself in nothing.
        #[test]
        fn a_document_is_what_it_was_made_of(names in proptest::collection::vec((0usize..11, "[a-z/]{0,6}", any::<u32>()), 0..20)) {
            let mut portable = Portable::default();
            for (noun, name, value) in names {
                portable.put(Noun::ALL[noun], name, json!({"Value": value}));
            }
            portable.leave("something");
            let read = Portable::parse(&portable.document().unwrap()).unwrap();
            prop_assert_eq!(&read, &portable);
            prop_assert!(read.against(&portable).iter().all(|(change, _)| *change == Change::Same));
        }
    }
}

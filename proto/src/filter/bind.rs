//! Checks an expression against the fields of a row type and compiles it into a test.
//!
//! Everything that can be wrong is found here, once; the test that comes out cannot fail and does not allocate.
//! Negation stands outside of a comparison: where a list is involved, `Checks.Status != critical` means that no
//! check is critical.

use regex::{Regex, RegexBuilder};
use serde_json::Value as Json;

use super::error::Error;
use super::expression::{Comparison, Expression, Literal, Operator, Selector};
use super::json;
use super::schema::{Field, Fields, Kind, Leaf, Schema, Value};
use super::{PATTERN_BYTES_MAX, PATTERNS_MAX};

/// Beyond this many bytes a selector is not compared with the known ones; nothing known is nearly as long.
const SUGGEST_BYTES_MAX: usize = 128;

/// How deep [`known`] follows structures within structures.
const KNOWN_DEPTH_MAX: usize = 6;

/// A compiled expression.
#[derive(Debug)]
pub(super) enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Compare { path: Vec<Step>, check: Check, negated: bool },
}

/// One step on the way from a row to a value.
#[derive(Debug)]
pub(super) enum Step {
    /// The place of a field in its schema; the name is for structures that are kept as JSON.
    Field(usize, &'static str),
    Key(String),
}

/// What is asked of the value at the end of the way.
#[derive(Debug)]
pub(super) enum Check {
    Text(String),
    Number(i64),
    Bool(bool),
    Holds(String),
    Matches(Regex),
    Empty,
}

impl Test {
    pub(super) fn holds(&self, row: &dyn Fields) -> bool {
        match self {
            Self::Any(tests) => tests.iter().any(|test| test.holds(row)),
            Self::All(tests) => tests.iter().all(|test| test.holds(row)),
            Self::Not(test) => !test.holds(row),
            Self::Compare { path, check, negated } => follow(Value::Object(row), path, check) != *negated,
        }
    }
}

fn follow(value: Value<'_>, path: &[Step], check: &Check) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return check.holds(value);
    };
    match (value, step) {
        (Value::Object(object), Step::Field(field, _)) => follow(object.get(*field), rest, check),
        (Value::Keyed(map), Step::Key(key)) => follow(map.at(key), rest, check),
        (Value::Json(Json::Array(list)), _) => list.iter().any(|item| follow(Value::Json(item), path, check)),
        (Value::Json(object), Step::Field(_, name)) => follow(Value::Json(json::member(object, name)), rest, check),
        (Value::Json(object), Step::Key(key)) => {
            follow(object.get(key).map_or(Value::Missing, Value::Json), rest, check)
        }
        (Value::Many(list), _) => list.any(&mut |item| follow(item, path, check)),
        // A way that ends early is a missing value; a row that contradicts its schema is treated alike.
        _ => check.holds(Value::Missing),
    }
}

impl Check {
    fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Text(wanted), Value::Text(text)) => wanted == text,
            (Self::Number(wanted), Value::Number(number)) => *wanted == number,
            (Self::Bool(wanted), Value::Bool(flag)) => *wanted == flag,
            (Self::Holds(part), Value::Text(text)) => text.contains(part.as_str()),
            (Self::Holds(key), Value::Keyed(map)) => !matches!(map.at(key), Value::Missing),
            (Self::Holds(wanted), Value::Many(list)) => {
                list.any(&mut |item| matches!(item, Value::Text(text) if text == wanted))
            }
            (Self::Matches(pattern), Value::Text(text)) => pattern.is_match(text),
            (_, Value::Json(found)) => json::holds(self, found),
            (Self::Empty, Value::Missing) => true,
            (Self::Empty, Value::Text(text)) => text.is_empty(),
            (Self::Empty, Value::Keyed(map)) => map.is_empty(),
            (Self::Empty, Value::Many(list)) => list.is_empty(),
            _ => false,
        }
    }
}

/// Compiles an expression for rows of this schema.
pub(super) fn bind(expression: &Expression, schema: &'static Schema) -> Result<Test, Error> {
    Binder { schema, patterns: 0 }.expression(expression)
}

struct Binder {
    schema: &'static Schema,
    patterns: usize,
}

impl Binder {
    fn expression(&mut self, expression: &Expression) -> Result<Test, Error> {
        Ok(match expression {
            Expression::Any(terms) => Test::Any(self.terms(terms)?),
            Expression::All(terms) => Test::All(self.terms(terms)?),
            Expression::Not(inner) => Test::Not(Box::new(self.expression(inner)?)),
            Expression::Compare(comparison) => self.comparison(comparison)?,
        })
    }

    fn terms(&mut self, terms: &[Expression]) -> Result<Vec<Test>, Error> {
        terms.iter().map(|term| self.expression(term)).collect()
    }

    fn comparison(&mut self, comparison: &Comparison) -> Result<Test, Error> {
        let (path, kind) =
            resolve(&comparison.selector, self.schema).ok_or_else(|| unknown(&comparison.selector, self.schema))?;
        let check = self.check(comparison, kind)?;
        Ok(Test::Compare { path, check, negated: comparison.negated })
    }

    fn check(&mut self, comparison: &Comparison, kind: Kind) -> Result<Check, Error> {
        use Operator::{Empty, Equal, In, Matches};
        Ok(match (&comparison.operator, kind) {
            (Equal(value), Kind::Leaf(Leaf::Text)) => Check::Text(value.0.clone()),
            (Equal(value), Kind::Leaf(Leaf::Number)) => {
                let number = value.0.parse().ok();
                Check::Number(number.ok_or_else(|| wrong_value(comparison, value, "a whole number"))?)
            }
            (Equal(value), Kind::Leaf(Leaf::Bool)) => {
                Check::Bool(flag(&value.0).ok_or_else(|| wrong_value(comparison, value, "true or false"))?)
            }
            (In(value), Kind::Leaf(Leaf::Text | Leaf::List) | Kind::Map | Kind::ObjectMap(_)) => {
                Check::Holds(value.0.clone())
            }
            (Matches(value), Kind::Leaf(Leaf::Text)) => Check::Matches(self.pattern(value)?),
            (Empty, Kind::Leaf(Leaf::Text | Leaf::List) | Kind::Map | Kind::ObjectMap(_) | Kind::Objects(_)) => {
                Check::Empty
            }
            _ => {
                return Err(Error::WrongOperator {
                    selector: comparison.selector.dotted(),
                    operator: comparison.symbol(),
                    allowed: allowed(kind),
                });
            }
        })
    }

    fn pattern(&mut self, value: &Literal) -> Result<Regex, Error> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(Error::TooManyPatterns);
        }
        RegexBuilder::new(&value.0).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
            // The engine draws its syntax errors over several lines; the last one is the sentence.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::BadPattern { pattern: value.0.clone(), reason }
        })
    }
}

fn wrong_value(comparison: &Comparison, value: &Literal, kind: &'static str) -> Error {
    Error::WrongValue { selector: comparison.selector.dotted(), value: value.0.clone(), kind }
}

/// Reads a truth value in the spellings that Go accepts.
fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn allowed(kind: Kind) -> &'static str {
    match kind {
        Kind::Leaf(Leaf::Text) => "==, !=, in, contains, matches and is empty",
        Kind::Leaf(Leaf::Number | Leaf::Bool) => "== and !=",
        Kind::Leaf(Leaf::List) | Kind::Map | Kind::ObjectMap(_) => "in, contains and is empty",
        Kind::Objects(_) => "is empty; its fields take more",
        Kind::Object(_) => "no operator; its fields do",
    }
}

/// Finds the way that a selector describes, and what stands at its end.
fn resolve(selector: &Selector, schema: &'static Schema) -> Option<(Vec<Step>, Kind)> {
    let mut steps = Vec::with_capacity(selector.0.len());
    let mut kind = None;
    let mut inside = Some(schema);
    for part in &selector.0 {
        let found = if let Some(schema) = inside {
            let place = schema.fields.iter().position(|field| field.name == part)?;
            let field = &schema.fields[place];
            steps.push(Step::Field(place, field.name));
            field.kind
        } else {
            steps.push(Step::Key(part.clone()));
            match kind? {
                Kind::Map => Kind::Leaf(Leaf::Text),
                Kind::ObjectMap(of) => Kind::Object(of),
                Kind::Leaf(_) | Kind::Object(_) | Kind::Objects(_) => return None,
            }
        };
        inside = match found {
            Kind::Object(of) | Kind::Objects(of) => Some(of()),
            Kind::Leaf(_) | Kind::Map | Kind::ObjectMap(_) => None,
        };
        kind = Some(found);
    }
    Some((steps, kind?))
}

fn unknown(selector: &Selector, schema: &'static Schema) -> Error {
    let selector = selector.dotted();
    let nearest = (selector.len() <= SUGGEST_BYTES_MAX)
        .then(|| known(schema))
        .into_iter()
        .flatten()
        .min_by_key(|known| distance(&selector, known));
    Error::UnknownSelector { selector, nearest }
}

/// Lists every selector of a schema, with `<any>` for the key of a map.
fn known(schema: &'static Schema) -> Vec<String> {
    fn walk(field: &Field, before: &str, depth: usize, found: &mut Vec<String>) {
        let name = format!("{before}{}", field.name);
        let (inside, before) = match field.kind {
            Kind::Leaf(_) => (None, String::new()),
            Kind::Map => {
                found.push(format!("{name}.<any>"));
                (None, String::new())
            }
            Kind::Object(of) | Kind::Objects(of) => (Some(of), format!("{name}.")),
            Kind::ObjectMap(of) => (Some(of), format!("{name}.<any>.")),
        };
        if !matches!(field.kind, Kind::Object(_)) {
            found.push(name);
        }
        if let Some(of) = inside.filter(|_| depth < KNOWN_DEPTH_MAX) {
            for field in of().fields {
                walk(field, &before, depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    for field in schema.fields {
        walk(field, "", 0, &mut found);
    }
    found
}

/// Counts the single-character edits between two texts (Levenshtein), letter case aside.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(!a.eq_ignore_ascii_case(b));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

//! The filter language by example and by property, on a row type of its own.

use proptest::prelude::*;

use super::*;
use crate::text::{Map, Meta, Tags, Text};

struct Row {
    name: Text,
    port: u16,
    native: bool,
    tags: Tags,
    meta: Meta,
    addresses: Map<Place>,
    node: Place,
    checks: Vec<Probe>,
}

struct Place {
    address: Text,
    port: u16,
}

struct Probe {
    id: Text,
    status: Text,
    tags: Tags,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

impl Fields for Row {
    fn schema() -> &'static Schema {
        static SCHEMA: Schema = Schema {
            fields: &[
                field("Service", Kind::Leaf(Leaf::Text)),
                field("Port", Kind::Leaf(Leaf::Number)),
                field("Native", Kind::Leaf(Leaf::Bool)),
                field("Tags", Kind::Leaf(Leaf::List)),
                field("Meta", Kind::Map),
                field("TaggedAddresses", Kind::ObjectMap(Place::schema)),
                field("Node", Kind::Object(Place::schema)),
                field("Checks", Kind::Objects(Probe::schema)),
            ],
        };
        &SCHEMA
    }

    fn get(&self, field: usize) -> Value<'_> {
        match field {
            0 => Value::Text(&self.name),
            1 => Value::Number(self.port.into()),
            2 => Value::Bool(self.native),
            3 => Value::Many(&self.tags),
            4 => Value::Keyed(&self.meta),
            5 => Value::Keyed(&self.addresses),
            6 => Value::Object(&self.node),
            7 => Value::Many(&self.checks),
            _ => Value::Missing,
        }
    }
}

impl Fields for Place {
    fn schema() -> &'static Schema {
        static SCHEMA: Schema =
            Schema { fields: &[field("Address", Kind::Leaf(Leaf::Text)), field("Port", Kind::Leaf(Leaf::Number))] };
        &SCHEMA
    }

    fn get(&self, field: usize) -> Value<'_> {
        match field {
            0 => Value::Text(&self.address),
            1 => Value::Number(self.port.into()),
            _ => Value::Missing,
        }
    }
}

impl Fields for Probe {
    fn schema() -> &'static Schema {
        static SCHEMA: Schema = Schema {
            fields: &[
                field("CheckID", Kind::Leaf(Leaf::Text)),
                field("Status", Kind::Leaf(Leaf::Text)),
                field("ServiceTags", Kind::Leaf(Leaf::List)),
            ],
        };
        &SCHEMA
    }

    fn get(&self, field: usize) -> Value<'_> {
        match field {
            0 => Value::Text(&self.id),
            1 => Value::Text(&self.status),
            2 => Value::Many(&self.tags),
            _ => Value::Missing,
        }
    }
}

fn tags(tags: &[&str]) -> Tags {
    tags.iter().copied().collect()
}

fn row() -> Row {
    Row {
        name: "web".into(),
        port: 8080,
        native: false,
        tags: tags(&["tag:foo:1", "primary"]),
        meta: [
            ("env", "prod"),
            ("consul-version", "1.22.0"),
            ("empty", ""),
            ("a/b", "slash"),
            ("text", "say \"hi\"\n"),
        ]
        .into_iter()
        .map(|(key, value)| (key, Text::from(value)))
        .collect(),
        addresses: [("lan", Place { address: "10.0.0.1".into(), port: 80 })].into_iter().collect(),
        node: Place { address: "192.168.0.1".into(), port: 0 },
        checks: vec![
            Probe { id: "serfHealth".into(), status: "passing".into(), tags: tags(&[]) },
            Probe { id: "service:web".into(), status: "critical".into(), tags: tags(&["primary"]) },
        ],
    }
}

#[track_caller]
fn check(text: &str, expect: bool) {
    let filter = Filter::<Row>::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(filter.matches(&row()), expect, "{text}");
}

#[track_caller]
fn refuse(text: &str, expect: &str) {
    let error = Filter::<Row>::parse(text).expect_err(text);
    assert_eq!(error.to_string(), format!("Failed to create boolean expression evaluator: {expect}"), "{text}");
}

#[test]
fn equality_converts_the_value() {
    check("Service == web", true);
    check("Service == \"web\"", true);
    check("Service == `web`", true);
    check("Service==\"web\"", true);
    check("Service==web", true);
    check("Service == WEB", false);
    check("Service != web", false);
    check("Service != `` ", true);
    check("Port == 8080", true);
    check("Port == \"8080\"", true);
    check("Port != 8080", false);
    check("Port == -1", false);
    check("Native == false", true);
    check("Native == true", false);
    check("Native != true", true);
    check("Service == in", false);
    check("Service == not", false);
    check("\"/Service\" == web", true);
    check("", true);
}

#[test]
fn membership_of_lists_maps_and_texts() {
    check("\"tag:foo:1\" in Tags", true);
    check("primary in Tags", true);
    check("prim in Tags", false);
    check("Tags contains primary", true);
    check("Tags not contains primary", false);
    check("canary not in Tags", true);
    check("env in Meta", true);
    check("foo in Meta", false);
    check("foo not in Meta", true);
    check("Meta contains \"consul-version\"", true);
    check("lan in TaggedAddresses", true);
    check("wan in TaggedAddresses", false);
    check("eb in Service", true);
    check("Service contains ew", false);
    check("ro in Meta.env", true);
    check("ro in Meta.foo", false);
    check("ro not in Meta.foo", true);
    check("web.service not in Service", true);
    check("80 in Meta.env", false);
}

#[test]
fn emptiness() {
    check("Tags is empty", false);
    check("Tags is not empty", true);
    check("Meta is empty", false);
    check("Meta.empty is empty", true);
    check("Meta.foo is empty", true);
    check("Meta.env is not empty", true);
    check("Checks is empty", false);
    check("TaggedAddresses is not empty", true);
    check("TaggedAddresses.wan.Address is empty", true);
    check("Checks.ServiceTags is empty", true);
    check("Checks.ServiceTags is not empty", false);
}

#[test]
fn patterns_are_found_anywhere() {
    check("Meta[\"consul-version\"] matches \"^1\\\\.\"", true);
    check("Meta[\"consul-version\"] matches `^2\\.`", false);
    check("Meta[\"consul-version\"] not matches `^2\\.`", true);
    check("Service matches e", true);
    check("Meta.foo matches `.*`", false);
    check("Meta.foo not matches `.*`", true);
}

#[test]
fn maps_and_missing_keys() {
    check("Meta.env == prod", true);
    check("Meta.foo == x", false);
    check("Meta.foo == ``", false);
    check("Meta.foo != x", true);
    check("Meta[\"a/b\"] == slash", true);
    check("Meta.a/b == slash", true);
    check("\"/Meta/a~1b\" == slash", true);
    check("\"/Meta/env\" matches \"^p\"", true);
    check("\"pro\" in \"/Meta/env\"", true);
    check("TaggedAddresses.lan.Port == 80", true);
    check("TaggedAddresses.wan.Port == 80", false);
    check("TaggedAddresses.wan.Port != 80", true);
    check("Meta.text == \"say \\\"hi\\\"\\n\"", true);
    check("Meta.text == \"say \\x22\\u0068i\\042\\n\"", true);
}

#[test]
fn lists_of_structures_match_if_any_element_does() {
    check("Checks.Status == critical", true);
    check("Checks.Status == warning", false);
    check("Checks.Status != critical", false);
    check("Checks.Status != warning", true);
    check("Checks.CheckID == serfHealth and Checks.Status == critical", true);
    check("primary in Checks.ServiceTags", true);
    check("other not in Checks.ServiceTags", true);
    check("Node.Address == \"192.168.0.1\"", true);
}

#[test]
fn precedence_from_loose_to_tight() {
    check("Meta.env == prod and not (Tags contains canary)", true);
    check("Meta.env == prod and not Tags contains primary", false);
    check("Port == 1 and Port == 2 or Port == 8080", true);
    check("Port == 8080 or Port == 1 and Port == 2", true);
    check("(Port == 8080 or Port == 1) and Port == 2", false);
    check("not Port == 1 and Port == 1", false);
    check("not (Port == 1 and Port == 1)", true);
    check("not not Port == 8080", true);
    check("not(Port==1)", true);
    check(" \t(\n( Port == 8080 ) )\r\n", true);
}

#[test]
fn errors_say_what_and_where() {
    refuse(
        "not a valid expression((",
        "1:7 (6): no match found, expected \"!=\", \"==\", \"contains\", \"in\", \"is\", \"matches\" or \"not\"",
    );
    refuse("Service ==", "1:11 (10): no match found, expected a value: a word, a number or a quoted string");
    refuse("Service == web or", "1:18 (17): no match found, expected a selector, a value, \"not\" or \"(\"");
    refuse(
        "Service == web\nand Port > 1",
        "2:10 (24): no match found, expected a selector, a value, an operator or a parenthesis",
    );
    refuse("Port > 1", "1:6 (5): no match found, expected a selector, a value, an operator or a parenthesis");
    refuse("Service == web)", "1:15 (14): no match found, expected \"and\", \"or\" or the end of the expression");
    refuse("(Service == web", "1:16 (15): no match found, expected \"and\", \"or\" or \")\"");
    refuse("Service == node-1", "1:16 (15): no match found, expected [a-zA-Z0-9_/]; other text is written in quotes");
    refuse("Service == \"web", "1:12 (11): no match found, expected a closing '\"'");
    refuse("\"web\" == Service", "1:1 (0): no match found, expected a selector");
    refuse("Service is web", "1:12 (11): no match found, expected \"empty\" or \"not empty\"");
    refuse("Bogus == 1", "Selector \"Bogus\" is not valid, the nearest known one is \"Tags\"");
    refuse("service == 1", "Selector \"service\" is not valid, the nearest known one is \"Service\"");
    refuse("Check.Status == 1", "Selector \"Check.Status\" is not valid, the nearest known one is \"Checks.Status\"");
    refuse("Meta.a.b == 1", "Selector \"Meta.a.b\" is not valid, the nearest known one is \"Meta.<any>\"");
    refuse("Port == abc", "Failed to coerce value \"abc\" for selector \"Port\": it is not a whole number");
    refuse(
        "Port == 99999999999999999999",
        "Failed to coerce value \"99999999999999999999\" for selector \"Port\": it is not a whole number",
    );
    refuse("Native == maybe", "Failed to coerce value \"maybe\" for selector \"Native\": it is not true or false");
    refuse("Tags == web", "Invalid match operator \"==\" for selector \"Tags\", which takes in, contains and is empty");
    refuse("Port matches 1", "Invalid match operator \"matches\" for selector \"Port\", which takes == and !=");
    refuse(
        "Node is empty",
        "Invalid match operator \"is empty\" for selector \"Node\", which takes no operator; its fields do",
    );
    refuse("Service matches \"(\"", "Failed to compile regular expression \"(\": unclosed group");
}

#[test]
fn remote_text_has_bounds() {
    let nested = |levels: usize| format!("{}Port == 1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Filter::<Row>::parse(&nested(DEPTH_MAX)).is_ok());
    assert!(matches!(Filter::<Row>::parse(&nested(DEPTH_MAX + 1)), Err(Error::TooDeep { .. })));
    assert!(matches!(Filter::<Row>::parse(&nested(4000)), Err(Error::TooDeep { .. })));
    assert!(matches!(Filter::<Row>::parse(&"not ".repeat(2000)), Err(Error::TooDeep { .. })));
    let long = format!("Service == \"{}\"", "x".repeat(TEXT_BYTES_MAX));
    assert!(matches!(Filter::<Row>::parse(&long), Err(Error::TooLong { .. })));
    let patterns = |count: usize| vec!["Service matches x"; count].join(" or ");
    assert!(Filter::<Row>::parse(&patterns(PATTERNS_MAX)).is_ok());
    assert_eq!(Filter::<Row>::parse(&patterns(PATTERNS_MAX + 1)).unwrap_err(), Error::TooManyPatterns);
    assert!(matches!(
        Filter::<Row>::parse("Service matches `(((\\w{100}){100}){100})`"),
        Err(Error::BadPattern { .. })
    ));
    assert!(matches!(
        Filter::<Row>::parse(&format!("Service matches `{}x{}`", "(".repeat(3000), ")".repeat(3000))),
        Err(Error::BadPattern { .. })
    ));
    // A long list of terms is not deep.
    check(&vec!["Port == 1"; 600].join(" or "), false);
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z][a-zA-Z0-9_/]{0,6}", "\\PC{0,6}", Just("not".to_owned()), Just("in".to_owned())]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof!["[a-z]{1,4}", "-?[1-9][0-9]{0,3}", any::<String>()].prop_map(Literal)
}

fn comparison() -> impl Strategy<Value = Expression> {
    let operator = prop_oneof![
        literal().prop_map(Operator::Equal),
        literal().prop_map(Operator::In),
        literal().prop_map(Operator::Matches),
        Just(Operator::Empty),
    ];
    (prop::collection::vec(part(), 1..4), operator, any::<bool>()).prop_map(|(parts, operator, negated)| {
        Expression::Compare(Comparison { selector: Selector(parts), operator, negated })
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    comparison().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::Any),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::All),
            inner.prop_map(|inner| Expression::Not(Box::new(inner))),
        ]
    })
}

/// A comparison that the test row can answer.
fn answerable() -> impl Strategy<Value = String> {
    let fields = prop::sample::select(vec![
        "Service",
        "Meta.env",
        "Meta.foo",
        "Checks.Status",
        "Checks.CheckID",
        "Node.Address",
    ]);
    let operators =
        prop::sample::select(vec!["== \"{}\"", "!= \"{}\"", "contains \"{}\"", "matches \"{}\"", "is empty"]);
    let values = prop::sample::select(vec!["web", "prod", "critical", "passing", "e", ""]);
    (fields, operators, values)
        .prop_map(|(field, operator, value)| format!("{field} {}", operator.replace("{}", value)))
}

fn holds(text: &str) -> bool {
    Filter::<Row>::parse(text).unwrap().matches(&row())
}

proptest! {
    #[test]
    fn printing_and_reading_gives_the_same_tree(tree in expression()) {
        let text = tree.to_string();
        prop_assert_eq!(Expression::parse(&text), Ok(tree), "{}", text);
    }

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        let _ = Filter::<Row>::parse(&text).map(|filter| filter.matches(&row()));
    }

    #[test]
    fn random_tokens_never_panic(tokens in prop::collection::vec(prop::sample::select(vec![
        "Service", "Port", "Meta.env", "Checks.Status", "Tags", "==", "!=", "in", "not", "is", "empty", "matches",
        "contains", "and", "or", "(", ")", "\"x\"", "`y`", "12", "-", "\"", "\\", ".", "[", "]", "é",
    ]), 0..24), spaced in any::<bool>()) {
        let text = tokens.join(if spaced { " " } else { "" });
        let _ = Filter::<Row>::parse(&text).map(|filter| filter.matches(&row()));
    }

    #[test]
    fn de_morgan(one in answerable(), two in answerable()) {
        prop_assert_eq!(holds(&format!("not ({one} and {two})")), holds(&format!("not {one} or not {two}")));
        prop_assert_eq!(holds(&format!("not ({one} or {two})")), holds(&format!("not {one} and not {two}")));
    }
}

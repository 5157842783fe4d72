//! HCL as people write it, and as nobody would.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn blocks_become_objects() {
    let rules = r#"
        # two rules of one kind
        key_prefix "" { policy = "read" }
        key_prefix "a/" { policy = "write" }
        operator = "read"
    "#;
    let expect = json!({"key_prefix": {"": {"policy": "read"}, "a/": {"policy": "write"}}, "operator": "read"});
    assert_eq!(parse(rules), Ok(expect.clone()));
    assert_eq!(parse(&expect.to_string()), Ok(expect));
    let services = json!({"service": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
    assert_eq!(parse("service { name = \"a\" }\nservice { name = \"b\" }\nservice = { name = \"c\" }"), Ok(services));
    let labelled = json!({"a": {"b": {"c": [{}, {"d": 1}]}, "e": {}}});
    assert_eq!(parse(r#"a b c {} a "b" "c" { d = 1 } a e {}"#), Ok(labelled));
}

#[test]
fn nothing_needs_a_line_of_its_own() {
    let expect = json!({"a": {"b": "x", "c": [1, {"d": {"e": true}}]}, "f": "y", "g": {}});
    for text in [
        r#"a { b = "x" c = [1, { d { e = true } }] } f = "y" g {}"#,
        r#"a{b="x",c=[1,{d{e=true},},],},f="y",g{}"#,
        "a\n{\nb\n=\n\"x\"\n\nc = [\n1\n,\n{ d { e = true } } ]\n}\nf = \"y\"\r\ng {\r\n}",
        "/* a */ a /**/ { // b\n b = \"x\" # c\n c = [1, /* d */ {d{e=true}}]}\nf = \"y\"//\ng {}#",
    ] {
        assert_eq!(parse(text), Ok(expect.clone()), "{text}");
    }
    assert_eq!(parse(""), Ok(json!({})));
    assert_eq!(parse("\u{feff}# only\n"), Ok(json!({})));
}

#[test]
fn values_are_those_of_go() {
    let numbers = "a = -1, b = 0x1F, c = 010, d = 0, e = 1.5e3, f = -.5, g = 18446744073709551615, h = 2E-1";
    let expect = json!({"a": -1, "b": 31, "c": 8, "d": 0, "e": 1500.0, "f": -0.5, "g": u64::MAX, "h": 0.2});
    assert_eq!(parse(numbers), Ok(expect));
    let texts =
        r##"a = "\t\"\\\u00e9\xc3\xa9\101\n", b = "${var("x\")} } {", c = "$", d = "a{b", "e f" = "#//", g-h.i = """##;
    let expect = json!({
        "a": "\t\"\\\u{e9}\u{e9}A\n", "b": "${var(\"x\\\")} } {", "c": "$", "d": "a{b", "e f": "#//", "g-h.i": "",
    });
    assert_eq!(parse(texts), Ok(expect));
}

#[test]
fn heredocs_are_lines() {
    let expect = json!({"a": "one\n  two \"\\n\n", "b": 1});
    assert_eq!(parse("a = <<EOF\none\n  two \"\\n\nEOF\nb = 1"), Ok(expect.clone()));
    assert_eq!(parse("a = <<-EOF\n  one\n    two \"\\n\n  EOF\nb = 1"), Ok(expect));
    assert_eq!(parse("a = <<-EOF\n  one\n two\n  EOF"), Ok(json!({"a": "  one\n two\n"})), "not all are indented");
    assert_eq!(parse("a = [<<X\nX\n, <<Y\ny\nY\n]"), Ok(json!({"a": ["", "y\n"]})));
}

#[test]
fn what_is_wrong_has_a_place() {
    for (text, error) in [
        ("a = [1,", "line 1, column 8: expected a value"),
        ("a = [1 2]", "line 1, column 8: expected \",\""),
        ("a = 1\na = 2", "line 2, column 1: \"a\" is given a second time"),
        ("a = 1\na {}", "line 2, column 1: \"a\" is given a second time"),
        ("a \"b\" = 1", "line 1, column 7: expected \"{\""),
        ("é = 1\n ü 2", "line 2, column 4: expected \"=\""),
        ("a {", "line 1, column 4: expected a name"),
        ("}", "line 1, column 1: expected a name"),
        ("a = yes", "line 1, column 5: expected a value"),
        ("a = 1x", "line 1, column 5: expected a number"),
        ("a = 09", "line 1, column 5: expected a number"),
        ("a = 1e999", "line 1, column 5: expected a number"),
        ("a = \"\n\"", "line 1, column 6: expected a closing"),
        ("a = \"${", "line 1, column 5: expected a closing"),
        ("a = \"\\q\"", "line 1, column 6: expected a known escape"),
        ("a = \"\\xff\"", "line 1, column 5: expected a string of valid UTF-8"),
        ("a = <<EOF\nEO", "line 1, column 5: expected the name"),
        ("a = <EOF", "line 1, column 5: expected \"<<\""),
        ("a = 1; b = 2", "line 1, column 6: expected a name, a value"),
        ("/* a", "line 1, column 1: expected a closing"),
        ("{\"a\": }", "expected value at line 1"),
    ] {
        assert!(refused(text).starts_with(error), "{text:?}: {}", refused(text));
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |levels: usize| format!("{}{}", "a {".repeat(levels), "}".repeat(levels));
    assert!(parse(&deep(DEPTH_MAX)).is_ok());
    assert!(refused(&deep(DEPTH_MAX + 1)).contains("nested deeper"));
    assert!(refused(&format!("a = {}", "[".repeat(100_000))).contains("nested deeper"));
    assert!(refused(&format!("{}{{}}", "a ".repeat(100_000))).contains("nested deeper"));
}

/// Values without a null, which HCL cannot say.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Texts with what the language is made of.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_.-]{0,6}", "[ -~éß\n\t]{0,12}", r#"["\\{}$#/*=,<\[\]]{0,8}"#]
}

fn quoted(text: &str) -> String {
    // No escape is known inside `${…}`, so a dollar sign is written as a number.
    serde_json::to_string(text).expect("text is JSON").replace('$', "\\u0024")
}

/// One way of writing a value; `style` picks among the ways.
fn written(value: &Value, style: u32) -> String {
    let next = style.rotate_right(3).wrapping_mul(0x9e37_79b1);
    match value {
        Value::String(text) => quoted(text),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(|item| written(item, next)).collect();
            format!("[{}{}]", items.join(", "), if style.is_multiple_of(2) && !items.is_empty() { "," } else { "" })
        }
        Value::Object(map) => format!("{{{}}}", settings(map, next)),
        other => other.to_string(),
    }
}

fn settings(map: &serde_json::Map<String, Value>, style: u32) -> String {
    let separator = ["\n", " ", ",", " /* , */ ", "# }\n"][style as usize % 5];
    let mut out = String::new();
    for (name, value) in map {
        match value {
            Value::Object(_) if style.is_multiple_of(3) => {
                out += &format!("{} {}", quoted(name), written(value, style));
            }
            // Several objects of one name are a list of them.
            Value::Array(list) if style.is_multiple_of(2) && list.len() > 1 && list.iter().all(Value::is_object) => {
                for item in list {
                    out += &format!("{} {}\n", quoted(name), written(item, style));
                }
            }
            _ => out += &format!("{}={}", quoted(name), written(value, style)),
        }
        out += separator;
    }
    out
}

proptest! {
    /// Whatever can be said is read as it was meant, in every way of writing it.
    #[test]
    fn what_is_written_is_read(value in value(), style in any::<u32>()) {
        let value = json!({ "top": value });
        let text = settings(value.as_object().expect("an object"), style);
        prop_assert_eq!(parse(&text), Ok(value), "{}", text);
    }

    /// Whatever a text is, it is read or refused.
    #[test]
    fn any_text_ends(text in r#"([a-c]|[ \n"\\{}$#/*=,<\[\]0-9.-]|<<-?A\n|\$\{){0,40}"#) {
        let _ = parse(&text);
    }
}

//! HCL, as configuration files and access rules are written in: read as the JSON that it stands for.

/// Reads HCL, or JSON, which it tells by the brace that it begins with.
///
/// A block becomes an object under its name, and each label another object inside; blocks of the same name and
/// labels become a list.
///
/// # Errors
/// What is wrong, and in which line and column.
pub fn parse(text: &str) -> Result<serde_json::Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    hcl::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let services = r#"service { name = "a" } service { name = "b" }"#;
        assert!(parse(services).is_err(), "blocks end with their line");
        let services = "service { name = \"a\" }\nservice { name = \"b\" }";
        assert_eq!(parse(services), Ok(json!({"service": [{"name": "a"}, {"name": "b"}]})));
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let error = parse("a = [1,").unwrap_err();
        assert!(error.contains("line 1, column 8"), "{error}");
    }
}

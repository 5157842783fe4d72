//! Rules as people write them, HCL or JSON.

use callboard_proto::acl::{InvalidRules, RuleSet};
use callboard_proto::hcl;

/// Reads the rules of a policy.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn rules(text: &str) -> Result<RuleSet, InvalidRules> {
    if text.trim().is_empty() {
        return Ok(RuleSet::default());
    }
    RuleSet::parse(&hcl::parse(text).map_err(|reason| InvalidRules(format!("Invalid rules: {reason}")))?)
}

#[cfg(test)]
mod tests {
    use callboard_proto::acl::{Grant, Resource, templates};

    use super::*;

    fn grants(text: &str) -> Vec<(Resource, Grant)> {
        let rules = rules(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let mut grants: Vec<_> = rules.iter().map(|rule| (rule.resource, rule.grant)).collect();
        grants.sort();
        grants
    }

    #[test]
    fn rules_may_stand_on_one_line() {
        let one = r#"key_prefix "a/" { policy = "read" } service_prefix "" { policy = "read" } operator = "write" acl="read""#;
        let several = "key_prefix \"a/\" {\n  policy = \"read\" # all\n}\n// more\nservice_prefix \"\" { policy = \"read\" }\noperator = \"write\"\nacl = \"read\"";
        assert_eq!(grants(one), grants(several));
        assert_eq!(grants(one).len(), 4);
        assert_eq!(grants(r#"service "w}e{b" { policy = "write", intentions = "read" }"#).len(), 2);
        assert_eq!(grants(r#"service "web" { policy = "write" intentions = "deny" }"#).len(), 2);
        assert_eq!(grants("").len(), 0);
        assert_eq!(grants(r#"{"key": {"a\"b": {"policy": "write"}}}"#).len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for text in ["{", "key \"a\" {", "key \"a\" { policy = \"fly\" }", "key \"a\"", "wings = \"read\""] {
            let error = rules(text).unwrap_err().to_string();
            assert!(error.starts_with("Invalid "), "{error}");
        }
    }

    #[test]
    fn what_templates_write_can_be_read() {
        for template in templates::Template::ALL {
            let mut read: Vec<_> =
                rules(&template.text().replace("${.Name}", "web")).unwrap().iter().cloned().collect();
            let mut meant: Vec<_> = template.rules("web").iter().cloned().collect();
            read.sort();
            meant.sort();
            assert_eq!(read, meant, "{}", template.as_str());
        }
        for set in [templates::everything(), templates::reading_everything()] {
            let all = rules(&templates::hcl(&set)).unwrap();
            let one = callboard_proto::acl::Authority::of([&all], callboard_proto::acl::Fallback::Deny);
            let two = callboard_proto::acl::Authority::of([&set], callboard_proto::acl::Fallback::Deny);
            assert_eq!(one.canonical(), two.canonical());
        }
    }
}

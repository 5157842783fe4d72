//! Any text as a configuration file, as rules and as a config entry: it is refused, or what it stands for is JSON that
//! reads as the same.
#![no_main]

use callboard_proto::acl::RuleSet;
use callboard_proto::config_entry::ConfigEntry;
use callboard_proto::hcl;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let _ = RuleSet::read(text);
    let Ok(value) = hcl::parse(text) else { return };
    let json = value.to_string();
    if value.is_object() {
        let again = hcl::parse(&json).expect("JSON is read as JSON");
        assert!(alike(&value, &again), "{value} became {again}");
    }
    let _ = ConfigEntry::parse(json.as_bytes());
});

/// The same but for the last digit of a fraction, in which serde_json may be wrong.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
            (one - other).abs() <= one.abs() * 1e-15
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| alike(one, other)))
        }
        (one, other) => one == other,
    }
}

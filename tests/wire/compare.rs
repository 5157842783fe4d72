//! Finds where two JSON values differ, as places such as `[].Service.PeerName`: a place names keys and stands for every
//! element of a list. What must differ from run to run (indexes, ids, hashes) is compared by its kind only.

use std::collections::BTreeSet;

use serde_json::Value;

/// Collects the places where `ours` differs from `recorded`, each with what was found.
pub(crate) fn differences(recorded: &Value, ours: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    compare("", recorded, ours, &mut found);
    found
}

fn compare(place: &str, recorded: &Value, ours: &Value, found: &mut BTreeSet<(String, String)>) {
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let inner = join(place, key);
                match b.get(key) {
                    Some(other) if varies(key, value, other) => {}
                    Some(other) => compare(&inner, value, other, found),
                    None => {
                        found.insert((inner, format!("recorded {value}, ours lacks it")));
                    }
                }
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                found.insert((join(place, key), format!("ours adds {value}")));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (a, b) in a.iter().zip(b) {
                compare(&format!("{place}[]"), a, b, found);
            }
        }
        // 1 and 1.0 are the same number in JSON.
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if recorded == ours => {}
        _ => {
            found.insert((place.to_owned(), format!("recorded {recorded}, ours {ours}")));
        }
    }
}

fn join(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// Whether two values of a key differ from run to run, and are of the same kind.
fn varies(key: &str, recorded: &Value, ours: &Value) -> bool {
    let uuid = |value: &Value| value.as_str().is_some_and(is_uuid);
    match key {
        // 0 says "not in the catalog"; every other index only has to be one.
        "CreateIndex" | "ModifyIndex" => match (recorded.as_u64(), ours.as_u64()) {
            (Some(recorded), Some(ours)) => (recorded == 0) == (ours == 0),
            _ => false,
        },
        // Certificates and what is derived from them.
        "ID" if is_fingerprint(recorded) => is_fingerprint(ours),
        "ID" | "AccessorID" => uuid(recorded) && uuid(ours),
        "ExternalTrustDomain" => uuid(recorded) && uuid(ours),
        "ActiveRootID" | "SigningKeyID" => is_fingerprint(recorded) && is_fingerprint(ours),
        "CertPEM" | "PrivateKeyPEM" | "RootCert" => ours.as_str().is_some_and(|text| text.starts_with("-----BEGIN ")),
        "NotBefore" | "NotAfter" | "ValidAfter" | "ValidBefore" => {
            let length = |value: &Value| value.as_str().map(str::len);
            length(recorded) == length(ours) && ours.as_str().is_some_and(|text| text.ends_with('Z'))
        }
        "SerialNumber" => match (recorded, ours) {
            (Value::Number(_), Value::Number(_)) => true,
            _ => is_fingerprint(recorded) && is_fingerprint(ours),
        },
        "TrustDomain" => ours.as_str().is_some_and(|text| text.len() == 43 && text.ends_with(".consul")),
        // A text that quotes an index.
        "What" => match (recorded.as_str(), ours.as_str()) {
            (Some(recorded), Some(ours)) => words(recorded) == words(ours),
            _ => false,
        },
        "Hash" | "CreateTime" | "ExpirationTime" => recorded.is_string() && ours.is_string(),
        // The recording has no secrets. Ours are UUIDs, but for the one of the settings.
        "SecretID" => recorded == "(secret uuid)" && (uuid(ours) || ours == "root"),
        "ContentHash" => recorded.is_string() && ours.as_str().is_some_and(|text| !text.is_empty()),
        _ => false,
    }
}

/// Pairs of digits with colons between them.
fn is_fingerprint(value: &Value) -> bool {
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    value.as_str().is_some_and(|text| text.split(':').all(pair))
}

/// The text with every number as one sign.
fn words(text: &str) -> Vec<&str> {
    text.split(|letter: char| letter.is_ascii_digit()).filter(|part| !part.is_empty()).collect()
}

/// Whether a text has the form of a UUID.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(at, letter)| match at {
            8 | 13 | 18 | 23 => letter == '-',
            _ => letter.is_ascii_hexdigit(),
        })
}

#[test]
fn differences_are_places() {
    let recorded = serde_json::json!([{"A": 1, "CreateIndex": 7, "B": {"C": null}}]);
    let ours = serde_json::json!([{"A": 1.0, "CreateIndex": 9, "B": {"C": []}, "D": true}]);
    let places: Vec<String> = differences(&recorded, &ours).into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["[].B.C", "[].D"]);
}

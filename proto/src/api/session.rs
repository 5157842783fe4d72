//! `/v1/session/…`: what holds locks.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::valid::{InvalidRequest, text};
use crate::check::SERF_HEALTH;
use crate::duration::GoDuration;
use crate::index::Index;
use crate::name::{CheckId, NodeName};
use crate::session::{SessionBehavior, SessionRow};

/// The shortest time to live that is accepted unless the server is told otherwise.
pub const TTL_MIN: Duration = Duration::from_secs(10);
/// The longest time to live that is accepted.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The lock delay of a session that names none.
pub const LOCK_DELAY_DEFAULT: Duration = Duration::from_secs(15);
/// The most checks of each kind that one session may depend on.
pub const CHECKS_MAX: usize = 64;

/// For how long nobody may take the keys of a session that ended: a duration, or a number, which counts seconds
/// below 1000 and nanoseconds from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockDelay(pub Duration);

impl Serialize for LockDelay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        GoDuration::from(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LockDelay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LockDelay, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(i64),
            Text(String),
        }
        let delay = match Given::deserialize(deserializer)? {
            Given::Number(seconds @ ..1000) => GoDuration(seconds.max(0) * 1_000_000_000),
            Given::Number(nanos) => GoDuration(nanos),
            Given::Text(text) if text.is_empty() => GoDuration(0),
            Given::Text(text) => GoDuration::parse(&text).map_err(serde::de::Error::custom)?,
        };
        Ok(LockDelay(delay.to_std()))
    }
}

/// A check of an instance that a session depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceCheck {
    #[serde(rename = "ID")]
    /// The check.
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// `default` or empty.
    pub namespace: String,
}

/// Body of `PUT /v1/session/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionRequest {
    #[serde(skip_serializing_if = "String::is_empty")]
    /// For people.
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// The node it depends on; empty for the server's own.
    pub node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For how long nobody may take its keys when it ends; none for the default.
    pub lock_delay: Option<LockDelay>,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// `release` (also when empty) or `delete`.
    pub behavior: String,
    #[serde(rename = "TTL", skip_serializing_if = "String::is_empty")]
    /// The time it lives without being renewed, as Go writes durations; empty for no end.
    pub ttl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The checks of the node that it depends on, in the older spelling; adds to [`Self::node_checks`].
    pub checks: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The checks of the node that it depends on; none for the node's own health, an empty list for no check.
    pub node_checks: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The checks of instances on the node that it depends on.
    pub service_checks: Option<Vec<ServiceCheck>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// Which datacenter is asked.
    pub datacenter: String,
}

impl SessionRequest {
    /// Takes a request as a row.
    ///
    /// # Errors
    /// The texts are what clients match on; a server answers 500 with them.
    pub fn validate(self, id: &str, own_node: &NodeName, ttl_min: Duration) -> Result<SessionRow, InvalidRequest> {
        let behavior = match self.behavior.as_str() {
            "" | "release" => SessionBehavior::Release,
            "delete" => SessionBehavior::Delete,
            other => return Err(InvalidRequest(format!("Invalid Behavior setting '{}'", clip(other)))),
        };
        let node = match self.node.as_str() {
            "" => own_node.clone(),
            name => NodeName::parse(name).map_err(|_| InvalidRequest("Missing node registration".to_owned()))?,
        };
        let node_checks = match (self.checks, self.node_checks) {
            (None, None) => vec![SERF_HEALTH.to_owned()],
            (older, newer) => older.into_iter().chain(newer).flatten().collect(),
        };
        let service_checks = self.service_checks.unwrap_or_default().into_iter().map(|check| check.id).collect();
        Ok(SessionRow {
            id: id.into(),
            name: text("Name", &self.name, 512)?,
            node,
            lock_delay: self.lock_delay.map_or(LOCK_DELAY_DEFAULT, |delay| delay.0),
            behavior,
            ttl: ttl(&self.ttl, ttl_min)?,
            node_checks: checks("NodeChecks", node_checks)?,
            service_checks: checks("ServiceChecks", service_checks)?,
            created: Index::ZERO,
            modified: Index::ZERO,
        })
    }
}

fn ttl(given: &str, min: Duration) -> Result<crate::text::Text, InvalidRequest> {
    if given.is_empty() {
        return Ok("".into());
    }
    let invalid = |_| InvalidRequest(format!("Session TTL '{0}' invalid: time: invalid duration {0:?}", clip(given)));
    let ttl = GoDuration::parse(given).map_err(invalid)?;
    let (low, high) = (GoDuration::from(min), GoDuration::from(TTL_MAX));
    if ttl.0 != 0 && (ttl < low || ttl > high) {
        return Err(InvalidRequest(format!("Invalid Session TTL '{}', must be between [{low}={high}]", ttl.0)));
    }
    text("TTL", given, 64)
}

fn checks(field: &str, given: Vec<String>) -> Result<Vec<CheckId>, InvalidRequest> {
    if given.len() > CHECKS_MAX {
        return Err(InvalidRequest(format!(
            "Invalid {field}: {} checks given; at most {CHECKS_MAX} are accepted",
            given.len()
        )));
    }
    let mut checks = Vec::with_capacity(given.len());
    for id in given {
        let missing = |_| InvalidRequest(format!("Missing check '{}' registration", clip(&id)));
        let id = CheckId::parse(&id).map_err(missing)?;
        if !checks.contains(&id) {
            checks.push(id);
        }
    }
    Ok(checks)
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A session in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct Session {
    #[serde(rename = "ID")]
    /// A UUID.
    pub id: String,
    /// For people.
    pub name: String,
    /// The node it depends on.
    pub node: NodeName,
    /// For how long nobody may take its keys when it ends, in nanoseconds.
    pub lock_delay: u64,
    /// What becomes of its keys when it ends.
    pub behavior: SessionBehavior,
    #[serde(rename = "TTL", default)]
    /// The time it lives without being renewed, as it was written; empty for no end.
    pub ttl: String,
    #[serde(default)]
    /// The checks of the node that it depends on.
    pub node_checks: Option<Vec<CheckId>>,
    #[serde(default)]
    /// The checks of instances on the node that it depends on; null for none.
    pub service_checks: Option<Vec<ServiceCheck>>,
    #[serde(default)]
    /// When it was created.
    pub create_index: Index,
    #[serde(default)]
    /// When it last changed.
    pub modify_index: Index,
}

impl Session {
    /// Shows a row.
    #[must_use]
    pub fn of(row: &SessionRow) -> Session {
        let service_checks: Vec<ServiceCheck> = row
            .service_checks
            .iter()
            .map(|id| ServiceCheck { id: id.as_str().to_owned(), namespace: String::new() })
            .collect();
        Session {
            id: row.id.to_string(),
            name: row.name.to_string(),
            node: row.node.clone(),
            lock_delay: u64::try_from(row.lock_delay.as_nanos()).unwrap_or(u64::MAX),
            behavior: row.behavior,
            ttl: row.ttl.to_string(),
            node_checks: Some(row.node_checks.clone()),
            service_checks: (!service_checks.is_empty()).then_some(service_checks),
            create_index: row.created,
            modify_index: row.modified,
        }
    }
}

/// The answer to `PUT /v1/session/create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct SessionCreated {
    #[serde(rename = "ID")]
    /// A UUID.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode::{Unknown, from_slice};

    fn read(body: &str) -> Result<SessionRow, String> {
        let request: SessionRequest =
            from_slice(body.as_bytes(), Unknown::Ignore).map_err(|error| error.to_string())?;
        request.validate("id", &NodeName::parse("n1").unwrap(), TTL_MIN).map_err(|error| error.0)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let row = read("{}").unwrap();
        assert_eq!((row.node.as_str(), row.lock_delay, row.ttl()), ("n1", LOCK_DELAY_DEFAULT, None));
        assert_eq!(row.node_checks, [CheckId::parse(SERF_HEALTH).unwrap()]);
        assert_eq!(read(r#"{"checks":[]}"#).unwrap().node_checks, []);
        assert_eq!(read(r#"{"NodeChecks":null}"#).unwrap().node_checks.len(), 1);
    }

    #[test]
    fn lock_delays_are_read_as_clients_write_them() {
        let check = |delay: &str, expected: Duration| {
            assert_eq!(read(&format!(r#"{{"lockdelay":{delay}}}"#)).unwrap().lock_delay, expected, "{delay}");
        };
        check("5", Duration::from_secs(5));
        check("1500000000", Duration::from_millis(1500));
        check("\"0.001s\"", Duration::from_millis(1));
        check("\"0s\"", Duration::ZERO);
        check("\"90s\"", Duration::from_secs(90));
        assert!(read(r#"{"LockDelay":"soon"}"#).unwrap_err().starts_with("Request decode failed: LockDelay: "));
    }

    #[test]
    fn bounds_are_told_in_the_words_that_clients_know() {
        let check = |body: &str, text: &str| assert_eq!(read(body).unwrap_err(), text);
        check(r#"{"TTL":"1s"}"#, "Invalid Session TTL '1000000000', must be between [10s=24h0m0s]");
        check(r#"{"TTL":"25h"}"#, "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]");
        check(r#"{"TTL":"abc"}"#, "Session TTL 'abc' invalid: time: invalid duration \"abc\"");
        check(r#"{"Behavior":"odd"}"#, "Invalid Behavior setting 'odd'");
        assert!(read(r#"{"TTL":10}"#).unwrap_err().starts_with("Request decode failed: TTL: "));
        assert_eq!(read(r#"{"TTL":"0s"}"#).unwrap().ttl(), None);
        assert_eq!(read(r#"{"TTL":"15s"}"#).unwrap().ttl(), Some(Duration::from_secs(15)));
    }

    #[test]
    fn an_answer_has_the_fields_that_clients_know() {
        let shown = serde_json::to_value(Session::of(&read(r#"{"LockDelay":"1s"}"#).unwrap())).unwrap();
        let expected = serde_json::json!({"ID": "id", "Name": "", "Node": "n1", "LockDelay": 1_000_000_000,
            "Behavior": "release", "TTL": "", "NodeChecks": ["serfHealth"], "ServiceChecks": null,
            "CreateIndex": 0, "ModifyIndex": 0});
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let request = SessionRequest {
            ttl: "15s".to_owned(),
            lock_delay: Some(LockDelay(Duration::from_millis(1))),
            node_checks: Some(Vec::new()),
            ..SessionRequest::default()
        };
        let body = serde_json::to_string(&request).unwrap();
        assert_eq!(body, r#"{"LockDelay":"1ms","TTL":"15s","NodeChecks":[]}"#);
        assert_eq!(from_slice::<SessionRequest>(body.as_bytes(), Unknown::Refuse).unwrap(), request);
    }
}

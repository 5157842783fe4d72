//! The words of the protocol, for those who ask and those who run. PURE.
//!
//! Facts of Consul's: a call is the payload of an event, a job is the value of a key, and the keys say the rest by their
//! names. Both JSON texts are read without regard to the case of names, as Go reads them.

use callboard_proto::api::decode::{DecodeError, Unknown, from_slice};
use callboard_proto::api::kv::Base64;
use callboard_proto::kv::KEY_MAX;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// What the keys begin with unless another prefix is named.
pub const PREFIX: &str = "_rexec";

const JOB: &str = "job";
const ACK: &str = "ack";
const OUT: &str = "out";
const EXIT: &str = "exit";

/// The number of a piece of output has so many hexadecimal digits.
const DIGITS: usize = 5;

/// Why words of somebody else cannot be used; names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// They are no JSON, or of another shape.
    #[error("{0}")]
    Shape(String),
    /// A field says something that cannot be.
    #[error("{field}: {reason}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<DecodeError> for WordError {
    fn from(error: DecodeError) -> WordError {
        WordError::Shape(error.detail())
    }
}

/// The payload of the event: where the job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Call {
    /// What all keys begin with.
    pub prefix: String,
    /// The session that they belong to.
    pub session: String,
    /// SHA-256 of the job's value, so that nobody can exchange it who may write keys and may not call. Empty where whoever
    /// asked says nothing, as Consul's program does; Consul's nodes do not know the field, and leave it alone.
    #[serde(skip_serializing_if = "Base64::is_empty")]
    pub digest: Base64,
}

impl Call {
    /// Reads a payload.
    ///
    /// # Errors
    /// See [`WordError`].
    pub fn read(payload: &[u8]) -> Result<Call, WordError> {
        let call: Call = from_slice(payload, Unknown::Ignore)?;
        let fault = |field, reason| Err(WordError::Field { field, reason });
        if call.session.is_empty() || call.session.contains('/') {
            return fault("Session", "it is not the id of a session");
        }
        // Room for the longest name of a node and what is below it.
        if call.prefix.len() + call.session.len() > KEY_MAX / 2 {
            return fault("Prefix", "it is too long for a key");
        }
        Ok(call)
    }

    /// Names the job as well, by its value.
    #[must_use]
    pub fn naming(mut self, job: &[u8]) -> Call {
        self.digest = Base64(digest(&SHA256, job).as_ref().to_vec());
        self
    }

    /// Says whether it may mean the job of this value: always, if it names none.
    #[must_use]
    pub fn may_mean(&self, job: &[u8]) -> bool {
        self.digest.is_empty() || self.digest.0 == digest(&SHA256, job).as_ref()
    }

    /// The place that it names.
    #[must_use]
    pub fn place(&self) -> Place {
        let prefix = self.prefix.trim_end_matches('/');
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Place { folder: format!("{folder}{}/", self.session) }
    }
}

/// What is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Job {
    /// A line for a shell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// A program and its arguments; comes before the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// A file to be run; comes before the line.
    #[serde(skip_serializing_if = "Base64::is_empty")]
    pub script: Base64,
    /// For how long whoever asks waits in silence, in nanoseconds.
    pub wait: i64,
}

impl Job {
    /// Reads the value of a job's key.
    ///
    /// # Errors
    /// See [`WordError`].
    pub fn read(value: &[u8]) -> Result<Job, WordError> {
        let job: Job = from_slice(value, Unknown::Ignore)?;
        if job.command.is_empty() && job.args.is_empty() && job.script.is_empty() {
            return Err(WordError::Field { field: "Command", reason: "there is nothing to run" });
        }
        Ok(job)
    }
}

/// Where the keys of one call are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    folder: String,
}

/// What a key below a place says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// It took the job.
    Ack,
    /// A piece of what the program says; an empty one says that it still runs.
    Out(u32),
    /// How the program ended, as a number in decimal digits.
    Exit,
}

impl Place {
    /// The most pieces of output that can be told apart.
    pub const PIECES: u32 = 1 << (4 * DIGITS);

    /// What all of its keys begin with.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The key of the job.
    #[must_use]
    pub fn job(&self) -> String {
        format!("{}{JOB}", self.folder)
    }

    /// A key of a node.
    #[must_use]
    pub fn key(&self, node: &str, part: Part) -> String {
        let folder = &self.folder;
        match part {
            Part::Ack => format!("{folder}{node}/{ACK}"),
            Part::Out(number) => format!("{folder}{node}/{OUT}/{number:0DIGITS$x}"),
            Part::Exit => format!("{folder}{node}/{EXIT}"),
        }
    }

    /// Reads a key of a node; none for all others.
    #[must_use]
    pub fn read<'a>(&self, key: &'a str) -> Option<(&'a str, Part)> {
        let (rest, last) = key.strip_prefix(&self.folder)?.rsplit_once('/')?;
        let (node, part) = match last {
            ACK => (rest, Part::Ack),
            EXIT => (rest, Part::Exit),
            number => {
                let (node, divider) = rest.rsplit_once('/')?;
                let is_plain = divider == OUT && number.bytes().all(|byte| byte.is_ascii_hexdigit());
                let number = u32::from_str_radix(number, 16).ok().filter(|_| is_plain)?;
                (node, Part::Out(number))
            }
        };
        (!node.is_empty()).then_some((node, part))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(prefix: &str) -> Place {
        Call { prefix: prefix.to_owned(), session: "s".to_owned(), ..Call::default() }.place()
    }

    #[test]
    fn keys_are_those_of_consul() {
        let place = place("_rexec");
        assert_eq!(place.job(), "_rexec/s/job");
        assert_eq!(place.key("n1", Part::Ack), "_rexec/s/n1/ack");
        assert_eq!(place.key("n1", Part::Out(26)), "_rexec/s/n1/out/0001a");
        assert_eq!(place.key("n1", Part::Exit), "_rexec/s/n1/exit");
        assert_eq!(super::tests::place("a/b//").job(), "a/b/s/job");
        assert_eq!(super::tests::place("").job(), "s/job");
    }

    #[test]
    fn other_keys_say_nothing() {
        let place = place("_rexec");
        for key in [
            "_rexec/s/job",
            "_rexec/s/",
            "_rexec/s/n1/out/xyz",
            "_rexec/s/n1/out/+1",
            "_rexec/s//ack",
            "_rexec/t/n1/ack",
            "",
            "ack",
        ] {
            assert_eq!(place.read(key), None, "{key}");
        }
    }

    #[test]
    fn jobs_are_written_as_go_writes_them() {
        let written = |job: &Job| serde_json::to_string(job).unwrap();
        let line = Job { command: "uptime".to_owned(), wait: 1_000_000_000, ..Job::default() };
        assert_eq!(written(&line), r#"{"Command":"uptime","Wait":1000000000}"#);
        let words = Job { args: vec!["echo".to_owned(), "a".to_owned()], ..Job::default() };
        assert_eq!(written(&words), r#"{"Args":["echo","a"],"Wait":0}"#);
        let script = Job { script: Base64(b"#!/bin/sh\n".to_vec()), ..Job::default() };
        assert_eq!(written(&script), r#"{"Script":"IyEvYmluL3NoCg==","Wait":0}"#);
        for job in [line, words, script] {
            assert_eq!(Job::read(written(&job).as_bytes()), Ok(job));
        }
        let call = Call { prefix: "_rexec".to_owned(), session: "s".to_owned(), ..Call::default() };
        assert_eq!(serde_json::to_string(&call).unwrap(), r#"{"Prefix":"_rexec","Session":"s"}"#);
    }

    #[test]
    fn a_call_may_name_its_job() {
        let read = |text: &str| Call::read(text.as_bytes()).unwrap();
        let any = read(r#"{"Prefix":"_rexec","Session":"s"}"#);
        assert!(any.may_mean(b"abc") && any.may_mean(b""));
        let written = serde_json::to_string(&any.naming(b"abc")).unwrap();
        // The digest of FIPS 180-2, appendix B.1.
        let digest = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(written, format!(r#"{{"Prefix":"_rexec","Session":"s","Digest":"{digest}"}}"#));
        let one = read(&written);
        assert!(one.may_mean(b"abc") && !one.may_mean(b"abd") && !one.may_mean(b""));
        assert!(!read(r#"{"Session":"s","Digest":"ungW"}"#).may_mean(b"abc"), "half a digest is another");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let job = |text: &str| Job::read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(job("{}"), "Command: there is nothing to run");
        assert_eq!(job(r#"{"command":null,"Args":null}"#), "Command: there is nothing to run");
        assert!(job(r#"{"Wait":"soon"}"#).starts_with("Wait: "));
        assert!(job(r#"{"Args":[1]}"#).starts_with("Args.0: "));
        assert!(job(r#"{"Script":"?"}"#).starts_with("Script: illegal base64"));
        let call = |text: &str| Call::read(text.as_bytes()).unwrap_err().to_string();
        assert!(call("").contains("empty"));
        assert_eq!(call(r#"{"Prefix":"a"}"#), "Session: it is not the id of a session");
        assert_eq!(call(r#"{"Session":"a/b"}"#), "Session: it is not the id of a session");
        assert!(call(&format!(r#"{{"Prefix":"{}","Session":"s"}}"#, "a".repeat(KEY_MAX))).starts_with("Prefix: "));
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![Just(Part::Ack), Just(Part::Exit), (0..Place::PIECES).prop_map(Part::Out)]
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_is_written(prefix in "[a-z/]{0,8}", node in "[a-zA-Z0-9._-]{1,12}", part in part()) {
            let place = place(&prefix);
            let key = place.key(&node, part);
            prop_assert_eq!(place.read(&key), Some((node.as_str(), part)));
        }

        #[test]
        fn pieces_are_in_order_by_their_keys(one in 0..Place::PIECES, two in 0..Place::PIECES) {
            let place = place("p");
            let key = |number| place.key("n", Part::Out(number));
            prop_assert_eq!(one.cmp(&two), key(one).cmp(&key(two)));
        }

        #[test]
        fn odd_words_are_refused_without_panic(bytes: Vec<u8>, key: String) {
            let _ = (Call::read(&bytes), Job::read(&bytes), place("p").read(&key));
        }
    }
}

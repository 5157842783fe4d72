//! Rows written into a registry of ours, in batches that are done whole or not at all.
//!
//! Nodes, instances, checks and keys go through transactions; what cannot, one by one. When something fails, what was
//! written before stays, and how much that was is said: writing again goes on from there.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::carry_read::kind_order;
use super::client::{Api, PATIENCE, Target, decode, rows, success};
use super::failure::{Failure, Kind};
use super::portable::{Change, Noun, Row, kept};
use super::progress::{Progress, Unit};
use super::talk::text;

/// The operations of one transaction: as many as every version takes.
const BATCH: usize = 64;
/// The bytes of one transaction.
const BATCH_BYTES: usize = 256 << 10;

/// Writes every row that is new or changed.
pub(super) async fn write(api: &Api, changes: &[(Change, Row)]) -> Result<usize, Failure> {
    let wanted = |change: &Change| matches!(change, Change::Added | Change::Changed);
    let mut wanted: Vec<&Row> = changes.iter().filter(|(change, _)| wanted(change)).map(|(_, row)| row).collect();
    wanted.sort_by_key(|row| match row.noun {
        Noun::Config => (row.noun, kind_order(&text(&row.value, "Kind"))),
        noun => (noun, 0),
    });
    let total = wanted.len();
    let mut writer = Writer { api, batch: Vec::new(), bytes: 0, done: 0, ids: HashMap::new() };
    let mut progress = Progress::new("writing", Some(total as u64), Unit::Items);
    let mut shown = 0;
    let mut failed = None;
    for row in wanted {
        if let Err(failure) = writer.row(row).await {
            failed = Some(failure);
            break;
        }
        progress.add((writer.done - shown) as u64);
        shown = writer.done;
    }
    if failed.is_none() {
        failed = writer.flush().await.err();
        progress.add((writer.done - shown) as u64);
    }
    progress.end();
    match failed {
        None => Ok(writer.done),
        Some(mut failure) => {
            if writer.done > 0 {
                failure.kind = Kind::Partial;
            }
            let said =
                format!("{} of {total} rows were written and stay; the same command goes on from there", writer.done);
            Err(failure.hint(said))
        }
    }
}

struct Writer<'a> {
    api: &'a Api,
    batch: Vec<Value>,
    bytes: usize,
    done: usize,
    // The ids that the target gave, by noun and name; read when first needed.
    ids: HashMap<Noun, HashMap<String, String>>,
}

impl Writer<'_> {
    async fn row(&mut self, row: &Row) -> Result<(), Failure> {
        match operation(row) {
            Some(operation) => {
                let bytes = operation.to_string().len();
                if row.noun == Noun::Key && bytes > BATCH_BYTES {
                    return self.large_key(row).await;
                }
                if self.batch.len() == BATCH || self.bytes + bytes > BATCH_BYTES {
                    self.flush().await?;
                }
                self.bytes += bytes;
                self.batch.push(operation);
            }
            None => {
                self.flush().await?;
                self.one(row).await?;
                self.done += 1;
            }
        }
        Ok(())
    }

    /// Writes what was collected, all of it or nothing.
    async fn flush(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let count = self.batch.len();
        let body = Value::Array(std::mem::take(&mut self.batch)).to_string();
        self.bytes = 0;
        let answer = self.api.ask(Method::PUT, Target::new("/v1/txn"), body, PATIENCE).await?;
        success("Error writing a batch, of which nothing was done", answer)?;
        self.done += count;
        Ok(())
    }

    async fn large_key(&mut self, row: &Row) -> Result<(), Failure> {
        let bytes = STANDARD.decode(text(&row.value, "Value"));
        let doing = format!("Error writing key {}", row.name);
        let bytes = bytes.map_err(|error| Failure::because(Kind::Usage, doing.clone(), &error))?;
        let target = Target::of("/v1/kv/", &row.name).pair("flags", text(&row.value, "Flags"));
        self.api.put(&doing, target, bytes).await?;
        self.done += 1;
        Ok(())
    }

    /// Writes what no transaction takes.
    async fn one(&mut self, row: &Row) -> Result<(), Failure> {
        let doing = format!("Error writing {} {}", row.noun.as_str(), row.name);
        let known = self.id(row).await?;
        let value = &row.value;
        match row.noun {
            Noun::Config => {
                let answer = self.api.put_json(&doing, Target::new("/v1/config"), value).await?;
                if decode::<Value>(&doing, &answer)? != Value::Bool(true) {
                    return Err(Failure::new(Kind::Conflict, doing));
                }
            }
            Noun::Query => match known {
                Some(id) => drop(self.api.put_json(&doing, Target::of("/v1/query/", &id), value).await?),
                None => drop(self.api.send(&doing, Method::POST, Target::new("/v1/query"), value.to_string()).await?),
            },
            Noun::Policy => self.access(&doing, "/v1/acl/policy", known, "ID", value).await?,
            Noun::Role => self.access(&doing, "/v1/acl/role", known, "ID", value).await?,
            Noun::BindingRule => self.access(&doing, "/v1/acl/binding-rule", known, "ID", value).await?,
            Noun::AuthMethod => self.access(&doing, "/v1/acl/auth-method", known, "Name", value).await?,
            Noun::Token => self.access(&doing, "/v1/acl/token", known, "AccessorID", value).await?,
            // These are operations.
            Noun::Node | Noun::Service | Noun::Check | Noun::Key => {}
        }
        Ok(())
    }

    /// Changes the one that has this id, or makes a new one.
    async fn access(
        &self,
        doing: &str,
        path: &str,
        known: Option<String>,
        member: &str,
        value: &Value,
    ) -> Result<(), Failure> {
        let mut body = value.clone();
        let target = match known {
            Some(id) => {
                // A secret cannot be changed.
                body.as_object_mut().map(|members| members.remove("SecretID"));
                body[member] = json!(id);
                Target::of(&format!("{path}/"), &id)
            }
            None => Target::new(path),
        };
        self.api.put_json(doing, target, &body).await.map(drop)
    }

    /// Returns the id that the target gave to a row that is there.
    async fn id(&mut self, row: &Row) -> Result<Option<String>, Failure> {
        let (path, member) = match row.noun {
            Noun::Query => ("/v1/query", "ID"),
            Noun::Policy => ("/v1/acl/policies", "ID"),
            Noun::Role => ("/v1/acl/roles", "ID"),
            Noun::BindingRule => ("/v1/acl/binding-rules", "ID"),
            Noun::AuthMethod => ("/v1/acl/auth-methods", "Name"),
            Noun::Token => ("/v1/acl/tokens", "AccessorID"),
            Noun::Config | Noun::Node | Noun::Service | Noun::Check | Noun::Key => return Ok(None),
        };
        if !self.ids.contains_key(&row.noun) {
            let answer = self.api.ask(Method::GET, Target::new(path), "", PATIENCE).await?;
            let doing = format!("Error looking up {}", row.noun.as_str());
            let found = match answer.status {
                StatusCode::NOT_FOUND => Vec::new(),
                _ => rows(decode(&doing, &success(&doing, answer)?)?),
            };
            let named = |found: &Value| match row.noun {
                Noun::Token => text(found, "AccessorID"),
                Noun::BindingRule => {
                    kept(found, &["AuthMethod", "Description", "BindType", "BindName", "Selector"]).to_string()
                }
                _ => text(found, "Name"),
            };
            self.ids.insert(row.noun, found.iter().map(|found| (named(found), text(found, member))).collect());
        }
        Ok(self.ids.get(&row.noun).and_then(|known| known.get(&row.name)).cloned())
    }
}

/// Returns the operation of a transaction that writes a row.
fn operation(row: &Row) -> Option<Value> {
    let node = row.name.split_once('/').map(|(node, _)| node).unwrap_or_default();
    match row.noun {
        Noun::Node => Some(json!({"Node": {"Verb": "set", "Node": row.value}})),
        Noun::Service => Some(json!({"Service": {"Verb": "set", "Node": node, "Service": row.value}})),
        Noun::Check => Some(json!({"Check": {"Verb": "set", "Check": row.value}})),
        Noun::Key => Some(json!({"KV": {"Verb": "set", "Key": row.name, "Flags": row.value["Flags"],
            "Value": row.value["Value"]}})),
        _ => None,
    }
}

//! Everything that can be carried, read from an agent of ours or of Consul's.
//!
//! Nothing is changed there. What may not be read, or belongs to an agent and not to people, is left and said. Which
//! members of a row are carried is decided here.

use callboard_proto::api::kv::KvShown;
use callboard_proto::check::SERF_HEALTH;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Api, PATIENCE, Target, decode, rows, success};
use super::failure::Failure;
use super::portable::{Noun, Portable, kept};
use super::progress::{Progress, Unit};
use super::talk::text;
use crate::identity::CONSUL_SERVICE;

/// What begins the names of metadata that agents write about themselves.
const RESERVED: &str = "consul-";
/// What is shown instead of a secret.
const HIDDEN: &str = "<hidden>";
/// What begins the ids of policies, roles and tokens that every registry has.
const BUILT_IN: &str = "00000000-0000-0000-0000-0000000000";

const NODE: [&str; 4] = ["Node", "Address", "TaggedAddresses", "Meta"];
const SERVICE: [&str; 14] = [
    "ID",
    "Service",
    "Tags",
    "Address",
    "TaggedAddresses",
    "Meta",
    "Port",
    "Ports",
    "SocketPath",
    "Weights",
    "EnableTagOverride",
    "Kind",
    "Proxy",
    "Connect",
];
const CHECK: [&str; 9] = ["Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "Type", "Definition"];
const QUERY: [&str; 5] = ["Name", "Token", "Template", "Service", "DNS"];
const LINKED: [&str; 5] = ["Policies", "Roles", "ServiceIdentities", "NodeIdentities", "TemplatedPolicies"];

/// The kinds of config entries, in an order in which each may be written.
const KINDS: [&str; 19] = [
    "proxy-defaults",
    "mesh",
    "service-defaults",
    "service-resolver",
    "service-splitter",
    "service-router",
    "service-intentions",
    "ingress-gateway",
    "terminating-gateway",
    "exported-services",
    "sameness-group",
    "jwt-provider",
    "inline-certificate",
    "file-system-certificate",
    "api-gateway",
    "http-route",
    "tcp-route",
    "bound-api-gateway",
    "control-plane-request-limit",
];

/// Returns the place of a config entry in the order in which entries are written.
pub(super) fn kind_order(kind: &str) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len())
}

/// Reads all of it; of the keys those that begin with a prefix.
pub(super) async fn read(api: &Api, what: &'static str, prefix: &str) -> Result<Portable, Failure> {
    let mut portable = Portable::default();
    catalog(api, what, &mut portable).await?;
    keys(api, prefix, &mut portable).await?;
    config(api, &mut portable).await?;
    queries(api, &mut portable).await?;
    access(api, &mut portable).await?;
    Ok(portable)
}

async fn catalog(api: &Api, what: &'static str, portable: &mut Portable) -> Result<(), Failure> {
    let doing = "Error reading the catalog";
    let nodes = rows(api.json(doing, Target::new("/v1/catalog/nodes")).await?);
    let mut progress = Progress::new(what, Some(nodes.len() as u64), Unit::Items);
    for node in &nodes {
        let name = text(node, "Node");
        let on: Value = api.json(doing, Target::of("/v1/catalog/node/", &name)).await?;
        let checks = rows(api.json(doing, Target::of("/v1/health/node/", &name)).await?);
        let agent = checks.iter().any(|check| text(check, "CheckID") == SERF_HEALTH);
        let instances: Vec<&Value> = on["Services"]
            .as_object()
            .into_iter()
            .flat_map(|rows| rows.values())
            .filter(|row| text(row, "Service") != CONSUL_SERVICE)
            .collect();
        let checks: Vec<&Value> = checks.iter().filter(|check| text(check, "CheckID") != SERF_HEALTH).collect();
        progress.add(1);
        if agent {
            portable.agents.insert(name.clone());
            if instances.is_empty() && checks.is_empty() {
                // A node on which nothing runs is only its own agent.
                continue;
            }
        }
        let mut row = kept(node, &NODE);
        if let Some(meta) = row["Meta"].as_object_mut() {
            meta.retain(|key, _| !key.starts_with(RESERVED));
            if meta.is_empty() {
                row.as_object_mut().map(|row| row.remove("Meta"));
            }
        }
        portable.put(Noun::Node, name.as_str(), row);
        for instance in instances {
            portable.put(Noun::Service, format!("{name}/{}", text(instance, "ID")), kept(instance, &SERVICE));
        }
        for check in checks {
            let id = text(check, "CheckID");
            if agent {
                portable.leave(format!(
                    "check {name}/{id}: as it was last seen; no agent runs it until its service registers"
                ));
            }
            portable.put(Noun::Check, format!("{name}/{id}"), kept(check, &CHECK));
        }
    }
    progress.end();
    Ok(())
}

async fn keys(api: &Api, prefix: &str, portable: &mut Portable) -> Result<(), Failure> {
    let target = Target::of("/v1/kv/", prefix).flag("recurse", true);
    let found: Option<Vec<KvShown>> = api.json_if("Error reading keys", target).await?;
    for row in found.unwrap_or_default() {
        if !row.session.is_empty() {
            portable.leave(format!("key {}: locked by session {}; it is carried unlocked", row.key, row.session));
        }
        let value = json!({"Flags": row.flags, "Value": row.value.as_deref().unwrap_or_default()});
        portable.put(Noun::Key, &*row.key, value);
    }
    Ok(())
}

/// Reads a list; none, with a word about it, where that is not known, not allowed or not enabled.
async fn list(api: &Api, what: &str, path: &str, portable: &mut Portable) -> Result<Option<Vec<Value>>, Failure> {
    let answer = api.ask(Method::GET, Target::new(path), "", PATIENCE).await?;
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            portable.leave(format!("{what}: access control is off there"));
            return Ok(None);
        }
        StatusCode::FORBIDDEN => {
            portable.leave(format!("{what}: {}", String::from_utf8_lossy(&answer.body).trim()));
            return Ok(None);
        }
        StatusCode::NOT_FOUND => return Ok(None),
        _ => {}
    }
    let doing = format!("Error reading {what}");
    decode::<Value>(&doing, &success(&doing, answer)?).map(rows).map(Some)
}

async fn config(api: &Api, portable: &mut Portable) -> Result<(), Failure> {
    for kind in KINDS {
        let answer = api.ask(Method::GET, Target::of("/v1/config/", kind), "", PATIENCE).await?;
        let unknown =
            !answer.status.is_success() && String::from_utf8_lossy(&answer.body).contains("invalid config entry kind");
        if unknown {
            continue;
        }
        let doing = format!("Error reading config entries of kind {kind}");
        for mut row in rows(decode(&doing, &success(&doing, answer)?)?) {
            let name = text(&row, "Name");
            if let Some(members) = row.as_object_mut() {
                for given in ["CreateIndex", "ModifyIndex", "Hash", "Partition", "Namespace", "Status"] {
                    members.remove(given);
                }
            }
            if let Some(row) = super::portable::pruned(&row) {
                portable.put(Noun::Config, format!("{kind}/{name}"), row);
            }
        }
    }
    Ok(())
}

async fn queries(api: &Api, portable: &mut Portable) -> Result<(), Failure> {
    let Some(found) = list(api, "prepared queries", "/v1/query", portable).await? else { return Ok(()) };
    for query in found {
        let (id, name) = (text(&query, "ID"), text(&query, "Name"));
        let mut row = kept(&query, &QUERY);
        if !text(&query, "Session").is_empty() {
            portable.leave(format!("query {id} {name:?}: it ends with a session, which is not carried"));
            continue;
        }
        if text(&row, "Token") == HIDDEN {
            portable.leave(format!("query {id} {name:?}: its token is not shown; it is carried without"));
            row.as_object_mut().map(|row| row.remove("Token"));
        }
        // One without a name is known by what it asks.
        let key = if name.is_empty() { format!("({})", row["Service"]) } else { name };
        portable.put(Noun::Query, key, row);
    }
    Ok(())
}

/// Links are carried by name: the ids are given by each registry.
fn by_name(row: &mut Value) {
    for member in ["Policies", "Roles"] {
        let Some(list) = row[member].as_array() else { continue };
        let names: Vec<Value> = list.iter().map(|link| json!({"Name": text(link, "Name")})).collect();
        row[member] = json!(names);
    }
}

async fn access(api: &Api, portable: &mut Portable) -> Result<(), Failure> {
    let doing = "Error reading access control";
    let Some(policies) = list(api, "policies", "/v1/acl/policies", portable).await? else { return Ok(()) };
    let own = |row: &&Value, member: &str| !text(row, member).starts_with(BUILT_IN);
    for policy in policies.iter().filter(|row| own(row, "ID")) {
        let whole: Value = api.json(doing, Target::of("/v1/acl/policy/", &text(policy, "ID"))).await?;
        let row = kept(&whole, &["Name", "Description", "Rules", "Datacenters"]);
        portable.put(Noun::Policy, text(policy, "Name"), row);
    }
    let members = [&["Name", "Description"], &LINKED[..]].concat();
    for role in list(api, "roles", "/v1/acl/roles", portable).await?.unwrap_or_default() {
        let mut row = kept(&role, &members);
        by_name(&mut row);
        portable.put(Noun::Role, text(&role, "Name"), row);
    }
    let methods = list(api, "auth methods", "/v1/acl/auth-methods", portable).await?.unwrap_or_default();
    for method in methods {
        let name = text(&method, "Name");
        let whole: Value = api.json(doing, Target::of("/v1/acl/auth-method/", &name)).await?;
        let members = ["Name", "Type", "DisplayName", "Description", "MaxTokenTTL", "TokenLocality", "Config"];
        portable.put(Noun::AuthMethod, name, kept(&whole, &members));
    }
    for rule in list(api, "binding rules", "/v1/acl/binding-rules", portable).await?.unwrap_or_default() {
        let row = kept(&rule, &["AuthMethod", "Description", "BindType", "BindName", "Selector"]);
        portable.put(Noun::BindingRule, row.to_string(), row);
    }
    let tokens = list(api, "tokens", "/v1/acl/tokens", portable).await?.unwrap_or_default();
    let members = [&["AccessorID", "SecretID", "Description", "Local", "ExpirationTime"], &LINKED[..]].concat();
    for token in tokens.iter().filter(|row| own(row, "AccessorID")) {
        let id = text(token, "AccessorID");
        let whole: Value = api.json(doing, Target::of("/v1/acl/token/", &id)).await?;
        let secret = text(&whole, "SecretID");
        if !text(&whole, "AuthMethod").is_empty() {
            portable.leave(format!("token {id}: it came of a login; whoever uses it logs in again"));
            continue;
        }
        let mut row = kept(&whole, &members);
        by_name(&mut row);
        if secret.is_empty() || secret == HIDDEN {
            portable.leave(format!("token {id}: its secret is not shown"));
            row.as_object_mut().map(|row| row.remove("SecretID"));
        }
        portable.put(Noun::Token, id, row);
    }
    Ok(())
}

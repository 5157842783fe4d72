//! `/v1/config…`: the rules by which clients reach services.

use std::collections::BTreeMap;

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::config::ConfigShown;
use callboard_proto::api::query::ReadOptions;
use callboard_proto::config_entry::{ConfigEntry, EntryError, EntryKind};
use callboard_proto::filter::shapes::ConfigEntries;
use callboard_proto::filter::{Document, Filter};
use callboard_proto::text::Text;
use http::StatusCode;

use super::blocking::{Answer, Question, common_key, read};
use super::describe::*;
use super::kv::index;
use super::reply::{self, Failure, Response, encode, json};
use super::request::{BODY_MAX, Call};
use super::routes::{self, Route};
use super::select::filter;
use crate::acl::{Access, Denial};
use crate::registry::{Command, ConfigRow, Outcome, Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/config",
        operations: &[routes::put("Writes a config entry", |call| Box::pin(put(call)))
            .with(&[CAS])
            .takes(shaped::<ConfigEntry>())
            .gives(shaped::<bool>())],
    },
    Route {
        path: "/v1/config/",
        operations: &[
            routes::get("The config entries of a kind, or one of them", |call| Box::pin(get(call)))
                .of("kind")
                .with(&[READ, FILTER])
                .gives(either::<Vec<ConfigShown>, ConfigShown>()),
            routes::delete("Removes a config entry", |call| Box::pin(delete(call)))
                .of("kind")
                .with(&[CAS])
                .gives(either::<BTreeMap<String, bool>, bool>()),
        ],
    },
];

async fn put(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let cas = call.params.get("cas").map(|text| index("cas", text)).transpose()?;
    let body = call.body(BODY_MAX).await?;
    let entry = ConfigEntry::parse(&body).map_err(|error| match error {
        EntryError::Decode(_) => Failure::BadRequest(error.to_string()),
        EntryError::Invalid(_) => Failure::Refused(error.to_string()),
    })?;
    let (resource, guard) = guard(entry.kind(), entry.name());
    call.permit(resource, guard, Level::Write)?;
    let body = String::from_utf8_lossy(&encode(&entry, false)).as_ref().into();
    let outcome = call.api.cluster.propose(Command::ConfigSet { body, cas }).await?;
    Ok(json(&(outcome == Outcome::Held(true)), call.pretty()))
}

/// The kind and the name in the path.
fn place<'a>(call: &Call<'a>) -> (&'a str, &'a str) {
    call.rest.split_once('/').unwrap_or((call.rest, ""))
}

async fn get(call: &Call<'_>) -> Result<Response, Failure> {
    let (kind, name) = place(call);
    let options = call.read_options()?;
    if kind.is_empty() {
        return Err(Failure::NotFound("Must provide either a kind or both kind and name".to_owned()));
    }
    let kind = parse(kind)?;
    let pretty = call.pretty();
    if name.is_empty() {
        let key = common_key("config", kind.as_str(), &options, pretty);
        read(call, &options, &Entries { kind, filter: filter(&options)?, pretty, key }).await
    } else {
        one(call, &options, kind, name).await
    }
}

fn parse(kind: &str) -> Result<EntryKind, Failure> {
    kind.parse().map_err(|error: callboard_proto::config_entry::UnknownKind| Failure::Refused(error.to_string()))
}

async fn one(call: &Call<'_>, options: &ReadOptions, kind: EntryKind, name: &str) -> Result<Response, Failure> {
    read(call, options, &Entry { kind, name: name.into(), pretty: call.pretty() }).await
}

async fn delete(call: &Call<'_>) -> Result<Response, Failure> {
    let (kind, name) = place(call);
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    if kind.is_empty() || name.is_empty() {
        return Err(Failure::NotFound("Must provide both a kind and name to delete".to_owned()));
    }
    let kind = parse(kind)?;
    let (resource, guard) = guard(kind, name);
    call.permit(resource, guard, Level::Write)?;
    let cas = call.params.get("cas").map(|text| index("cas", text)).transpose()?;
    let outcome = call.api.cluster.propose(Command::ConfigDelete { kind, name: name.into(), cas }).await?;
    Ok(match cas {
        None => json(&serde_json::Map::new(), call.pretty()),
        Some(_) => json(&(outcome == Outcome::Held(true)), call.pretty()),
    })
}

/// What must be writable to write an entry.
fn guard(kind: EntryKind, name: &str) -> (Resource, &str) {
    match kind {
        EntryKind::ServiceDefaults
        | EntryKind::ServiceResolver
        | EntryKind::ServiceSplitter
        | EntryKind::ServiceRouter => (Resource::Service, name),
        EntryKind::ServiceIntentions => (Resource::Intention, name),
        EntryKind::ProxyDefaults
        | EntryKind::IngressGateway
        | EntryKind::TerminatingGateway
        | EntryKind::Mesh
        | EntryKind::ExportedServices
        | EntryKind::ApiGateway
        | EntryKind::BoundApiGateway
        | EntryKind::HttpRoute
        | EntryKind::TcpRoute
        | EntryKind::InlineCertificate
        | EntryKind::FileSystemCertificate
        | EntryKind::JwtProvider => (Resource::Mesh, ""),
        EntryKind::ControlPlaneRequestLimit => (Resource::Operator, ""),
    }
}

/// What must be readable to read an entry; nothing for what every proxy has to know.
fn reading(kind: EntryKind, name: &str) -> Option<(Resource, &str)> {
    match kind {
        EntryKind::ProxyDefaults | EntryKind::Mesh => None,
        EntryKind::IngressGateway | EntryKind::TerminatingGateway => Some((Resource::Service, name)),
        kind => Some(guard(kind, name)),
    }
}

fn show(row: &ConfigRow) -> ConfigShown {
    ConfigShown { entry: (*row.entry).clone(), create_index: row.created, modify_index: row.modified }
}

/// Every entry of a kind.
struct Entries {
    kind: EntryKind,
    filter: Filter<Document<ConfigEntries>>,
    pretty: bool,
    key: String,
}

impl Question for Entries {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Config(self.kind)]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.config_index(self.kind)
    }

    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let shown = |row: &&ConfigRow| {
            reading(self.kind, row.entry.name())
                .is_none_or(|(resource, name)| access.allows(resource, name, Level::Read))
        };
        let rows = registry.configs(self.kind).filter(shown).map(show);
        Answer::Json(encode(
            &rows.filter(|row| self.filter.matches(&Document::of(row))).collect::<Vec<_>>(),
            self.pretty,
        ))
    }
}

/// One entry.
struct Entry {
    kind: EntryKind,
    name: Text,
    pretty: bool,
}

impl Question for Entry {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Config(self.kind)]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.config(self.kind, &self.name).map_or_else(|| registry.config_index(self.kind), |row| row.modified)
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        registry.config(self.kind, &self.name).is_none()
    }

    fn permit(&self, access: &Access) -> Result<(), Denial> {
        match reading(self.kind, &self.name) {
            Some((resource, name)) => access.permit(resource, name, Level::Read),
            None => Ok(()),
        }
    }

    fn answer(&self, registry: &Registry, _access: &Access) -> Answer {
        match registry.config(self.kind, &self.name) {
            Some(row) => Answer::Json(encode(&show(row), self.pretty)),
            None => {
                let text = format!("Config entry not found for \"{}\" / {:?}", self.kind, self.name);
                Answer::Ready(Box::new(reply::text(StatusCode::NOT_FOUND, text)))
            }
        }
    }
}

//! `/v1/connect/intentions…`: who may call whom, read. How it is written is in `intention_write`.
//!
//! Intentions are the sources of the `service-intentions` entries, shown one by one. Which of them counts for a call is
//! `callboard_proto::intention`'s to say.

use std::collections::BTreeMap;

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::intention::{IntentionBody, IntentionCheck, IntentionId, IntentionShown};
use callboard_proto::api::query::ReadOptions;
use callboard_proto::config_entry::{ConfigEntry, EntryKind, ServiceIntentions};
use callboard_proto::filter::Filter;
use callboard_proto::intention::{ANY, End, Intention, decide, sorted};
use http::StatusCode;

use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::intention_write::{create, delete_by_id, delete_exact, put_by_id, put_exact};
use super::reply::{self, Failure, Response, encode, json};
use super::request::Call;
use super::routes::{Route, delete, get, post, put};
use super::select::filter;
use crate::acl::Access;
use crate::registry::{ConfigRow, Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/connect/intentions",
        operations: &[
            get("Every intention, those that count first coming first", |call| Box::pin(list(call)))
                .with(&[READ, FILTER])
                .gives(shaped::<Vec<IntentionShown>>()),
            post("Makes an intention with an id", |call| Box::pin(create(call)))
                .takes(shaped::<IntentionBody>())
                .gives(shaped::<IntentionId>()),
        ],
    },
    Route {
        path: "/v1/connect/intentions/match",
        operations: &[get("The intentions that can count for calls from or to services", |call| {
            Box::pin(matching(call))
        })
        .with(&[READ, ONE_END])
        .gives(shaped::<BTreeMap<String, Vec<IntentionShown>>>())],
    },
    Route {
        path: "/v1/connect/intentions/check",
        operations: &[get("Whether one service may call another", |call| Box::pin(check(call)))
            .with(&[BOTH_ENDS])
            .gives(shaped::<IntentionCheck>())],
    },
    Route {
        path: "/v1/connect/intentions/exact",
        operations: &[
            get("The intention of two names", |call| Box::pin(exact(call)))
                .with(&[READ, BOTH_ENDS])
                .gives(shaped::<IntentionShown>()),
            put("Writes the intention of two names", |call| Box::pin(put_exact(call)))
                .with(&[BOTH_ENDS])
                .takes(shaped::<IntentionBody>())
                .gives(shaped::<bool>()),
            delete("Removes the intention of two names", |call| Box::pin(delete_exact(call)))
                .with(&[BOTH_ENDS])
                .gives(shaped::<bool>()),
        ],
    },
    Route {
        path: "/v1/connect/intentions/",
        operations: &[
            get("The intention with an id", |call| Box::pin(by_id(call)))
                .of("id")
                .with(&[READ])
                .gives(shaped::<IntentionShown>()),
            put("Writes the intention with an id", |call| Box::pin(put_by_id(call)))
                .of("id")
                .takes(shaped::<IntentionBody>())
                .gives(shaped::<IntentionId>()),
            delete("Removes the intention with an id", |call| Box::pin(delete_by_id(call)))
                .of("id")
                .gives(shaped::<bool>()),
        ],
    },
];

const ONE_END: &[Parameter] = &[
    parameter("by", "Which end the names are: source or destination", Value::Text),
    parameter("name", "A service; may be repeated", Value::Texts),
];
const BOTH_ENDS: &[Parameter] = &[
    parameter("source", "The calling service, or *", Value::Text),
    parameter("destination", "The called service, or *", Value::Text),
    parameter("source-type", "Always consul", Value::Text),
];

/// A name as it is given: alone, or behind the only namespace and the only partition.
pub(super) fn service_in(field: &str, text: &str) -> Result<String, Failure> {
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] | ["default", name] | ["default", "default", name] => name,
        _ => {
            let text: String = text.chars().take(64).collect();
            let reason = "expected a service, or one behind the namespace default";
            return Err(Failure::BadRequest(format!("error decoding '{field}' {text:?}: {reason}")));
        }
    };
    if name.is_empty() {
        return Err(Failure::BadRequest(format!("required query parameter '{field}' not set")));
    }
    if name != ANY && callboard_proto::ServiceName::parse(name).is_err() {
        return Err(Failure::BadRequest(format!("'{field}' is no name of a service")));
    }
    Ok(name.to_owned())
}

/// The two ends that a query names.
pub(super) fn ends(call: &Call<'_>) -> Result<(String, String), Failure> {
    let source = service_in("source", call.params.get("source").unwrap_or(""))?;
    let destination = service_in("destination", call.params.get("destination").unwrap_or(""))?;
    if !matches!(call.params.get("source-type").unwrap_or(""), "" | "consul") {
        return Err(Failure::BadRequest("'source-type' must be consul".to_owned()));
    }
    Ok((source, destination))
}

/// The entries, each with its row.
pub(super) fn rows(registry: &Registry) -> impl Iterator<Item = (&ConfigRow, &ServiceIntentions)> {
    registry.configs(EntryKind::ServiceIntentions).filter_map(|row| match &*row.entry {
        ConfigEntry::Intentions(entry) => Some((row, &**entry)),
        _ => None,
    })
}

fn all(registry: &Registry) -> Vec<Intention<'_>> {
    sorted(Intention::all(rows(registry).map(|(_, entry)| entry)))
}

/// Whether a caller may see an intention: who may see either end may.
fn visible(access: &Access, intention: &Intention<'_>) -> bool {
    access.allows(Resource::Intention, intention.destination, Level::Read)
        || access.allows(Resource::Intention, &intention.source.name, Level::Read)
}

fn show(registry: &Registry, intention: &Intention<'_>) -> IntentionShown {
    let row = registry.config(EntryKind::ServiceIntentions, intention.destination);
    let (created, modified) = row.map(|row| (row.created, row.modified)).unwrap_or_default();
    IntentionShown::new(intention, created, modified)
}

async fn list(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let filter = filter::<IntentionShown>(&options)?;
    read(call, &options, &All { filter, pretty: call.pretty() }).await
}

async fn matching(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let end = match call.params.get("by").unwrap_or("") {
        "" => return Err(Failure::BadRequest("required query parameter 'by' not set".to_owned())),
        "source" => End::Source,
        "destination" => End::Destination,
        _ => {
            let text = "'by' parameter must be one of 'source' or 'destination'";
            return Err(Failure::BadRequest(text.to_owned()));
        }
    };
    let names: Vec<String> = call.params.all("name").map(|name| service_in("name", name)).collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err(Failure::BadRequest("required query parameter 'name' not set".to_owned()));
    }
    for name in &names {
        call.permit(Resource::Intention, name, Level::Read)?;
    }
    read(call, &options, &Matching { end, names, pretty: call.pretty() }).await
}

async fn check(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let (source, destination) = ends(call)?;
    // Only the verdict is told, not the intention.
    call.permit(Resource::Service, &destination, Level::Read)?;
    let view = call.api.cluster.query(options.consistency).await?;
    let default = call.api.authority.default_action();
    let intentions = Intention::all(rows(&view.registry).map(|(_, entry)| entry));
    let allowed = decide(intentions, &source, &destination, default).is_allowed();
    Ok(json(&IntentionCheck { allowed }, call.pretty()))
}

async fn exact(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let (source, destination) = ends(call)?;
    call.permit(Resource::Intention, &destination, Level::Read)?;
    let missing = format!("Intention not found: default/{source} => default/{destination}");
    one(call, &options, Which::Ends(source, destination), missing).await
}

async fn by_id(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let id = call.argument("Missing intention ID")?.to_owned();
    let missing = format!("Intention not found: {id}");
    one(call, &options, Which::Id(id), missing).await
}

async fn one(call: &Call<'_>, options: &ReadOptions, which: Which, missing: String) -> Result<Response, Failure> {
    read(call, options, &One { which, missing, pretty: call.pretty() }).await
}

fn topics() -> Vec<Topic> {
    vec![Topic::Config(EntryKind::ServiceIntentions)]
}

fn index(registry: &Registry) -> Index {
    registry.config_index(EntryKind::ServiceIntentions)
}

/// Every intention.
struct All {
    filter: Filter<IntentionShown>,
    pretty: bool,
}

impl Question for All {
    fn topics(&self) -> Vec<Topic> {
        topics()
    }

    fn index(&self, registry: &Registry) -> Index {
        index(registry)
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let seen = all(registry).into_iter().filter(|intention| visible(access, intention));
        let shown: Vec<IntentionShown> =
            seen.map(|intention| show(registry, &intention)).filter(|row| self.filter.matches(row)).collect();
        Answer::Json(encode(&shown, self.pretty))
    }
}

/// The intentions that can count for calls of which one end is known.
struct Matching {
    end: End,
    names: Vec<String>,
    pretty: bool,
}

impl Question for Matching {
    fn topics(&self) -> Vec<Topic> {
        topics()
    }

    fn index(&self, registry: &Registry) -> Index {
        index(registry)
    }

    fn is_cacheable(&self) -> bool {
        true
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let all = all(registry);
        let of = |name: &String| {
            let seen = access.allows(Resource::Intention, name, Level::Read);
            let some = all.iter().filter(|intention| seen && intention.concerns(self.end, name));
            (name.clone(), some.map(|intention| show(registry, intention)).collect::<Vec<_>>())
        };
        let shown: BTreeMap<String, Vec<IntentionShown>> = self.names.iter().map(of).collect();
        Answer::Json(encode(&shown, self.pretty))
    }
}

/// Which intention.
enum Which {
    /// By the two names.
    Ends(String, String),
    /// By its id.
    Id(String),
}

/// One intention.
struct One {
    which: Which,
    missing: String,
    pretty: bool,
}

impl One {
    fn find<'a>(&self, registry: &'a Registry) -> Option<Intention<'a>> {
        let mut all = Intention::all(rows(registry).map(|(_, entry)| entry));
        all.find(|intention| match &self.which {
            Which::Ends(source, destination) => {
                intention.source.name.eq_ignore_ascii_case(source)
                    && intention.destination.eq_ignore_ascii_case(destination)
            }
            Which::Id(id) => intention.source.legacy_id == *id,
        })
    }
}

impl Question for One {
    fn topics(&self) -> Vec<Topic> {
        topics()
    }

    fn index(&self, registry: &Registry) -> Index {
        let found = self.find(registry);
        let row = found.and_then(|found| registry.config(EntryKind::ServiceIntentions, found.destination));
        row.map_or_else(|| index(registry), |row| row.modified)
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        self.find(registry).is_none()
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        match self.find(registry).filter(|found| visible(access, found)) {
            Some(found) => Answer::Json(encode(&show(registry, &found), self.pretty)),
            None => Answer::Ready(Box::new(reply::text(StatusCode::NOT_FOUND, self.missing.clone()))),
        }
    }
}

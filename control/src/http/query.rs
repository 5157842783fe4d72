//! `/v1/query…`: prepared queries: kept under a name, run, explained.

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::prepared::{QueryCreated, QueryExplained, QueryResult, QueryShown, ReadMeta};
use callboard_proto::api::query::ReadOptions;
use callboard_proto::prepared::{DEFINITION_MAX, QueryDefinition, uuid_form};
use callboard_proto::text::Text;
use http::{HeaderValue, Method, StatusCode};

use super::blocking::{Answer, Question, read, stamp, stamp_cache};
use super::describe::*;
use super::health;
use super::reply::{self, Failure, Response, encode, json};
use super::request::Call;
use super::routes::{Route, delete, get, post, put};
use crate::acl::{Access, Secret};
use crate::cluster::View;
use crate::query::{Asker, failovers, fits, sort_near};
use crate::registry::{Command, QueryBody, QueryCommand, QueryRow, Registry, Resolved, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/query",
        operations: &[
            get("All prepared queries", |call| Box::pin(list(call))).with(&[READ]).gives(shaped::<Vec<QueryShown>>()),
            post("Makes a prepared query", |call| Box::pin(create(call)))
                .takes(shaped::<QueryDefinition>())
                .gives(shaped::<QueryCreated>()),
        ],
    },
    Route {
        path: "/v1/query/",
        operations: &[
            get(
                "One prepared query by id; with /execute or /explain behind an id or a name, what it finds or means",
                |call| Box::pin(one(call)),
            )
            .of("query")
            .with(&[READ, RUN])
            .gives(Body::Json(|generator| {
                let all = [
                    generator.subschema_for::<Vec<QueryShown>>(),
                    generator.subschema_for::<QueryResult>(),
                    generator.subschema_for::<QueryExplained>(),
                ];
                schemars::json_schema!({"anyOf": all})
            })),
            put("Replaces a prepared query", |call| Box::pin(update(call)))
                .of("query")
                .takes(shaped::<QueryDefinition>())
                .gives(Body::Empty),
            delete("Removes a prepared query", |call| Box::pin(remove(call))).of("query").gives(Body::Empty),
        ],
    },
];

const NOT_FOUND: &str = "Query not found";

/// The definition in a body.
async fn definition(call: &mut Call<'_>) -> Result<QueryDefinition, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let body = call.body(DEFINITION_MAX).await?;
    let mut definition: QueryDefinition = from_slice(&body, Unknown::Ignore)?;
    definition.session = definition.session.to_ascii_lowercase();
    Ok(definition)
}

/// Refuses what the caller may not do to queries of a name. Whoever knows the id of a nameless one may change it.
fn permit(call: &Call<'_>, definition: &QueryDefinition) -> Result<(), Failure> {
    match definition.name.is_empty() && !definition.is_template() {
        true => Ok(()),
        false => call.permit(Resource::Query, &definition.name, Level::Write),
    }
}

fn body(definition: &QueryDefinition) -> QueryBody {
    QueryBody(String::from_utf8_lossy(&encode(definition, false)).as_ref().into())
}

async fn create(call: &mut Call<'_>) -> Result<Response, Failure> {
    let mut definition = definition(call).await?;
    if !definition.id.is_empty() {
        return Err(Failure::BadRequest("ID must be empty when creating a new prepared query".to_owned()));
    }
    definition.id = uuid::Uuid::new_v4().to_string();
    definition.validate().map_err(|error| Failure::Refused(error.0))?;
    permit(call, &definition)?;
    call.api.cluster.propose(Command::Query(QueryCommand::Create(body(&definition)))).await?;
    Ok(json(&QueryCreated { id: definition.id }, call.pretty()))
}

/// The id in the path, of a query that is there and that the caller may change.
fn known(call: &Call<'_>) -> Result<String, Failure> {
    if verb(call.rest).1.is_some() {
        let method = Method::PUT;
        return Err(Failure::Method { method, allowed: HeaderValue::from_static("OPTIONS,GET") });
    }
    let not_found = || Failure::NotFound(NOT_FOUND.to_owned());
    let id = uuid_form(call.argument(NOT_FOUND)?).ok_or_else(not_found)?;
    let registry = call.api.cluster.registry();
    permit(call, &registry.query(&id).ok_or_else(not_found)?.definition)?;
    Ok(id)
}

async fn update(call: &mut Call<'_>) -> Result<Response, Failure> {
    let id = known(call)?;
    let mut definition = definition(call).await?;
    definition.id = id;
    definition.validate().map_err(|error| Failure::Refused(error.0))?;
    permit(call, &definition)?;
    call.api.cluster.propose(Command::Query(QueryCommand::Update(body(&definition)))).await?;
    Ok(reply::empty())
}

async fn remove(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let id = known(call)?;
    call.api.cluster.propose(Command::Query(QueryCommand::Delete(id.into()))).await?;
    Ok(reply::empty())
}

/// Queries as they are kept.
struct Queries {
    /// One, or all.
    id: Option<Text>,
    pretty: bool,
}

/// A query as a caller may see it, if at all. Nameless ones are known by their secret id, and listed to nobody else.
fn show(row: &QueryRow, access: &Access, by_id: bool) -> Option<QueryShown> {
    let definition = &row.definition;
    let manages = access.may(Resource::Acl, "", Level::Write);
    let nameless = definition.name.is_empty() && !definition.is_template();
    let visible =
        if nameless { by_id || manages } else { access.allows(Resource::Query, &definition.name, Level::Read) };
    visible.then(|| QueryShown::of(definition, row.created, row.modified, manages))
}

impl Question for Queries {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Queries]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.queries_index()
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        self.id.as_ref().is_some_and(|id| registry.query(id).is_none())
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let shown: Vec<QueryShown> = match &self.id {
            None => registry.queries().filter_map(|row| show(row, access, false)).collect(),
            Some(id) => registry.query(id).and_then(|row| show(row, access, true)).into_iter().collect(),
        };
        match shown.is_empty() && self.id.is_some() {
            true => Answer::Ready(Box::new(reply::text(StatusCode::NOT_FOUND, NOT_FOUND))),
            false => Answer::Json(encode(&shown, self.pretty)),
        }
    }
}

async fn list(call: &Call<'_>) -> Result<Response, Failure> {
    read(call, &call.read_options()?, &Queries { id: None, pretty: call.pretty() }).await
}

/// What is to be done with the query in a path.
fn verb(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once('/') {
        Some((query, verb @ ("execute" | "explain"))) => (query, Some(verb)),
        _ => (rest, None),
    }
}

async fn one(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    match verb(call.rest) {
        (query, Some("execute")) => execute(call, &options, query).await,
        (query, Some(_)) => explain(call, &options, query).await,
        (id, None) => {
            let id = uuid_form(id).ok_or_else(|| Failure::NotFound(NOT_FOUND.to_owned()))?;
            read(call, &options, &Queries { id: Some(id.into()), pretty: call.pretty() }).await
        }
    }
}

fn resolve<'a>(view: &'a View, query: &str) -> Result<Resolved<'a>, Failure> {
    let found = view.registry.resolve_query(query).map_err(|error| Failure::Refused(error.0))?;
    found.ok_or_else(|| Failure::NotFound(NOT_FOUND.to_owned()))
}

fn meta(view: &View, options: &ReadOptions) -> ReadMeta {
    ReadMeta {
        index: 1,
        last_contact: view.last_contact.as_millis() as u64,
        known_leader: view.known_leader,
        consistency_level: options.consistency.as_str().into(),
        not_modified: false,
        backend: 0,
    }
}

async fn execute(call: &Call<'_>, options: &ReadOptions, query: &str) -> Result<Response, Failure> {
    let limit: usize = match call.params.filled("limit") {
        None => 0,
        Some(text) => text.parse().map_err(|_| Failure::BadRequest(format!("Invalid limit {text:?}: not a number")))?,
    };
    let view = call.api.cluster.query(options.consistency).await?;
    let query = resolve(&view, query)?.query;
    let mut wanted = query.service.clone();
    wanted.connect |= call.params.has("connect");
    let access = match query.token.0.as_str() {
        "" => call.access_in(&view.registry)?,
        token => call.api.acl.access(&view.registry, Some(&Secret::new(token)))?,
    };
    let mut found = fits(&view.registry, &wanted);
    found.retain(|fit| {
        access.allows(Resource::Node, fit.node.name.as_str(), Level::Read)
            && access.allows(Resource::Service, fit.instance.service.as_str(), Level::Read)
    });
    fastrand::shuffle(&mut found);
    let asker = Asker { agent: Some(&call.api.identity.node_name), address: call.from };
    let near = options.near.as_deref().unwrap_or(&wanted.near);
    if let Some(near) = asker.near(&view.registry, near) {
        sort_near(&view.registry, &near, &mut found, |fit| &fit.node.name);
    }
    if limit > 0 {
        found.truncate(limit);
    }
    let datacenter = call.api.datacenter();
    let result = QueryResult {
        failovers: if found.is_empty() { failovers(&wanted, datacenter) } else { 0 },
        nodes: found.iter().map(|fit| health::entry(&view.registry, fit.node, fit.instance, datacenter)).collect(),
        service: wanted.service,
        dns: query.dns.clone(),
        datacenter: datacenter.clone(),
        meta: meta(&view, options),
    };
    let mut response = json(&result, call.pretty());
    stamp(&mut response, Index(1), &view, options);
    if options.cached {
        stamp_cache(&mut response);
    }
    if access.left_out() {
        reply::tell_left_out(&mut response);
    }
    Ok(response)
}

async fn explain(call: &Call<'_>, options: &ReadOptions, query: &str) -> Result<Response, Failure> {
    let view = call.api.cluster.query(options.consistency).await?;
    let found = resolve(&view, query)?;
    let access = call.access_in(&view.registry)?;
    let by_id = uuid_form(query).is_some();
    let shown = show(found.row, &access, by_id).ok_or_else(|| Failure::NotFound(NOT_FOUND.to_owned()))?;
    let rendered = QueryDefinition { token: shown.definition.token.clone(), ..(*found.query).clone() };
    let query = QueryShown { definition: rendered, ..shown };
    let mut response = json(&QueryExplained { query, meta: meta(&view, options) }, call.pretty());
    stamp(&mut response, Index(1), &view, options);
    Ok(response)
}

//! `/v1/session/…`: what holds locks.

use std::sync::Arc;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::query::ReadOptions;
use callboard_proto::api::session::{Session, SessionCreated, SessionRequest};
use callboard_proto::session::SessionRow;
use callboard_proto::text::Text;
use callboard_proto::{Index, NodeName};

use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::reply::{Failure, Response, encode, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, put};
use super::select::node_name;
use crate::acl::Access;
use crate::registry::{Command, Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/session/create",
        operations: &[put("Begins a session", |call| Box::pin(create(call)))
            .takes(maybe::<SessionRequest>())
            .gives(shaped::<SessionCreated>())],
    },
    Route {
        path: "/v1/session/destroy/",
        operations: &[put("Ends a session", |call| Box::pin(destroy(call)))
            .of("session")
            .takes(Body::Empty)
            .gives(shaped::<bool>())],
    },
    Route {
        path: "/v1/session/renew/",
        operations: &[put("Keeps a session alive", |call| Box::pin(renew(call)))
            .of("session")
            .takes(Body::Empty)
            .gives(shaped::<Vec<Session>>())],
    },
    Route {
        path: "/v1/session/info/",
        operations: &[get("One session", |call| Box::pin(info(call)))
            .of("session")
            .with(&[READ])
            .gives(shaped::<Vec<Session>>())],
    },
    Route {
        path: "/v1/session/node/",
        operations: &[get("The sessions of a node", |call| Box::pin(node(call)))
            .of("node")
            .with(&[READ])
            .gives(shaped::<Vec<Session>>())],
    },
    Route {
        path: "/v1/session/list",
        operations: &[get("All sessions", |call| Box::pin(list(call))).with(&[READ]).gives(shaped::<Vec<Session>>())],
    },
];

async fn create(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let body = call.body(BODY_MAX).await?;
    let request: SessionRequest = match body.is_empty() {
        true => SessionRequest::default(),
        false => from_slice(&body, Unknown::Ignore)?,
    };
    call.is_ours(&request.datacenter)?;
    let id = uuid::Uuid::new_v4().to_string();
    let session = request.validate(&id, &call.api.identity.node_name, call.api.sessions.ttl_min());
    let session = session.map_err(|error| Failure::Refused(error.0))?;
    call.permit(Resource::Session, session.node.as_str(), Level::Write)?;
    call.api.cluster.propose(Command::SessionCreate(Box::new(session))).await?;
    Ok(json(&SessionCreated { id }, call.pretty()))
}

async fn destroy(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let id = session_id(call)?;
    permit(call, &id)?;
    call.api.cluster.propose(Command::SessionDestroy { id }).await?;
    Ok(json(&true, call.pretty()))
}

async fn renew(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let id = session_id(call)?;
    permit(call, &id)?;
    match call.api.sessions.renew(&id).await? {
        Some(session) => Ok(json(&[Session::of(&session)], call.pretty())),
        None => Err(Failure::NotFound(format!("Session id '{}' not found", call.rest))),
    }
}

/// Refuses to change a session on a node where the caller may not. An unknown one is nobody's.
fn permit(call: &Call<'_>, id: &str) -> Result<(), Failure> {
    if !call.api.acl.is_enabled() {
        return Ok(());
    }
    let registry = call.api.cluster.registry();
    let access = call.access_in(&registry)?;
    match registry.session(id) {
        Some(session) => Ok(access.permit(Resource::Session, session.node.as_str(), Level::Write)?),
        None => Ok(()),
    }
}

/// The id in the path; ids are written in lower case.
fn session_id(call: &Call<'_>) -> Result<Text, Failure> {
    Ok(call.argument("Missing session")?.to_ascii_lowercase().into())
}

/// Some sessions.
struct Sessions {
    which: Which,
    pretty: bool,
}

enum Which {
    All,
    On(NodeName),
    One(Text),
}

impl Question for Sessions {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Sessions]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.sessions_index()
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        matches!(&self.which, Which::One(id) if registry.session(id).is_none())
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let show = |session: &Arc<SessionRow>| {
            access.allows(Resource::Session, session.node.as_str(), Level::Read).then(|| Session::of(session))
        };
        let sessions: Vec<Session> = match &self.which {
            Which::All => registry.sessions().filter_map(show).collect(),
            Which::On(node) => registry.sessions_on(node).filter_map(show).collect(),
            Which::One(id) => registry.session(id).and_then(show).into_iter().collect(),
        };
        Answer::Json(encode(&sessions, self.pretty))
    }
}

async fn sessions(call: &Call<'_>, options: &ReadOptions, which: Which) -> Result<Response, Failure> {
    read(call, options, &Sessions { which, pretty: call.pretty() }).await
}

async fn list(call: &Call<'_>) -> Result<Response, Failure> {
    sessions(call, &call.read_options()?, Which::All).await
}

async fn node(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let name = node_name(call.argument("Missing node name")?)?;
    sessions(call, &options, Which::On(name)).await
}

async fn info(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    sessions(call, &options, Which::One(session_id(call)?)).await
}

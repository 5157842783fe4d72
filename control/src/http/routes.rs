//! The route table: which path means what, with which methods, and who answers.
//!
//! Every family of paths states its own routes beside its handlers; here they are put together. A path that ends in a
//! slash takes the rest as its argument; the longest such prefix wins.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::LazyLock;

use http::{HeaderValue, Method};

use super::describe::{Body, Parameter};
use super::reply::{Failure, Response};
use super::request::Call;
use super::{
    acl, acl_boot, acl_method, acl_policy, acl_role, acl_token, agent, agent_checks, agent_node, autopilot, catalog,
    catalog_write, config, connect, connect_agent, coordinate, discovery_chain, event, gateway, health, intention, kv,
    members, openapi, operator, query, session, snapshot, status, txn, ui, usage,
};

/// Every route, family by family.
const FAMILIES: &[&[Route]] = &[
    acl::ROUTES,
    acl_boot::ROUTES,
    acl_method::ROUTES,
    acl_policy::ROUTES,
    acl_role::ROUTES,
    acl_token::ROUTES,
    agent::ROUTES,
    agent_checks::ROUTES,
    agent_node::ROUTES,
    autopilot::ROUTES,
    catalog::ROUTES,
    catalog_write::ROUTES,
    config::ROUTES,
    connect::ROUTES,
    connect_agent::ROUTES,
    coordinate::ROUTES,
    discovery_chain::ROUTES,
    event::ROUTES,
    gateway::ROUTES,
    health::ROUTES,
    intention::ROUTES,
    kv::ROUTES,
    members::ROUTES,
    openapi::ROUTES,
    operator::ROUTES,
    query::ROUTES,
    session::ROUTES,
    snapshot::ROUTES,
    status::ROUTES,
    txn::ROUTES,
    ui::ROUTES,
    usage::ROUTES,
];

/// An answer that is being found.
pub(super) type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send + 'a>>;

/// Answers one request.
type Run = for<'a> fn(&'a mut Call<'_>) -> Answering<'a>;

/// A path, and what may be done there.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) operations: &'static [Operation],
}

/// What may be done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }
}

/// One method of a path: who answers, and how it is described.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    /// What it does, in a few words.
    pub(super) about: &'static str,
    pub(super) run: Run,
    /// The name of what follows the path.
    pub(super) argument: &'static str,
    pub(super) parameters: &'static [&'static [Parameter]],
    pub(super) body: Body,
    pub(super) answer: Body,
    /// The statuses of failure that carry a body like the answer's.
    pub(super) also: &'static [&'static str],
    /// Whether this is an addition of ours to Consul's interface.
    pub(super) is_ours: bool,
}

impl Operation {
    const fn new(verb: Verb, about: &'static str, run: Run) -> Operation {
        let (argument, parameters) = ("name", &[] as &[&[Parameter]]);
        // What is written has a body, unless it is stated that it has none.
        let body = if matches!(verb, Verb::Put | Verb::Post) { Body::Unstated } else { Body::Empty };
        let (answer, also) = (Body::Unstated, &[] as &[&str]);
        Operation { verb, about, run, argument, parameters, body, answer, also, is_ours: false }
    }

    /// Names what follows the path.
    pub(super) const fn of(self, argument: &'static str) -> Operation {
        Operation { argument, ..self }
    }

    /// States the parameters.
    pub(super) const fn with(self, parameters: &'static [&'static [Parameter]]) -> Operation {
        Operation { parameters, ..self }
    }

    /// States the body of the request.
    pub(super) const fn takes(self, body: Body) -> Operation {
        Operation { body, ..self }
    }

    /// States the body of the answer.
    pub(super) const fn gives(self, answer: Body) -> Operation {
        Operation { answer, ..self }
    }

    /// States the statuses of failure that carry a body like the answer's.
    pub(super) const fn also(self, also: &'static [&'static str]) -> Operation {
        Operation { also, ..self }
    }

    /// Marks what Consul does not have.
    pub(super) const fn ours(self) -> Operation {
        Operation { is_ours: true, ..self }
    }
}

/// A read.
pub(super) const fn get(about: &'static str, run: Run) -> Operation {
    Operation::new(Verb::Get, about, run)
}

/// A write.
pub(super) const fn put(about: &'static str, run: Run) -> Operation {
    Operation::new(Verb::Put, about, run)
}

/// A question with a body, or a write that makes something.
pub(super) const fn post(about: &'static str, run: Run) -> Operation {
    Operation::new(Verb::Post, about, run)
}

/// A removal.
pub(super) const fn delete(about: &'static str, run: Run) -> Operation {
    Operation::new(Verb::Delete, about, run)
}

/// An answer that was found without waiting.
pub(super) fn now<'a>(answer: Result<Response, Failure>) -> Answering<'a> {
    Box::pin(std::future::ready(answer))
}

/// A route, with what is derived from it.
pub(super) struct Entry {
    pub(super) route: &'static Route,
    /// The methods of the path, as `OPTIONS` lists them.
    pub(super) allowed: HeaderValue,
    /// Its place in [`names`].
    pub(super) place: usize,
}

impl Entry {
    /// What a method does here.
    pub(super) fn operation(&self, method: &Method) -> Option<&'static Operation> {
        self.route.operations.iter().find(|operation| operation.verb.as_str() == method.as_str())
    }
}

static TABLE: LazyLock<HashMap<&'static str, Entry>> = LazyLock::new(|| {
    let entry = |(place, route): (usize, &'static Route)| {
        let methods: Vec<&str> = route.operations.iter().map(|operation| operation.verb.as_str()).collect();
        let allowed = HeaderValue::try_from(format!("OPTIONS,{}", methods.join(",")));
        let allowed = allowed.expect("names of methods fit into a header");
        (route.path, Entry { route, allowed, place })
    };
    all().enumerate().map(entry).collect()
});

/// Every route.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    FAMILIES.iter().copied().flatten()
}

/// The path of every route, without its argument: the label that its numbers are kept under.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|route| route.path)
}

/// Finds what a decoded path means, and the argument in it.
pub(super) fn find(path: &str) -> Option<(&'static Entry, &str)> {
    if let Some(entry) = TABLE.get(path) {
        return Some((entry, ""));
    }
    // From the right: the longest registered prefix wins.
    let mut end = path.len();
    while let Some(slash) = path[..end].rfind('/') {
        if let Some(entry) = TABLE.get(&path[..=slash]) {
            return Some((entry, &path[slash + 1..]));
        }
        end = slash;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_they_should() {
        let check = |path: &str, expect: Option<(&str, &str)>| {
            assert_eq!(find(path).map(|(entry, rest)| (entry.route.path, rest)), expect, "{path}");
        };
        check("/v1/kv/", Some(("/v1/kv/", "")));
        check("/v1/kv/a/b c/d", Some(("/v1/kv/", "a/b c/d")));
        check("/v1/kv", None);
        check("/v1/agent/service/register", Some(("/v1/agent/service/register", "")));
        check("/v1/agent/service/web", Some(("/v1/agent/service/", "web")));
        check("/v1/agent/service/deregister/a/b", Some(("/v1/agent/service/deregister/", "a/b")));
        check("/v1/agent/health/service/name/x", Some(("/v1/agent/health/service/name/", "x")));
        check("/v1/status/leader", Some(("/v1/status/leader", "")));
        check("/v1/status/leader/x", None);
        check("/v1/nope", None);
        check("/", None);
    }

    #[test]
    fn methods_are_listed() {
        let (kv, _) = find("/v1/kv/x").unwrap();
        assert_eq!(kv.allowed, "OPTIONS,GET,PUT,DELETE");
        assert!(kv.operation(&Method::PUT).is_some());
        assert!(kv.operation(&Method::POST).is_none());
    }

    #[test]
    fn every_route_is_its_own() {
        assert_eq!(TABLE.len(), all().count());
    }
}

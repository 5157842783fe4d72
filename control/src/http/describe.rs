//! The words in which a route states what it takes and what it gives: parameters and bodies.
//!
//! It decides nothing about a request; handlers read their own. `openapi` makes a document of what is stated here, and
//! the interface is tested against that document.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// What a request or an answer carries.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// Nothing.
    Empty,
    /// JSON of a shape.
    Json(Shape),
    /// JSON of a shape that may be left out.
    Maybe(Shape),
    /// A JSON object that has at least these members.
    Object(&'static [Member]),
    /// A list of such objects.
    Objects(&'static [Member]),
    /// One of several, told apart by their media types.
    Several(&'static [Body]),
    /// Any bytes.
    Bytes,
    /// Bytes of a media type.
    Media(&'static str),
    /// Text.
    Text,
    /// What no schema can say, and why.
    Free(&'static str),
    /// Nobody said yet. A test finds it.
    Unstated,
}

/// The name of a member, and what its value is.
pub(super) type Member = (&'static str, Kind);

/// What the value of a member is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    Object,
    List,
    /// Anything, null among it.
    Any,
}

/// Writes the schema of an object.
pub(super) fn object(members: &[Member]) -> Schema {
    let mut properties = serde_json::Map::new();
    for (name, kind) in members {
        let schema = match kind {
            Kind::Text => serde_json::json!({"type": "string"}),
            Kind::Number => serde_json::json!({"type": "number"}),
            Kind::Bool => serde_json::json!({"type": "boolean"}),
            Kind::Object => serde_json::json!({"type": "object"}),
            Kind::List => serde_json::json!({"type": "array"}),
            Kind::Any => serde_json::json!({}),
        };
        properties.insert((*name).to_owned(), schema);
    }
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    schemars::json_schema!({"type": "object", "properties": properties, "required": required})
}

/// A list of which there is nothing.
pub(super) const NOTHING: Body = Body::Json(|_| schemars::json_schema!({"type": "array", "maxItems": 0}));

/// Writes a schema.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// A body that is a type of the wire.
pub(super) const fn shaped<T: JsonSchema>() -> Body {
    Body::Json(|generator| generator.subschema_for::<T>())
}

/// The same, where it may be left out.
pub(super) const fn maybe<T: JsonSchema>() -> Body {
    Body::Maybe(|generator| generator.subschema_for::<T>())
}

/// A parameter of the query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) value: Value,
}

/// What a parameter's value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Text,
    /// Counts by its presence.
    Flag,
    Number,
    /// As Go writes durations.
    Duration,
    /// `true`, `false` and their short forms.
    Bool,
    /// May be given several times.
    Texts,
}

pub(super) const fn parameter(name: &'static str, about: &'static str, value: Value) -> Parameter {
    Parameter { name, about, value }
}

/// What every request understands.
pub(super) const EVERY: &[Parameter] = &[
    parameter("dc", "The datacenter; only this one is known", Value::Text),
    parameter("pretty", "Writes the answer for people", Value::Flag),
];

/// What every read of the registry understands.
pub(super) const READ: &[Parameter] = &[
    parameter("index", "Waits until the answer is newer than this index", Value::Number),
    parameter("wait", "How long to wait: 5m unless said otherwise, 10m at most", Value::Duration),
    parameter("stale", "Any server may answer", Value::Flag),
    parameter("consistent", "The leader asks a quorum first", Value::Flag),
    parameter("cached", "A copy may answer", Value::Flag),
    parameter("max_stale", "How old a stale answer may be", Value::Duration),
];

/// Who may answer a read that does not wait.
pub(super) const MODES: &[Parameter] = &[
    parameter("stale", "Any server may answer", Value::Flag),
    parameter("consistent", "The leader asks a quorum first", Value::Flag),
];

/// How a prepared query is run.
pub(super) const RUN: &[Parameter] = &[
    parameter("near", "Sorts by distance from this node", Value::Text),
    parameter("limit", "The most instances that are shown", Value::Number),
    parameter("connect", "Finds what speaks mesh TLS for the service", Value::Flag),
];

/// Which rows are wanted.
pub(super) const FILTER: &[Parameter] = &[parameter("filter", "Only rows that this expression holds for", Value::Text)];

/// Which nodes' rows are wanted, and in which order.
pub(super) const NODES: &[Parameter] = &[
    parameter("node-meta", "Only rows of nodes with this key:value pair", Value::Texts),
    parameter("peer", "Only rows that this other cluster shares; none shares any", Value::Text),
    parameter("near", "Sorts by distance from this node", Value::Text),
];

/// How proxies are shown.
pub(super) const CENTRAL: &[Parameter] =
    &[parameter("merge-central-config", "Proxies with what config entries say of them", Value::Flag)];

/// Which network segment's rows are wanted.
pub(super) const SEGMENT: &[Parameter] = &[parameter("segment", "Only nodes of this network segment", Value::Text)];

/// Which instances are wanted.
pub(super) const TAGS: &[Parameter] = &[parameter("tag", "Only instances with this tag", Value::Texts)];

/// Under which condition something is written.
pub(super) const CAS: &[Parameter] =
    &[parameter("cas", "Only while it was last changed at this index; 0: only if it is not there", Value::Number)];

/// Whether only well instances are wanted.
pub(super) const PASSING: &[Parameter] = &[
    parameter("passing", "Only instances whose every check passes", Value::Bool),
    parameter("slots", "Ours: each instance's stable small number among its siblings", Value::Flag),
];

/// The node that an agent route is about.
pub(super) const SCOPE: &[Parameter] = &[
    parameter("node", "Ours: the node that the process names as its own", Value::Text),
    parameter("node-address", "Ours: that node's address", Value::Text),
];

/// Waiting for a content to change.
pub(super) const HASH: &[Parameter] = &[
    parameter("hash", "Waits while the content has this hash", Value::Text),
    parameter("wait", "How long to wait", Value::Duration),
];
pub(super) const FORMAT: &[Parameter] = &[parameter("format", "`text` for the status word alone", Value::Text)];
pub(super) const REPLACE: &[Parameter] =
    &[parameter("replace-existing-checks", "Checks of the instance that are not listed go", Value::Bool)];
pub(super) const MAINTENANCE: &[Parameter] = &[
    parameter("enable", "Whether maintenance begins or ends", Value::Bool),
    parameter("reason", "Why, for people", Value::Text),
];
pub(super) const NOTE: &[Parameter] = &[parameter("note", "What the application says of itself", Value::Text)];
pub(super) const MEMBERS: &[Parameter] = &[parameter("wan", "The members as other datacenters see them", Value::Bool)];
pub(super) const PEER: &[Parameter] = &[
    parameter("id", "The server with this id", Value::Text),
    parameter("address", "The server at this address, as host:port", Value::Text),
];
pub(super) const HEIR: &[Parameter] = &[parameter("id", "The server that is to lead", Value::Text)];
pub(super) const KEYRING: &[Parameter] = &[
    parameter("relay-factor", "0 to 5; answers come without being relayed", Value::Text),
    parameter("local-only", "Only the keys of this node", Value::Bool),
];

/// For whom an event is.
pub(super) const FOR_WHOM: &[Parameter] = &[
    parameter("node", "Only for nodes whose name this pattern matches", Value::Text),
    parameter("service", "Only for nodes with a service that this pattern matches", Value::Text),
    parameter("tag", "Only for nodes with such a service with a tag that this pattern matches", Value::Text),
];
pub(super) const NAMED: &[Parameter] = &[parameter("name", "Only events of this name", Value::Text)];

/// What of a key, or of what is below it, is wanted.
pub(super) const KEYS: &[Parameter] = &[
    parameter("recurse", "Everything below", Value::Flag),
    parameter("keys", "Only the keys below", Value::Flag),
    parameter("separator", "Cuts each key at the first one after the prefix", Value::Text),
    parameter("raw", "The value's bytes alone", Value::Flag),
];
pub(super) const LOCK: &[Parameter] = &[
    parameter("flags", "A number for the client's own use", Value::Number),
    parameter("acquire", "Takes the lock for this session", Value::Text),
    parameter("release", "Gives the lock of this session up", Value::Text),
];
pub(super) const RECURSE: &[Parameter] = &[parameter("recurse", "Everything below", Value::Flag)];

/// A body that is one of two types.
pub(super) const fn either<A: JsonSchema, B: JsonSchema>() -> Body {
    Body::Json(|generator| {
        let (one, other) = (generator.subschema_for::<A>(), generator.subschema_for::<B>());
        schemars::json_schema!({"anyOf": [one, other]})
    })
}

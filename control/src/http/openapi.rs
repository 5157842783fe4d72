//! `/v1/openapi.json`: the interface, described by its own route table (OpenAPI 3.1.0).
//!
//! It decides nothing: paths, methods, parameters and bodies are what the routes state. Errors are text, as Consul's
//! are; which status stands for what is said once, for all.

use std::sync::LazyLock;

use bytes::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use super::describe::{Body, EVERY, Parameter, Value as Kind, object, shaped};
use super::reply::{self, Response};
use super::routes::{self, Operation, Route, now};
use crate::identity::VERSION;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/openapi.json",
    operations: &[routes::get("This description", |_| now(Ok(document())))
        .gives(shaped::<Map<String, Value>>())
        .ours()],
}];

fn document() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| reply::encode(&describe(), true));
    reply::json_bytes(DOCUMENT.clone())
}

/// What the statuses other than success mean, everywhere.
const STATUSES: [(&str, &str); 11] = [
    ("400", "The request is wrong; the text says where"),
    ("401", "Access control is off"),
    ("403", "The token does not allow it, or is unknown; or the path is blocked"),
    ("404", "Not there"),
    ("405", "The path has no such method; the header Allow lists those that it has"),
    ("408", "The body did not arrive"),
    ("413", "The body is larger than a bound, which the text names"),
    ("415", "Not a form that is understood"),
    ("429", "A bound of requests or connections is hit, or something asked about is not well"),
    ("500", "Refused in Consul's words: the request does not fit the present state; or there is no leader"),
    ("503", "Something asked about is critical or in maintenance"),
];

fn describe() -> Value {
    // Names as they are written; the forms of requests are those of answers.
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.contract = Contract::Serialize;
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes::all() {
        let mut item = Map::new();
        for operation in route.operations {
            let described = describe_operation(route, operation, &mut generator);
            item.insert(operation.verb.as_str().to_lowercase(), described);
        }
        paths.insert(template(route), Value::Object(item));
    }
    let mut schemas = generator.take_definitions(true);
    for (name, schema) in &mut schemas {
        // What a client may leave out is decided by the handler.
        if name.ends_with("Request") || name.ends_with("Update") {
            strip_required(schema);
        }
    }
    let errors: Map<String, Value> = STATUSES
        .iter()
        .map(|(status, meaning)| {
            let text = json!({"text/plain": {"schema": {"type": "string"}}});
            ((*status).to_owned(), json!({"description": meaning, "content": text}))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Callboard",
            "version": VERSION,
            "description": "Consul's HTTP interface, and Callboard's additions to it, which are marked.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": errors,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Consul-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"token": []}, {"bearer": []}],
    })
}

/// The path with the name of what follows it.
fn template(route: &Route) -> String {
    match route.operations.first() {
        Some(operation) if route.path.ends_with('/') => format!("{}{{{}}}", route.path, operation.argument),
        _ => route.path.to_owned(),
    }
}

fn describe_operation(route: &Route, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if route.path.ends_with('/') {
        parameters.push(json!({
            "name": operation.argument, "in": "path", "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 512},
        }));
    }
    let stated = operation.parameters.iter().copied().flatten();
    parameters.extend(EVERY.iter().chain(stated).map(describe_parameter));
    let mut responses = Map::new();
    let success = content(operation.answer, generator)
        .map_or_else(|| json!({"description": "Done"}), |content| json!({"description": "Done", "content": content}));
    responses.insert("200".to_owned(), success);
    for (status, _) in STATUSES {
        responses.insert(status.to_owned(), json!({"$ref": format!("#/components/responses/{status}")}));
    }
    for status in operation.also {
        let content = content(operation.answer, generator);
        responses.insert((*status).to_owned(), json!({"description": "Not done", "content": content}));
    }
    let mut described = json!({
        "operationId": operation_id(route, operation),
        "summary": operation.about,
        "tags": [tag(route)],
        "parameters": parameters,
        "responses": responses,
        "x-callboard-origin": if operation.is_ours { "callboard" } else { "consul" },
    });
    if let Some(mut content) = content(operation.body, generator) {
        // What a client may leave out is decided by the handler.
        strip_required(&mut content);
        described["requestBody"] = json!({"required": !matches!(operation.body, Body::Maybe(_)), "content": content});
    }
    described
}

fn operation_id(route: &Route, operation: &Operation) -> String {
    let words = route.path.split('/').filter(|word| !word.is_empty() && *word != "v1");
    let words: Vec<&str> = std::iter::once(operation.verb.as_str()).chain(words).collect();
    words.join("-").to_lowercase()
}

/// The family of a path: its first word.
fn tag(route: &Route) -> &'static str {
    route.path.trim_start_matches("/v1/").trim_matches('/').split('/').next().unwrap_or_default()
}

fn describe_parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.value {
        Kind::Text => json!({"type": "string"}),
        Kind::Flag => json!({"type": "string", "enum": [""]}),
        Kind::Number => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
        Kind::Duration => json!({"type": "string", "pattern": "^[0-9]{1,3}(ms|s)$"}),
        Kind::Bool => json!({"type": "string", "enum": ["true", "false"]}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
    };
    json!({"name": parameter.name, "in": "query", "description": parameter.about, "schema": schema})
}

fn content(body: Body, generator: &mut SchemaGenerator) -> Option<Value> {
    match body {
        Body::Empty => None,
        Body::Json(shape) | Body::Maybe(shape) => Some(json!({"application/json": {"schema": shape(generator)}})),
        Body::Object(members) => Some(json!({"application/json": {"schema": object(members)}})),
        Body::Objects(members) => {
            Some(json!({"application/json": {"schema": {"type": "array", "items": object(members)}}}))
        }
        Body::Several(bodies) => {
            let mut all = Map::new();
            for content in bodies.iter().filter_map(|body| content(*body, generator)) {
                all.extend(content.as_object().into_iter().flatten().map(|(kind, body)| (kind.clone(), body.clone())));
            }
            Some(Value::Object(all))
        }
        Body::Bytes => Some(json!({"application/octet-stream": {}})),
        Body::Media(kind) => Some(json!({kind: {}})),
        Body::Text => Some(json!({"text/plain": {"schema": {"type": "string"}}})),
        Body::Free(why) => Some(json!({"*/*": {"schema": {"description": why}}})),
        Body::Unstated => Some(json!({"*/*": {}})),
    }
}

fn strip_required(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("required");
            map.values_mut().for_each(strip_required);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_required),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described() {
        let document = describe();
        for route in routes::all() {
            let item = &document["paths"][template(route)];
            for operation in route.operations {
                let described = &item[operation.verb.as_str().to_lowercase()];
                assert_eq!(described["summary"], operation.about, "{}", route.path);
                assert!(described["responses"]["200"].is_object(), "{}", route.path);
            }
        }
    }

    #[test]
    fn every_operation_states_what_it_takes_and_gives() {
        let all = routes::all().flat_map(|route| route.operations.iter().map(move |operation| (route, operation)));
        let mut free = Vec::new();
        for (route, operation) in all {
            for (what, body) in [("takes", operation.body), ("gives", operation.answer)] {
                let place = format!("{} {} {what}", operation.verb.as_str(), route.path);
                match body {
                    Body::Unstated => panic!("{place}: nobody said what"),
                    Body::Free(_) => free.push(place),
                    _ => {}
                }
            }
        }
        // What has no schema is not held against one: each needs its reason, and there are few.
        assert_eq!(free, ["GET /ui/ gives"]);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn follow(document: &Value, value: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        let place = reference.strip_prefix('#').expect("references are local");
                        assert!(document.pointer(place).is_some(), "{reference}");
                    }
                    map.values().for_each(|value| follow(document, value));
                }
                Value::Array(list) => list.iter().for_each(|value| follow(document, value)),
                _ => {}
            }
        }
        let document = describe();
        follow(&document, &document);
    }
}

//! The server's own description of its interface, which says what a suite has to cover.

use serde_json::{Map, Value};

use crate::http::Http;

/// The described paths of a node, each with its operations.
///
/// # Panics
/// When the description cannot be read.
#[must_use]
pub fn paths(http: &Http, token: Option<&str>) -> Map<String, Value> {
    let reply = http.request_as(token, "GET", "/v1/openapi.json", b"").expect("it is answered").ok();
    let Value::Object(paths) = reply.json()["paths"].take() else { panic!("a description has paths") };
    paths
}

/// The described path that is meant by a path that is asked for: of those that fit, the one that leaves the least open.
#[must_use]
pub fn template<'a>(paths: &'a Map<String, Value>, asked: &str) -> Option<&'a str> {
    let asked = asked.split('?').next().unwrap_or(asked);
    let fitting = paths.keys().filter(|template| fits(template, asked));
    fitting.max_by_key(|template| template.split('/').filter(|part| !part.starts_with('{')).count()).map(String::as_str)
}

/// What is open stands for one part of a path; at the end for all that follows, because keys and ids may have slashes.
fn fits(template: &str, asked: &str) -> bool {
    let (mut template, mut asked) = (template.split('/').peekable(), asked.split('/'));
    loop {
        match (template.next(), asked.next()) {
            (None, None) => return true,
            (Some(open), Some(_)) if open.starts_with('{') => {
                if template.peek().is_none() {
                    return true;
                }
            }
            (Some(part), Some(asked)) if part == asked => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_that_leaves_the_least_open_is_meant() {
        let known =
            ["/v1/kv/{key}", "/v1/query", "/v1/query/{query}", "/v1/a/{id}", "/v1/a/name/{name}", "/v1/b/{id}/c"];
        let paths: Map<String, Value> = known.iter().map(|path| ((*path).to_owned(), Value::Null)).collect();
        for (asked, meant) in [
            ("/v1/kv/a/b?raw", Some("/v1/kv/{key}")),
            ("/v1/kv/?keys", Some("/v1/kv/{key}")),
            ("/v1/query", Some("/v1/query")),
            ("/v1/query/x/execute", Some("/v1/query/{query}")),
            ("/v1/a/name/x", Some("/v1/a/name/{name}")),
            ("/v1/a/x", Some("/v1/a/{id}")),
            ("/v1/b/x/c", Some("/v1/b/{id}/c")),
            ("/v1/b/x/d", None),
            ("/v1/kv", None),
        ] {
            assert_eq!(template(&paths, asked), meant, "{asked}");
        }
    }
}

//! `/v1/kv/…`: keys and values.

use std::collections::BTreeSet;

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::kv::KvShown;
use callboard_proto::kv::KEY_MAX;
use callboard_proto::text::Text;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::payload::Payload;
use super::reply::{Failure, Response, encode, json};
use super::request::Call;
use super::routes::{self, Route};
use crate::acl::{Access, Denial};
use crate::registry::{Command, KvCondition, Outcome, Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/kv/",
    operations: &[
        routes::get("One key, or everything below a prefix", |call| Box::pin(get(call)))
            .of("key")
            .with(&[READ, KEYS])
            .gives(either::<Vec<KvShown>, Vec<Text>>()),
        routes::put("Writes a key, under a condition or with a lock", |call| Box::pin(put(call)))
            .of("key")
            .with(&[CAS, LOCK])
            .takes(Body::Bytes)
            .gives(shaped::<bool>()),
        routes::delete("Removes a key, or everything below a prefix", |call| Box::pin(delete(call)))
            .of("key")
            .with(&[CAS, RECURSE])
            .gives(shaped::<bool>()),
    ],
}];

/// Refuses a key that is too long to be one.
fn bounded(call: &Call<'_>) -> Result<(), Failure> {
    let length = call.rest.len();
    if length > KEY_MAX {
        let text = format!("Invalid key: it is {length} bytes long; at most {KEY_MAX} are accepted");
        return Err(Failure::BadRequest(text));
    }
    Ok(())
}

async fn get(call: &Call<'_>) -> Result<Response, Failure> {
    bounded(call)?;
    let options = call.read_options()?;
    let pretty = call.pretty();
    let key: Text = call.rest.into();
    let show = if call.params.has("keys") {
        let separator = call.params.filled("separator").or_else(|| call.params.filled("seperator")).unwrap_or("");
        Some(Show::Keys { separator: separator.into() })
    } else {
        call.params.has("recurse").then_some(Show::Entries)
    };
    if let Some(show) = show {
        return read(call, &options, &Tree { prefix: key, show, pretty }).await;
    }
    let key = call.argument("Missing key name").map(Text::from)?;
    read(call, &options, &One { key, raw: call.params.has("raw"), pretty }).await
}

/// One key.
struct One {
    key: Text,
    raw: bool,
    pretty: bool,
}

impl Question for One {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Key(self.key.clone())]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.kv_get(&self.key).map_or_else(|| registry.kv_index(), |entry| entry.modified)
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        registry.kv_get(&self.key).is_none()
    }

    fn permit(&self, access: &Access) -> Result<(), Denial> {
        access.permit(Resource::Key, &self.key, Level::Read)
    }

    fn answer(&self, registry: &Registry, _access: &Access) -> Answer {
        let Some(entry) = registry.kv_get(&self.key) else { return Answer::Absent };
        if !self.raw {
            return Answer::Json(encode(&[KvShown::of(entry)], self.pretty));
        }
        let mut response = Response::new(Payload::Whole(entry.value.to_vec().into()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        Answer::Ready(Box::new(response))
    }
}

/// Everything with a prefix.
struct Tree {
    prefix: Text,
    show: Show,
    pretty: bool,
}

/// What is shown of it.
enum Show {
    /// Whole entries.
    Entries,
    /// Keys, cut at a separator if there is one.
    Keys { separator: Text },
}

impl Question for Tree {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::KeyPrefix(self.prefix.clone())]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.kv_index_under(&self.prefix)
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        registry.kv_under(&self.prefix).next().is_none()
    }

    fn permit(&self, access: &Access) -> Result<(), Denial> {
        match access.needs_key_list() {
            true => access.permit(Resource::Key, &self.prefix, Level::List),
            false => Ok(()),
        }
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let mut entries = registry
            .kv_under(&self.prefix)
            .filter(|entry| access.allows(Resource::Key, &entry.key, Level::Read))
            .peekable();
        let nothing = entries.peek().is_none();
        let body = match &self.show {
            // The list of all keys may be empty; anything else that is empty is not there.
            Show::Keys { .. } if self.prefix.is_empty() && nothing => encode::<[&str]>(&[], self.pretty),
            _ if nothing => return Answer::Absent,
            Show::Entries => encode(&entries.map(|entry| KvShown::of(entry)).collect::<Vec<_>>(), self.pretty),
            Show::Keys { separator } if separator.is_empty() => {
                encode(&entries.map(|entry| &*entry.key).collect::<Vec<_>>(), self.pretty)
            }
            Show::Keys { separator } => {
                let cut = entries.map(|entry| cut(&entry.key, self.prefix.len(), separator));
                encode(&cut.collect::<BTreeSet<_>>(), self.pretty)
            }
        };
        Answer::Json(body)
    }
}

/// A key up to and including the first separator after the prefix.
fn cut<'a>(key: &'a str, prefix: usize, separator: &str) -> &'a str {
    match key[prefix..].find(separator) {
        Some(place) => &key[..prefix + place + separator.len()],
        None => key,
    }
}

/// An index in a parameter.
pub(super) fn index(name: &str, text: &str) -> Result<Index, Failure> {
    text.parse().map_err(|_| Failure::BadRequest(format!("Invalid {name}: {:?} is not an unsigned number", clip(text))))
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

/// At most one of these may be asked for.
fn exclusive(call: &Call<'_>, names: &[&str]) -> Result<(), Failure> {
    if names.iter().filter(|name| call.params.has(name)).count() > 1 {
        // In the order in which Go prints a query: by name.
        let mut pairs: Vec<&str> = call.query.split('&').collect();
        pairs.sort_unstable();
        return Err(Failure::BadRequest(format!("Conflicting flags: {}\n", pairs.join("&"))));
    }
    Ok(())
}

async fn put(call: &mut Call<'_>) -> Result<Response, Failure> {
    bounded(call)?;
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    exclusive(call, &["cas", "acquire", "release"])?;
    let key: Text = call.argument("Missing key name")?.into();
    call.permit(Resource::Key, &key, Level::Write)?;
    let flags = match call.params.filled("flags") {
        None => 0,
        Some(text) => index("flags", text)?.0,
    };
    let value_max = call.api.rules.load().kv_value_max;
    let session = |text: &str| Text::from(clip(text).to_ascii_lowercase());
    let condition = if let Some(text) = call.params.get("cas") {
        KvCondition::Cas(index("cas", text)?)
    } else if let Some(text) = call.params.get("acquire") {
        let session = session(text);
        let value = call.body(value_max).await?;
        let held = call.api.cluster.acquire(key, value[..].into(), flags, session).await?;
        return Ok(json(&held, call.pretty()));
    } else if let Some(text) = call.params.get("release") {
        KvCondition::Release(session(text))
    } else {
        KvCondition::Always
    };
    let value = call.body(value_max).await?;
    let command = Command::KvSet { key, value: value[..].into(), flags, condition };
    Ok(held(call, call.api.cluster.propose(command).await?))
}

async fn delete(call: &Call<'_>) -> Result<Response, Failure> {
    bounded(call)?;
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    exclusive(call, &["recurse", "cas"])?;
    let command = if call.params.has("recurse") {
        call.access()?.permit_all_under(Resource::Key, call.rest, Level::Write)?;
        Command::KvDeletePrefix { prefix: call.rest.into() }
    } else {
        let key: Text = call.argument("Missing key name")?.into();
        call.permit(Resource::Key, &key, Level::Write)?;
        let cas = call.params.get("cas").map(|text| index("cas", text)).transpose()?;
        Command::KvDelete { key, cas }
    };
    Ok(held(call, call.api.cluster.propose(command).await?))
}

fn held(call: &Call<'_>, outcome: Outcome) -> Response {
    json(&!matches!(outcome, Outcome::Held(false)), call.pretty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_after_the_prefix() {
        assert_eq!(cut("base/base/foo", 5, "/"), "base/base/");
        assert_eq!(cut("base/foo", 5, "/"), "base/foo");
        assert_eq!(cut("a--b--c", 0, "--"), "a--");
    }
}

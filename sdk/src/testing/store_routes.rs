//! The routes of keys, sessions, config entries and events. No I/O.
//!
//! Called by `routes`.

use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::event::UserEvent;
use callboard_proto::api::kv::KvShown;
use callboard_proto::api::session::{Session, SessionCreated, SessionRequest};
use callboard_proto::kv::VALUE_MAX;
use http::Method;
use serde_json::{Value, json};

use super::routes::{Call, Reply};
use super::state::State;
use super::store::Put;

pub(super) fn answer(state: &mut State, call: &Call<'_>) -> Option<Reply> {
    if let Some(key) = call.after("/v1/kv/") {
        return Some(match *call.method {
            Method::PUT => kv_put(state, call, &key),
            Method::DELETE => kv_delete(state, call, &key),
            _ => kv_read(state, call, &key),
        });
    }
    if let Some(rest) = call.path.strip_prefix("/v1/session/") {
        return session(state, call, rest);
    }
    if call.path.starts_with("/v1/config") {
        return config(state, call);
    }
    event(state, call)
}

fn kv_read(state: &State, call: &Call<'_>, key: &str) -> Reply {
    let under = || state.kv.values().filter(|entry| entry.key.starts_with(key));
    let absent = |index: u64| Reply::text(404, "").at(index).nothing();
    if call.params.has("keys") {
        let separator = call.params.filled("separator");
        let mut keys: Vec<String> = under()
            .map(|entry| {
                let rest = &entry.key[key.len()..];
                let end = separator.and_then(|separator| Some(rest.find(separator)? + separator.len()));
                format!("{key}{}", end.map_or(rest, |end| &rest[..end]))
            })
            .collect();
        keys.dedup();
        return if keys.is_empty() {
            absent(state.prefix_index(key))
        } else {
            Reply::json(&keys).at(state.prefix_index(key))
        };
    }
    if call.params.has("recurse") {
        let rows: Vec<KvShown> = under().map(KvShown::of).collect();
        return if rows.is_empty() {
            absent(state.prefix_index(key))
        } else {
            Reply::json(&rows).at(state.prefix_index(key))
        };
    }
    match state.kv.get(key) {
        _ if key.is_empty() => Reply::text(400, "Missing key name"),
        None => absent(state.kv_index),
        Some(entry) if call.params.has("raw") => {
            Reply { body: entry.value.to_vec(), ..Reply::text(200, "") }.at(entry.modified.0)
        }
        Some(entry) => Reply::json(&[KvShown::of(entry)]).at(entry.modified.0),
    }
}

fn kv_put(state: &mut State, call: &Call<'_>, key: &str) -> Reply {
    if key.is_empty() {
        return Reply::text(400, "Missing key name");
    }
    if call.body.len() > VALUE_MAX {
        return Reply::text(
            413,
            format!("Request body({} bytes) too large, max size: {VALUE_MAX} bytes.", call.body.len()),
        );
    }
    let number = |name: &str| call.params.filled(name).map(str::parse::<u64>).transpose();
    let (Ok(flags), Ok(cas)) = (number("flags"), number("cas")) else {
        return Reply::text(500, "flags and cas must be numbers");
    };
    let text = |name: &str| call.params.get(name).map(str::to_owned);
    let how = Put { flags: flags.unwrap_or(0), cas, acquire: text("acquire"), release: text("release") };
    if usize::from(how.cas.is_some()) + usize::from(how.acquire.is_some()) + usize::from(how.release.is_some()) > 1 {
        return Reply::text(400, "Conflicting flags");
    }
    match state.put_as(key, call.body, &how, call.now) {
        Ok(done) => Reply::json(&done),
        Err(text) => Reply::text(500, text),
    }
}

fn kv_delete(state: &mut State, call: &Call<'_>, key: &str) -> Reply {
    let cas = match call.params.filled("cas").map(str::parse::<u64>).transpose() {
        Ok(cas) => cas,
        Err(_) => return Reply::text(400, "cas must be a number"),
    };
    match (call.params.has("recurse"), cas) {
        (true, Some(_)) => return Reply::text(400, "Conflicting flags"),
        (true, None) => state.delete_under(key, |_| true),
        (false, _) if key.is_empty() => return Reply::text(400, "Missing key name"),
        (false, cas) => return Reply::json(&state.delete(key, cas)),
    }
    Reply::json(&true)
}

fn session(state: &mut State, call: &Call<'_>, rest: &str) -> Option<Reply> {
    let put = *call.method == Method::PUT;
    let shown = |state: &State, wanted: &dyn Fn(&str, &str) -> bool| {
        let rows = state.sessions().filter(|row| wanted(&row.id, row.node.as_str()));
        Reply::json(&rows.map(Session::of).collect::<Vec<_>>()).at(state.sessions_index)
    };
    let (verb, name) = rest.split_once('/').unwrap_or((rest, ""));
    Some(match (put, verb) {
        (true, "create") => {
            let body = if call.body.is_empty() { b"{}" } else { call.body };
            match from_slice::<SessionRequest>(body, Unknown::Refuse) {
                Err(error) => Reply::text(400, error.to_string()),
                Ok(request) => match state.open_session(request, call.now) {
                    Err(error) => Reply::text(500, error.to_string()),
                    Ok(id) => Reply::json(&SessionCreated { id }),
                },
            }
        }
        (true, "renew") => match state.renew(name, call.now) {
            Some(session) => Reply::json(&[session]),
            None => Reply::text(404, format!("Session id '{name}' not found")),
        },
        (true, "destroy") if name.is_empty() => Reply::text(400, "Missing session"),
        (true, "destroy") => {
            state.end_session(name);
            Reply::json(&true)
        }
        (false, "info") => {
            let reply = shown(state, &|id, _| id == name);
            if state.sessions.contains_key(name) { reply } else { reply.nothing() }
        }
        (false, "node") => shown(state, &|_, node| node == name),
        (false, "list") => shown(state, &|_, _| true),
        _ => return None,
    })
}

fn config(state: &mut State, call: &Call<'_>) -> Option<Reply> {
    let rest = call.after("/v1/config")?;
    let rest = rest.strip_prefix('/').unwrap_or(&rest);
    let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
    Some(match *call.method {
        Method::PUT if rest.is_empty() => match serde_json::from_slice::<Value>(call.body) {
            Err(error) => Reply::text(400, format!("Request decoding failed: {error}")),
            Ok(entry) => match state.put_config(entry) {
                true => Reply::json(&true),
                false => Reply::text(400, "Request decoding failed: an entry needs Kind and Name"),
            },
        },
        Method::DELETE if !name.is_empty() => {
            state.delete_config(kind, name);
            Reply::json(&json!({}))
        }
        Method::GET if kind.is_empty() => Reply::text(404, "Must provide either a kind or both kind and name"),
        Method::GET if name.is_empty() => {
            let entries = state.config.iter().filter(|((known, _), _)| known == kind).map(|(_, entry)| entry);
            Reply::json(&entries.collect::<Vec<_>>()).at(state.config_index)
        }
        Method::GET => match state.config.get(&(kind.to_owned(), name.to_owned())) {
            Some(entry) => Reply::json(entry).at(entry["ModifyIndex"].as_u64().unwrap_or(state.config_index)),
            None => Reply::text(404, format!("Config entry not found for {kind:?} / {name:?}"))
                .at(state.config_index)
                .nothing(),
        },
        _ => return None,
    })
}

fn event(state: &mut State, call: &Call<'_>) -> Option<Reply> {
    if let Some(name) = call.after("/v1/event/fire/") {
        return Some(match name.is_empty() {
            true => Reply::text(400, "Missing name"),
            false => Reply::json(&state.fire(&name, call.body)),
        });
    }
    if call.path != "/v1/event/list" {
        return None;
    }
    let name = call.params.filled("name");
    let events: Vec<&UserEvent> =
        state.events.iter().filter(|event| name.is_none_or(|name| event.name == name)).collect();
    let index = events.last().map_or(1, |event| event.list_index().0);
    Some(Reply { pseudo: true, ..Reply::json(&events).at(index) })
}

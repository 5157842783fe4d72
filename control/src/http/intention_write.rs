//! `/v1/connect/intentions…`: who may call whom, written: by the two names, or by an id as older clients do.
//!
//! Each write reads one `service-intentions` entry, changes one of its sources and writes it back on the condition that
//! nobody else did so meanwhile. An entry whose last source goes, goes.

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::intention::{IntentionBody, IntentionId};
use callboard_proto::api::query::Consistency;
use callboard_proto::api::valid::validate_meta;
use callboard_proto::config_entry::{ConfigEntry, EntryKind, ServiceIntentions, SourceIntention};
use callboard_proto::text::Text;

use super::connect::{now, rfc3339};
use super::intention::{ends, rows, service_in};
use super::reply::{Failure, Response, encode, json};
use super::request::{BODY_MAX, Call};
use crate::registry::{Command, Outcome};

/// How often a write is tried when others write the same entry.
const TRIES: usize = 16;
const KIND: EntryKind = EntryKind::ServiceIntentions;

/// What is done to the sources of an entry.
type Edit<'a> = dyn Fn(&mut Vec<SourceIntention>) -> Result<(), Failure> + Sync + 'a;

async fn edit(call: &Call<'_>, destination: &str, change: &Edit<'_>) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let registry = call.api.cluster.query(Consistency::Leader).await?.registry;
        let row = registry.config(KIND, destination);
        let mut entry = match row.map(|row| &*row.entry) {
            Some(ConfigEntry::Intentions(entry)) => (**entry).clone(),
            _ => ServiceIntentions { name: destination.to_owned(), ..ServiceIntentions::default() },
        };
        change(&mut entry.sources)?;
        let seen = row.map_or(Index::ZERO, |row| row.modified);
        let command = if entry.sources.is_empty() {
            if row.is_none() {
                return Ok(());
            }
            Command::ConfigDelete { kind: KIND, name: destination.into(), cas: Some(seen) }
        } else {
            entry.normalise();
            let entry = ConfigEntry::Intentions(Box::new(entry));
            entry.validate().map_err(|error| Failure::BadRequest(error.to_string()))?;
            let body = String::from_utf8_lossy(&encode(&entry, false)).as_ref().into();
            Command::ConfigSet { body, cas: Some(seen) }
        };
        if call.api.cluster.propose(command).await? == Outcome::Held(true) {
            return Ok(());
        }
    }
    Err(Failure::Refused("the intentions of this service are being changed by others; try again".to_owned()))
}

async fn body(call: &mut Call<'_>) -> Result<IntentionBody, Failure> {
    let bytes = call.body(BODY_MAX).await?;
    let body: IntentionBody = from_slice(&bytes, Unknown::Refuse)
        .map_err(|error| Failure::BadRequest(format!("Request decode failed: {}", error.detail())))?;
    for (field, namespace) in [("SourceNS", &body.source_ns), ("DestinationNS", &body.destination_ns)] {
        if !matches!(namespace.as_str(), "" | "default") {
            return Err(Failure::BadRequest(format!("{field} must be \"default\"; there is only that namespace")));
        }
    }
    validate_meta("Intention Meta", &body.meta)?;
    Ok(body)
}

fn is_named(source: &SourceIntention, name: &str) -> bool {
    source.name.eq_ignore_ascii_case(name)
}

pub(super) async fn put_exact(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let (source, destination) = ends(call)?;
    call.permit(Resource::Intention, &destination, Level::Write)?;
    let body = body(call).await?;
    for (field, given, known) in
        [("SourceName", &body.source_name, &source), ("DestinationName", &body.destination_name, &destination)]
    {
        if !given.is_empty() && !given.eq_ignore_ascii_case(known) {
            return Err(Failure::BadRequest(format!("{field} is another than the query's")));
        }
    }
    if !body.meta.is_empty() {
        return Err(Failure::BadRequest(
            "Meta must not be specified; it belongs to the service-intentions entry".to_owned(),
        ));
    }
    let new = body.source(&source).map_err(Failure::BadRequest)?;
    edit(call, &destination, &|sources| {
        match sources.iter_mut().find(|known| is_named(known, &source)) {
            Some(known) => *known = new.clone(),
            None => sources.push(new.clone()),
        }
        Ok(())
    })
    .await?;
    Ok(json(&true, call.pretty()))
}

pub(super) async fn delete_exact(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let (source, destination) = ends(call)?;
    call.permit(Resource::Intention, &destination, Level::Write)?;
    edit(call, &destination, &|sources| {
        sources.retain(|known| !is_named(known, &source));
        Ok(())
    })
    .await?;
    Ok(json(&true, call.pretty()))
}

/// What stands in an entry for an intention that is made by id.
fn with_id(body: &IntentionBody, source: &str, id: &str, created: &str) -> Result<SourceIntention, Failure> {
    let plain = body.source(source).map_err(Failure::BadRequest)?;
    Ok(SourceIntention {
        legacy_id: id.to_owned(),
        legacy_meta: body.meta.clone(),
        legacy_create_time: Some(created.to_owned()),
        legacy_update_time: Some(rfc3339(now()).to_string()),
        ..plain
    })
}

pub(super) async fn create(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let body = body(call).await?;
    for (field, name) in [("SourceName", &body.source_name), ("DestinationName", &body.destination_name)] {
        if name.is_empty() {
            return Err(Failure::BadRequest(format!("{field} must be set")));
        }
    }
    let source = service_in("SourceName", &body.source_name)?;
    let destination = service_in("DestinationName", &body.destination_name)?;
    call.permit(Resource::Intention, &destination, Level::Write)?;
    if !body.id.is_empty() {
        return Err(Failure::BadRequest("ID must be empty when creating a new intention".to_owned()));
    }
    let id = uuid::Uuid::new_v4().to_string();
    let new = with_id(&body, &source, &id, &rfc3339(now()))?;
    edit(call, &destination, &|sources| {
        if sources.iter().any(|known| is_named(known, &source)) {
            let text = format!("duplicate intention found: default/{source} => default/{destination}");
            return Err(Failure::Refused(text));
        }
        sources.push(new.clone());
        Ok(())
    })
    .await?;
    Ok(json(&IntentionId { id: id.into() }, call.pretty()))
}

/// The entry that holds an id, and the source that has it.
async fn holder(call: &Call<'_>, id: &str) -> Result<Option<(String, SourceIntention)>, Failure> {
    let registry = call.api.cluster.query(Consistency::Leader).await?.registry;
    let found = rows(&registry).find_map(|(_, entry)| {
        let source = entry.sources.iter().find(|source| source.legacy_id == id)?;
        Some((entry.name.clone(), source.clone()))
    });
    Ok(found)
}

pub(super) async fn put_by_id(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let id = call.argument("Missing intention ID")?.to_owned();
    let body = body(call).await?;
    let missing = || Failure::NotFound(format!("Intention not found: {id}"));
    let (destination, old) = holder(call, &id).await?.ok_or_else(missing)?;
    call.permit(Resource::Intention, &destination, Level::Write)?;
    for (field, given, known) in
        [("SourceName", &body.source_name, &old.name), ("DestinationName", &body.destination_name, &destination)]
    {
        if !given.is_empty() && !given.eq_ignore_ascii_case(known) {
            let text = format!("{field} of an intention cannot be changed; remove it and make another");
            return Err(Failure::BadRequest(text));
        }
    }
    let created = old.legacy_create_time.clone().unwrap_or_default();
    let new = with_id(&body, &old.name, &id, &created)?;
    edit(call, &destination, &|sources| {
        let known = sources.iter_mut().find(|known| known.legacy_id == id).ok_or_else(missing)?;
        *known = new.clone();
        Ok(())
    })
    .await?;
    Ok(json(&IntentionId { id: Text::from(id.as_str()) }, call.pretty()))
}

pub(super) async fn delete_by_id(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let id = call.argument("Missing intention ID")?.to_owned();
    if let Some((destination, _)) = holder(call, &id).await? {
        call.permit(Resource::Intention, &destination, Level::Write)?;
        edit(call, &destination, &|sources| {
            sources.retain(|known| known.legacy_id != id);
            Ok(())
        })
        .await?;
    }
    Ok(json(&true, call.pretty()))
}

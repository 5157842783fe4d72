//! `/v1/snapshot`: the whole registry as an archive, and back.
//!
//! Whoever may do this holds every secret and may replace it, so it takes leave to write access control.

use callboard_proto::CheckStatus;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::check::SERF_HEALTH;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::blocking::stamp;
use super::describe::{Body, MODES};
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{Route, get, put};
use crate::identity::VERSION;
use crate::registry::Command;
use crate::snapshot::{self, ARCHIVE_MAX, SnapshotError};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/snapshot",
    operations: &[
        get("Everything, as an archive", |call| Box::pin(save(call))).with(&[MODES]).gives(Body::Bytes),
        put("Replaces everything by what is in an archive", |call| Box::pin(restore(call)))
            .takes(Body::Bytes)
            .gives(Body::Empty),
    ],
}];

/// Does what takes long where nobody waits for it.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Failure::Refused(format!("the archive was given up: {error}")))?;
    done.map_err(|error| Failure::Refused(error.to_string()))
}

async fn save(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    call.permit(Resource::Acl, "", Level::Write)?;
    let view = call.api.cluster.query(options.consistency).await?;
    let registry = view.registry.clone();
    let archive = aside(move || snapshot::write(&registry, VERSION)).await?;
    let mut response = reply::bytes(archive.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-gzip"));
    stamp(&mut response, view.registry.index(), &view, &options);
    Ok(response)
}

async fn restore(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    call.permit(Resource::Acl, "", Level::Write)?;
    let archive = call.body(ARCHIVE_MAX).await?;
    let unpacked = aside(move || snapshot::read(&archive)).await?;
    call.api.cluster.restore(&unpacked.state).await?;
    sign_in_again(call).await?;
    Ok(reply::empty())
}

/// Writes this node's own rows again: the archive may come from elsewhere, where nobody knows of it.
async fn sign_in_again(call: &Call<'_>) -> Result<(), Failure> {
    let (cluster, own) = (&call.api.cluster, call.api.identity.registration());
    let registry = cluster.registry();
    let node = &own.node;
    if registry.node(&node.name).is_some_and(|known| known.id != node.id)
        && let Some(alive) = registry.check(&node.name, SERF_HEALTH)
    {
        // Another node had our name. It is not here, so what depends on its life ends, and the name is free.
        let (node, id, status) = (node.name.clone(), alive.id.clone(), CheckStatus::Critical);
        let output = "Agent not live or unreachable".into();
        cluster.propose(Command::UpdateCheck { node, id, status, output }).await?;
    }
    cluster.propose(Command::Register(Box::new(own))).await?;
    Ok(())
}

//! `/v1/operator/autopilot/…`: how servers are kept in good order, and how each one is.

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::operator::{AutopilotConfig, AutopilotHealth, AutopilotState, ServerHealth, ServerState};
use callboard_proto::duration::GoDuration;
use callboard_proto::text::Text;
use http::StatusCode;

use super::connect::rfc3339;
use super::describe::*;
use super::kv::index;
use super::reply::{Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, put};
use crate::cluster;
use crate::identity::VERSION;
use crate::registry::{AutopilotCommand, AutopilotRow, AutopilotSettings, Command, CommercialSettings, Outcome};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/operator/autopilot/configuration",
        operations: &[
            get("The settings by which servers are kept in good order", |call| Box::pin(configuration(call)))
                .with(&[MODES])
                .gives(shaped::<AutopilotConfig>()),
            put("Replaces the settings by which servers are kept in good order", |call| Box::pin(configure(call)))
                .with(&[CAS])
                .takes(shaped::<AutopilotConfig>())
                .gives(shaped::<bool>()),
        ],
    },
    Route {
        path: "/v1/operator/autopilot/health",
        operations: &[get("How each server is", |call| Box::pin(health(call)))
            .gives(shaped::<AutopilotHealth>())
            .also(&["429"])],
    },
    Route {
        path: "/v1/operator/autopilot/state",
        operations: &[
            get("What the leader makes of the servers", |call| Box::pin(state(call))).gives(shaped::<AutopilotState>())
        ],
    },
];

fn show(row: &AutopilotRow) -> AutopilotConfig {
    let AutopilotRow { settings, created, modified } = row;
    AutopilotConfig {
        cleanup_dead_servers: settings.cleanup,
        last_contact_threshold: settings.contact_max.into(),
        max_trailing_logs: settings.trailing_max,
        min_quorum: settings.voters_min,
        server_stabilization_time: settings.stabilization.into(),
        redundancy_zone_tag: settings.commercial.redundancy_zone_tag.clone(),
        disable_upgrade_migration: settings.commercial.upgrade_migration_disabled,
        upgrade_version_tag: settings.commercial.upgrade_version_tag.clone(),
        create_index: *created,
        modify_index: *modified,
    }
}

fn settings(config: AutopilotConfig) -> Result<AutopilotSettings, Failure> {
    let length = |name: &str, time: GoDuration| match time.0 {
        0.. => Ok(time.to_std()),
        _ => Err(Failure::BadRequest(format!("Invalid {name}: {time} is negative"))),
    };
    Ok(AutopilotSettings {
        cleanup: config.cleanup_dead_servers,
        contact_max: length("LastContactThreshold", config.last_contact_threshold)?,
        trailing_max: config.max_trailing_logs,
        voters_min: config.min_quorum,
        stabilization: length("ServerStabilizationTime", config.server_stabilization_time)?,
        commercial: CommercialSettings {
            redundancy_zone_tag: config.redundancy_zone_tag,
            upgrade_migration_disabled: config.disable_upgrade_migration,
            upgrade_version_tag: config.upgrade_version_tag,
        },
    })
}

async fn configuration(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    call.permit(Resource::Operator, "", Level::Read)?;
    Ok(json(&show(&call.api.cluster.autopilot(options.consistency).await?), call.pretty()))
}

async fn configure(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    call.permit(Resource::Operator, "", Level::Write)?;
    let cas: Option<Index> = call.params.get("cas").map(|text| index("cas", text)).transpose()?;
    let body = call.body(BODY_MAX).await?;
    let settings = settings(from_slice(&body, Unknown::Ignore)?)?;
    let command = AutopilotCommand::Set { settings, cas };
    let outcome = call.api.cluster.propose(Command::Autopilot(command)).await?;
    Ok(json(&(outcome == Outcome::Held(true)), call.pretty()))
}

/// The servers as their leader sees them.
async fn servers(call: &Call<'_>) -> Result<cluster::Health, Failure> {
    call.read_options()?;
    call.permit(Resource::Operator, "", Level::Read)?;
    Ok(call.api.cluster.health().await?)
}

fn status(row: &cluster::ServerHealth) -> Text {
    row.member.map_or("none", cluster::MemberStatus::as_str).into()
}

/// How long ago a server answered. One that never did is shown as if it had been silent for ever.
fn silence(row: &cluster::ServerHealth) -> GoDuration {
    row.silence.map_or(GoDuration(i64::MAX), |silence| {
        // Milliseconds tell everything that anybody acts on.
        std::time::Duration::from_millis(u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)).into()
    })
}

fn since(row: &cluster::ServerHealth) -> Text {
    rfc3339(i64::try_from(row.since.as_secs()).unwrap_or(i64::MAX))
}

async fn health(call: &Call<'_>) -> Result<Response, Failure> {
    let health = servers(call).await?;
    let one = |row: &cluster::ServerHealth| ServerHealth {
        id: row.server.id.as_str().into(),
        name: row.server.name.as_str().into(),
        address: row.server.address.as_str().into(),
        serf_status: status(row),
        version: VERSION.into(),
        leader: row.server.leader,
        last_contact: silence(row),
        last_term: row.last_term,
        last_index: row.server.last_index,
        healthy: row.healthy,
        voter: row.server.voter,
        stable_since: since(row),
    };
    let shown = AutopilotHealth {
        healthy: health.is_healthy(),
        failure_tolerance: health.tolerance(),
        servers: health.servers.iter().map(one).collect(),
    };
    let mut response = json(&shown, call.pretty());
    if !shown.healthy {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    }
    Ok(response)
}

async fn state(call: &Call<'_>) -> Result<Response, Failure> {
    let health = servers(call).await?;
    let rows = &health.servers;
    let id = |row: &cluster::ServerHealth| Text::from(row.server.id.as_str());
    let one = |row: &cluster::ServerHealth| ServerState {
        id: id(row),
        name: row.server.name.as_str().into(),
        address: row.server.address.as_str().into(),
        node_status: status(row),
        version: VERSION.into(),
        last_contact: silence(row),
        last_term: row.last_term,
        last_index: row.server.last_index,
        healthy: row.healthy,
        stable_since: since(row),
        read_replica: false,
        status: match (row.server.leader, row.server.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "non-voter",
        }
        .into(),
        meta: None,
        node_type: "voter".into(),
    };
    let tolerance = health.tolerance();
    let shown = AutopilotState {
        healthy: health.is_healthy(),
        failure_tolerance: tolerance,
        optimistic_failure_tolerance: tolerance,
        servers: rows.iter().map(|row| (id(row), one(row))).collect(),
        leader: rows.iter().find(|row| row.server.leader).map(id).unwrap_or_default(),
        voters: rows.iter().filter(|row| row.server.voter).map(id).collect(),
    };
    Ok(json(&shown, call.pretty()))
}

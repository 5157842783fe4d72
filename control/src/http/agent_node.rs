//! `/v1/agent/{version,host,metrics,monitor,reload}`: the process about itself, and its log as it is written.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use callboard_proto::acl::{Level, Resource};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tracing::Level as LogLevel;

use super::describe::*;
use super::payload::Payload;
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{Route, get, now, put};
use crate::host;
use crate::identity::VERSION;
use crate::monitor::{Heard, LISTENERS_MAX};

/// How often numbers are sent to those who stay.
const NUMBERS_INTERVAL: Duration = Duration::from_secs(1);

const PROMETHEUS: &[Parameter] =
    &[parameter("format", "`prometheus` for its text, if that is set up", super::describe::Value::Text)];
const LOG: &[Parameter] = &[
    parameter(
        "loglevel",
        "The least important lines wanted: trace, debug, info, warn or err",
        super::describe::Value::Text,
    ),
    parameter("logjson", "Lines for programs", super::describe::Value::Flag),
];

const VERSIONS: &[Member] =
    &[("SHA", Kind::Text), ("BuildDate", Kind::Text), ("HumanVersion", Kind::Text), ("FIPS", Kind::Text)];
const HOST: &[Member] = &[
    ("Memory", Kind::Object),
    ("CPU", Kind::List),
    ("Host", Kind::Object),
    ("Disk", Kind::Any),
    ("CollectionTime", Kind::Number),
    ("Errors", Kind::Any),
];
const NUMBERS: &[Member] = &[
    ("Timestamp", Kind::Text),
    ("Gauges", Kind::List),
    ("Points", Kind::List),
    ("Counters", Kind::List),
    ("Samples", Kind::List),
];

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/agent/version",
        operations: &[
            get("The version of the interface that is spoken", |call| now(version(call))).gives(Body::Object(VERSIONS))
        ],
    },
    Route {
        path: "/v1/agent/host",
        operations: &[
            get("The host: memory, processors, disk, system", |call| Box::pin(host(call))).gives(Body::Object(HOST))
        ],
    },
    Route {
        path: "/v1/agent/metrics",
        operations: &[get("This node's numbers under Consul's names", |call| now(metrics(call)))
            .with(&[PROMETHEUS])
            .gives(Body::Several(&[Body::Object(NUMBERS), Body::Text]))],
    },
    Route {
        path: "/v1/agent/metrics/stream",
        operations: &[get("The same every second, a line each, until the reader goes", |call| {
            now(metrics_stream(call))
        })
        .gives(Body::Text)],
    },
    Route {
        path: "/v1/agent/monitor",
        operations: &[get("The log of this node as it is written, until the reader goes", |call| now(monitor(call)))
            .with(&[LOG])
            .gives(Body::Text)],
    },
    Route {
        path: "/v1/agent/reload",
        operations: &[put("Reads the configuration files again", |call| Box::pin(reload(call)))
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
];

fn own(call: &Call<'_>, level: Level) -> Result<(), Failure> {
    call.permit(Resource::Agent, call.api.identity.node_name.as_str(), level)
}

fn version(call: &Call<'_>) -> Result<Response, Failure> {
    own(call, Level::Read)?;
    let body = json!({"SHA": "", "BuildDate": "", "HumanVersion": VERSION, "FIPS": ""});
    Ok(reply::json(&body, call.pretty()))
}

async fn host(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Operator, "", Level::Read)?;
    // Reads files of the system, which may be slow to answer.
    let found = tokio::task::spawn_blocking(host::read).await;
    let found = found.map_err(|error| Failure::Refused(format!("reading the host's figures: {error}")))?;
    Ok(reply::json(&found, call.pretty()))
}

fn metrics(call: &Call<'_>) -> Result<Response, Failure> {
    own(call, Level::Read)?;
    let (telemetry, cluster) = (&call.api.telemetry, &call.api.cluster);
    if call.params.get("format") != Some("prometheus") {
        return Ok(reply::json(&telemetry.consul(cluster, SystemTime::now()), call.pretty()));
    }
    let Some(text) = telemetry.consul_prometheus(cluster) else {
        let mut response = reply::empty();
        let reason = "Prometheus is not enabled since its retention time is not positive";
        let name = HeaderName::from_static(callboard_proto::api::meta::REASON);
        response.headers_mut().insert(name, HeaderValue::from_static(reason));
        return Ok(response);
    };
    let mut response = reply::text(StatusCode::OK, text);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(response)
}

fn metrics_stream(call: &Call<'_>) -> Result<Response, Failure> {
    own(call, Level::Read)?;
    let (send, payload) = Payload::pieces();
    let (telemetry, cluster) = (call.api.telemetry.clone(), call.api.cluster.clone());
    let stop = call.api.stop.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(NUMBERS_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = send.closed() => return,
                () = stop.cancelled() => return,
            }
            let mut line = telemetry.consul(&cluster, SystemTime::now()).to_string();
            line.push('\n');
            // A reader who does not keep up gets the next numbers, not all of them.
            if let Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) = send.try_send(Bytes::from(line)) {
                return;
            }
        }
    });
    Ok(streamed(payload, "application/json"))
}

/// Reads the level that a listener asks for.
fn log_level(text: &str) -> Option<LogLevel> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Some(LogLevel::TRACE),
        "debug" => Some(LogLevel::DEBUG),
        "" | "info" => Some(LogLevel::INFO),
        "warn" => Some(LogLevel::WARN),
        "err" | "error" => Some(LogLevel::ERROR),
        _ => None,
    }
}

fn monitor(call: &Call<'_>) -> Result<Response, Failure> {
    own(call, Level::Read)?;
    let text = call.params.get("loglevel").unwrap_or("");
    let level = log_level(text).ok_or_else(|| {
        let text: String = text.chars().take(64).collect();
        Failure::BadRequest(format!("Unknown log level: {text}"))
    })?;
    let as_json = call.params.has("logjson");
    let Some(mut listener) = call.api.monitor.listen(level) else {
        return Err(Failure::Refused(format!("at most {LISTENERS_MAX} readers follow the log at a time")));
    };
    let (send, payload) = Payload::pieces();
    let stop = call.api.stop.clone();
    tokio::spawn(async move {
        loop {
            let heard = tokio::select! {
                heard = listener.next() => heard,
                () = send.closed() => return,
                () = stop.cancelled() => return,
            };
            let mut line = match heard {
                None => return,
                Some(Heard::Line(line)) if as_json => line.json(),
                Some(Heard::Line(line)) => line.text(),
                Some(Heard::Lost(count)) => lost(count, as_json),
            };
            line.push('\n');
            if send.send(Bytes::from(line)).await.is_err() {
                return;
            }
        }
    });
    Ok(streamed(payload, "text/plain; charset=utf-8"))
}

fn lost(count: u64, as_json: bool) -> String {
    let text = format!("{count} lines were lost, because the reader was too slow");
    let line: Value = json!({"@level": "warn", "@message": text, "@module": "monitor"});
    if as_json { line.to_string() } else { format!("[WARN] monitor: {text}") }
}

fn streamed(payload: Payload, kind: &'static str) -> Response {
    let mut response = Response::new(payload);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn reload(call: &Call<'_>) -> Result<Response, Failure> {
    own(call, Level::Write)?;
    match (call.api.reload)().await {
        Ok(()) => Ok(reply::empty()),
        Err(reason) => Err(Failure::Refused(reason)),
    }
}

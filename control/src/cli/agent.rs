//! `callboard agent`: runs a control node until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::{complain, say};
use crate::config::{AgentFlags, Config};
use crate::error::Error;
use crate::listen::Listeners;
use crate::log_file::Writer;
use crate::monitor::Monitor;
use crate::reload::Reloader;
use crate::server::{LogLevel, Process, Server, reachable};

/// How long the line that says where is served waits for somebody to lead.
const SIGN_IN_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(flags: &AgentFlags) -> ExitCode {
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let monitor = Monitor::default();
    let log_level = match log(&config, &monitor) {
        Ok(log_level) => log_level,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let process = Process { flags: flags.clone(), monitor, log_level };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(agent(config, process)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Sets the log up: to standard error, to a file, and to whoever listens. Answers with what changes its level.
fn log(config: &Config, monitor: &Monitor) -> Result<LogLevel, Error> {
    let fixed = EnvFilter::try_from_env("CALLBOARD_LOG").ok();
    let is_fixed = fixed.is_some();
    let filter = fixed.unwrap_or_else(|| filter(config.log.level));
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let writer = match &config.log.file {
        None => Writer::default(),
        Some(file) => Writer::also_to(file).map_err(|source| Error::LogFile { path: file.path.clone(), source })?,
    };
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && config.log.file.is_none();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    let lines = if config.log.json { lines.json().boxed() } else { lines.boxed() };
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(monitor.layer()).init();
    Ok(Arc::new(move |level: &str| {
        if is_fixed {
            return Ok(());
        }
        handle.reload(self::filter(level)).map_err(|error| error.to_string())
    }))
}

fn filter(level: &str) -> EnvFilter {
    // The engine narrates every step at info, and others at debug; their warnings are enough.
    match level {
        "debug" => EnvFilter::new("info,callboard=debug,callboard_control=debug,openraft=error"),
        level => EnvFilter::new(format!("{level},openraft=error")),
    }
}

async fn agent(config: Config, process: Process) -> Result<(), Error> {
    for note in &config.notes {
        info!(setting = note, "taken, and not needed");
    }
    let pid_file = config.pid_file.clone();
    let on_sockets = config.net.http.first().map(ToString::to_string);
    let leaves = [config.cluster.leave_on_terminate, !config.cluster.skip_leave_on_interrupt];
    let stop = CancellationToken::new();
    let listeners = Listeners::bind(&config).await?;
    let server = Server::start(config, listeners, process, stop.clone()).await?;
    if let Some(path) = &pid_file {
        write_pid(path)?;
    }
    tokio::spawn(reload_on_signal(server.reloader.clone(), stop.clone()));
    tokio::spawn(stop_on_signal(stop, server.leaving(), leaves));
    if server.expects_leader() && server.signed_in(SIGN_IN_MAX).await.is_err() {
        tracing::warn!(within = ?SIGN_IN_MAX, "nobody leads yet; reads that need a leader fail until somebody does");
    }
    let dns = server.dns.map(|address| reachable(address).to_string());
    let http = server.http.map(|address| reachable(address).to_string()).or(on_sockets);
    let https = server.https.map(|address| reachable(address).to_string());
    let mut said = serde_json::json!({"http": http, "dns": dns});
    if let Some(https) = https {
        said["https"] = https.into();
    }
    say(&said.to_string());
    let result = server.run().await;
    if let Some(path) = &pid_file
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "removing the process id failed");
    }
    result
}

fn write_pid(path: &std::path::Path) -> Result<(), Error> {
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, std::process::id().to_string())
    };
    write().map_err(|source| Error::PidFile { path: path.to_owned(), source })
}

/// The signal to read the configuration again, as often as it comes.
async fn reload_on_signal(reloader: Arc<Reloader>, stop: CancellationToken) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("the signal to reload cannot be listened to");
        return;
    };
    loop {
        tokio::select! {
            heard = hangup.recv() => if heard.is_none() { return },
            () = stop.cancelled() => return,
        }
        reloader.reload_and_log().await;
    }
}

/// The first signal asks for an end in good order, the second for an end. `leaves` says whether the cluster is left
/// as well when the process is terminated, and when it is interrupted.
async fn stop_on_signal(stop: CancellationToken, leave: CancellationToken, leaves: [bool; 2]) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be listened to");
        return;
    };
    for turn in 0..2 {
        let leaves = tokio::select! {
            _ = terminate.recv() => leaves[0],
            _ = interrupt.recv() => leaves[1],
        };
        if turn == 0 {
            info!(leaves, "stopping");
            if leaves { leave.cancel() } else { stop.cancel() }
        }
    }
    std::process::exit(1);
}

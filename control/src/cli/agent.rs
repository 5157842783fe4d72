//! `callboard agent`: runs a control node until it is told to stop.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

use super::{complain, say};
use crate::config::{AgentFlags, Config};
use crate::error::Error;
use crate::listen::Listeners;
use crate::server::{Server, reachable};

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
    log_to_stderr(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(agent(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(config: &Config) {
    let filter = EnvFilter::try_from_env("CALLBOARD_LOG").unwrap_or_else(|_| {
        // The engine narrates every step at info; its warnings are enough.
        EnvFilter::new(format!("{},openraft=error", config.log.level))
    });
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    if config.log.json { log.json().init() } else { log.init() }
}

async fn agent(config: Config) -> Result<(), Error> {
    for note in &config.notes {
        info!(setting = note, "taken, and not needed");
    }
    let pid_file = config.pid_file.clone();
    let on_sockets = config.net.http.first().map(ToString::to_string);
    let leaves = [config.cluster.leave_on_terminate, !config.cluster.skip_leave_on_interrupt];
    let stop = CancellationToken::new();
    let listeners = Listeners::bind(&config).await?;
    let server = Server::start(config, listeners, stop.clone()).await?;
    if let Some(path) = &pid_file {
        write_pid(path)?;
    }
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

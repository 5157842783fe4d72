//! `callboard-sidecar`: reads how it was started, runs the server, ends when it is told to.
//!
//! Prints one line of JSON with the addresses it listens on to standard output; logs go to standard
//! error. Exits with 0 after a full drain, 1 on failure, 2 when it was started wrongly.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use callboard_sidecar::{Config, Error, Flags, Server};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

// Beside the system's allocator in the same run of `benches/proxy.py`: 15.3 against 16.0 µs of CPU per
// request, for 14 against 8 MB of memory at rest. Leave the feature out where memory is dearer.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = Flags::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CALLBOARD_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let known = error.downcast_ref::<Error>();
            let mut text = format!("error: {error}\n");
            for cause in error.chain().skip(1) {
                text.push_str(&format!("cause: {cause}\n"));
            }
            if let Some(hint) = known.and_then(Error::hint) {
                text.push_str(&format!("hint: {hint}\n"));
            }
            // There is nobody left to tell when standard error is gone.
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(known.map_or(1, Error::exit_code))
        }
    }
}

fn start(flags: Flags) -> anyhow::Result<()> {
    let config = Config::load(flags)?;
    // Watches, the registration and the admin port; requests have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let server = Server::bind(config).await?;
        let mut line = serde_json::to_vec(server.addresses()).context("writing the addresses")?;
        line.push(b'\n');
        let mut stdout = std::io::stdout();
        stdout.write_all(&line).and_then(|()| stdout.flush()).context("writing the addresses")?;

        let (first, told) = tokio::sync::oneshot::channel::<()>();
        let signals = async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::info!("told to end, draining; a second signal ends at once");
            // The server may have ended by itself.
            let _ = first.send(());
            either(&mut terminate, &mut interrupt).await;
        };
        let shutdown = async move {
            let _ = told.await;
        };
        tokio::select! {
            ended = server.run(shutdown) => Ok(ended?),
            () = signals => anyhow::bail!("ended by a second signal; requests in flight were cut"),
        }
    })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

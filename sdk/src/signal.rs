//! When the process is asked to end: SIGTERM from whoever runs it, or Ctrl-C from a person.
//!
//! Decides nothing about what happens then: see [`crate::Registered::run_until_drained`]. Called by applications and by
//! adapters of servers.

use tracing::{error, info};

/// Completes when the process is asked to end. The handlers are in place when this returns, not only when the future is
/// first polled, so that no signal is missed; from then on such a signal no longer ends the process by itself. Must be
/// called within a tokio runtime with I/O. If a handler cannot be had, that is logged and the other signal counts alone.
///
/// ```no_run
/// # async fn example() -> Result<(), callboard::Error> {
/// use callboard::{Client, Drain, Service};
///
/// let shutdown = callboard::signal::shutdown();
/// let client = Client::from_env()?;
/// let me = client.register(Service::new("web").port(8080)).await?;
/// let drained = me.run_until_drained(shutdown, Drain::default()).await;
/// # let _ = drained;
/// # Ok(())
/// # }
/// ```
pub fn shutdown() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let mut terminate = signal(tokio::signal::unix::SignalKind::terminate(), "SIGTERM");
    #[cfg(unix)]
    let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt(), "SIGINT");
    #[cfg(unix)]
    return async move {
        let name = tokio::select! {
            () = wait(&mut terminate) => "SIGTERM",
            () = wait(&mut interrupt) => "SIGINT",
        };
        info!(signal = name, "asked to end");
    };
    #[cfg(not(unix))]
    async move {
        if let Err(error) = tokio::signal::ctrl_c().await {
            error!(error = %error, "Ctrl-C cannot be listened for");
            std::future::pending::<()>().await;
        }
        info!(signal = "Ctrl-C", "asked to end");
    }
}

#[cfg(unix)]
fn signal(kind: tokio::signal::unix::SignalKind, name: &'static str) -> Option<tokio::signal::unix::Signal> {
    match tokio::signal::unix::signal(kind) {
        Ok(signal) => Some(signal),
        Err(error) => {
            error!(signal = name, error = %error, "the signal cannot be listened for");
            None
        }
    }
}

#[cfg(unix)]
async fn wait(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

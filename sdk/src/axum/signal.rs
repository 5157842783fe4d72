//! The signals by which a process is asked to end.

use std::future::Future;
use std::io;

/// Waits for SIGTERM (orchestrators) or SIGINT (Ctrl-C), and names it. Both are caught from this call on, not
/// from the first poll, so that one that comes during the start is not lost. Must be called within a runtime.
///
/// # Errors
/// When the process cannot catch signals.
#[cfg(unix)]
pub fn shutdown_signal() -> io::Result<impl Future<Output = &'static str> + Send> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Waits for Ctrl-C, and names it.
///
/// # Errors
/// When the process cannot catch signals.
#[cfg(windows)]
pub fn shutdown_signal() -> io::Result<impl Future<Output = &'static str> + Send> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
        "Ctrl-C"
    })
}

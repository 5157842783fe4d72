//! The signals by which a process is asked to end.

use std::future::Future;

/// Completes at SIGTERM (orchestrators) or SIGINT (Ctrl-C). Both are caught from this call on, not from the first
/// poll, so that one that comes during the start is not lost. Must be called within a runtime with I/O. One that cannot
/// be caught is logged, and the other counts alone.
#[cfg(unix)]
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    fn caught(kind: SignalKind) -> Option<Signal> {
        signal(kind)
            .inspect_err(|error| tracing::error!(signal = kind.as_raw_value(), %error, "signal cannot be caught"))
            .ok()
    }
    async fn came(signal: &mut Option<Signal>) {
        match signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate()), caught(SignalKind::interrupt()));
    async move {
        tokio::select! {
            () = came(&mut terminate) => {}
            () = came(&mut interrupt) => {}
        }
    }
}

/// Completes at Ctrl-C. One that cannot be caught is logged, and then never completes.
#[cfg(not(unix))]
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "signal cannot be caught");
            std::future::pending::<()>().await;
        }
    }
}

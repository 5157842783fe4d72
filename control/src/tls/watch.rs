//! Looks whether certificates changed, from time to time and when told to.
//!
//! Files are compared by what they hold, so it does not matter how they were exchanged (renamed over, written in place,
//! a link turned). A pair that does not fit together, as it stands for a moment when two files are written one after the
//! other, is said once and looked at again; what was in use stays.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Reloaded, Tls};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// Looks at the files of each until told to stop. Reading is a task for a thread that may block.
pub async fn watch(all: Vec<Arc<Tls>>, stop: CancellationToken) {
    let mut said: Vec<Option<String>> = vec![None; all.len()];
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        for (tls, said) in all.iter().zip(&mut said) {
            let looked = tls.clone();
            let Ok(result) = tokio::task::spawn_blocking(move || looked.reload()).await else { continue };
            note(tls, result.map_err(|error| describe(&error)), said);
        }
    }
}

/// Reads the certificates of each again, now, and says what stays as it was and why.
///
/// # Errors
/// Names every file that is broken; the certificates in use before are still in use.
pub fn reload_all(all: &[Arc<Tls>]) -> Result<(), String> {
    let mut problems = Vec::new();
    for tls in all {
        let mut said = None;
        note(tls, tls.reload().map_err(|error| describe(&error)), &mut said);
        problems.extend(said);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn note(tls: &Tls, result: Result<Reloaded, String>, said: &mut Option<String>) {
    let purpose = tls.purpose().as_str();
    match result {
        Ok(Reloaded::Unchanged) => {
            debug!(purpose, "certificates are as they were");
            *said = None;
        }
        Ok(Reloaded::Exchanged) => {
            info!(purpose, "certificates were exchanged");
            *said = None;
        }
        Err(problem) => {
            if said.as_ref() != Some(&problem) {
                warn!(purpose, error = problem, "new certificates are broken; the ones in use stay in use");
            }
            *said = Some(problem);
        }
    }
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

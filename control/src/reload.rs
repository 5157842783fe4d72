//! Reads the configuration again while the node runs.
//!
//! A file that is broken changes nothing. What can change is handed to those who asked for it; what cannot is named,
//! for it needs a restart. `server` says who is told, a signal or the HTTP interface when.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{AgentFlags, Config, ConfigError};

/// How often files are looked at when they are to be read again by themselves.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Takes new settings over, or says why it cannot and went on with the old ones.
pub type Hook = Box<dyn Fn(Arc<Config>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Why settings were not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// They cannot be used. Nothing was changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Somebody could not take them over, and goes on with the old ones; everybody else took them.
    #[error("{0}")]
    Refused(String),
    /// Reading them failed in itself. Nothing was changed.
    #[error("reading the configuration: {0}")]
    Interrupted(tokio::task::JoinError),
}

/// Reads the configuration again, one at a time.
pub struct Reloader {
    flags: AgentFlags,
    /// What the node was started with.
    started: Arc<Config>,
    hooks: Vec<(&'static str, Hook)>,
    turn: tokio::sync::Mutex<()>,
}

impl Reloader {
    /// A reloader of what a node was started with.
    #[must_use]
    pub fn new(flags: AgentFlags, started: Arc<Config>) -> Reloader {
        Reloader { flags, started, hooks: Vec::new(), turn: tokio::sync::Mutex::new(()) }
    }

    /// Hands new settings to somebody from now on. `name` is what errors call it.
    pub fn tell(
        &mut self,
        name: &'static str,
        hook: impl Fn(Arc<Config>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync + 'static,
    ) {
        self.hooks.push((name, Box::new(hook)));
    }

    /// Reads everything again and hands it on. Answers with the keys whose new values need a restart.
    ///
    /// # Errors
    /// When the settings cannot be used, or somebody could not take them over.
    pub async fn reload(&self) -> Result<Vec<&'static str>, ReloadError> {
        let _turn = self.turn.lock().await;
        let flags = self.flags.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&flags)).await;
        let config = Arc::new(read.map_err(ReloadError::Interrupted)??);
        let mut refused = Vec::new();
        for (name, hook) in &self.hooks {
            if let Err(reason) = hook(config.clone()).await {
                refused.push(format!("{name}: {reason}"));
            }
        }
        let restart = self.started.needs_restart(&config);
        if !restart.is_empty() {
            warn!(keys = restart.join(", "), "these settings changed and need a restart");
        }
        if !refused.is_empty() {
            return Err(ReloadError::Refused(refused.join("; ")));
        }
        info!("configuration read again");
        Ok(restart)
    }

    /// The same, for a signal, whose sender reads the log.
    pub async fn reload_and_log(&self) {
        if let Err(error) = self.reload().await {
            warn!(error = &error as &dyn std::error::Error, "the configuration was not taken over");
        }
    }

    /// Reads the configuration again each time that one of its files changes, until told to stop.
    pub async fn follow_files(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.fingerprint();
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let found = self.fingerprint();
            if found != seen {
                seen = found;
                self.reload_and_log().await;
            }
        }
    }

    /// When each file was last written.
    fn fingerprint(&self) -> Vec<(PathBuf, Option<SystemTime>)> {
        let mut files = Vec::new();
        for path in self.flags.config_file.iter().chain(&self.flags.config_dir) {
            files.push(path.clone());
            if let Ok(entries) = std::fs::read_dir(path) {
                files.extend(entries.flatten().map(|entry| entry.path()));
            }
        }
        files.sort();
        let written = |path: &PathBuf| std::fs::metadata(path).and_then(|found| found.modified()).ok();
        files
            .into_iter()
            .map(|path| {
                let at = written(&path);
                (path, at)
            })
            .collect()
    }
}

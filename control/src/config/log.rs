//! The log of the program: how much is said, where, and in which notation.

use std::path::PathBuf;
use std::time::Duration;

use super::file::FileConfig;
use super::{ConfigError, invalid};

/// The log of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// Whether it is JSON.
    pub json: bool,
    /// A file that it is written to besides.
    pub file: Option<LogFile>,
}

/// A file that the log is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where. Files that are put aside have the time in their name.
    pub path: PathBuf,
    /// How many bytes it may have before a new one is begun; none: as many as come.
    pub bytes_max: Option<u64>,
    /// How old it may be before a new one is begun.
    pub age_max: Duration,
    /// How many that were put aside are kept; none keeps all.
    pub kept: Option<usize>,
}

impl LogSettings {
    pub(super) fn resolve(file: &FileConfig, dev: bool) -> Result<LogSettings, ConfigError> {
        let default = if dev { "debug" } else { "info" };
        let level = file.log_level.as_deref().unwrap_or(default);
        let log_file = match &file.log_file {
            Some(path) if !path.as_os_str().is_empty() => {
                // As with Consul, a folder means a file of the program's name in it.
                let folder = path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/');
                Some(LogFile {
                    path: if folder { path.join("callboard.log") } else { path.clone() },
                    bytes_max: file.log_rotate_bytes.filter(|bytes| *bytes > 0),
                    age_max: super::acl::positive(
                        "log_rotate_duration",
                        file.log_rotate_duration,
                        Duration::from_secs(24 * 3600),
                    )?,
                    kept: match file.log_rotate_max_files.unwrap_or(0) {
                        0 => None,
                        // As with Consul, -1 keeps none.
                        count => Some(usize::try_from(count).unwrap_or(0)),
                    },
                })
            }
            _ => None,
        };
        Ok(LogSettings {
            level: parse_level(level)
                .ok_or_else(|| invalid("log_level", format!("{level:?} is none of trace, debug, info, warn, err")))?,
            json: file.log_json.unwrap_or(false),
            file: log_file,
        })
    }
}

/// Reads a level as Consul's users write it.
#[must_use]
pub fn parse_level(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Some("trace"),
        "debug" => Some("debug"),
        "info" => Some("info"),
        "warn" | "warning" => Some("warn"),
        "err" | "error" => Some("error"),
        _ => None,
    }
}

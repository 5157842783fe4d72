//! A network namespace that a test makes: with a loopback of its own and nothing else, unless the test lays a cable.
//!
//! Made with `ip` of iproute2, which needs the right to do so; removed when the value goes.

use std::path::Path;
use std::process::Command;

/// The namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one whose name ends with this process's id.
    ///
    /// # Errors
    /// What `ip` says when it cannot.
    pub fn make(purpose: &str) -> Result<Self, String> {
        let namespace = Self { name: format!("callboard-{purpose}-{}", std::process::id()) };
        ip(&["netns", "add", &namespace.name])?;
        // From here on the drop cleans up what there is.
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, for `ip`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs a program inside; its process id is the program's.
    #[must_use]
    pub fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What was never made cannot be removed, and need not be.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Runs `ip`.
///
/// # Errors
/// What it says when it cannot do it.
pub fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

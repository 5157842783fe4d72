//! A network with nothing but a loopback of its own: for programs that may name any address, and must reach none.
//!
//! Made with `ip` of iproute2, which needs the right to do so; removed when the value goes.

use std::path::Path;
use std::process::Command;

/// The namespace.
#[derive(Debug)]
pub struct Lonely {
    name: String,
}

impl Lonely {
    /// Makes it.
    ///
    /// # Errors
    /// What `ip` says when it cannot.
    pub fn make(name: &str) -> Result<Self, String> {
        let lonely = Self { name: format!("callboard-{name}-{}", std::process::id()) };
        ip(&["netns", "add", &lonely.name])?;
        ip(&["-n", &lonely.name, "link", "set", "lo", "up"])?;
        Ok(lonely)
    }

    /// A command that runs a program inside; its process id is the program's.
    #[must_use]
    pub fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Lonely {
    fn drop(&mut self) {
        // What was never made cannot be removed, and need not be.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

//! A network of our own: one namespace in which the control node lives, and a cable to it that can be pulled.
//!
//! Made with `ip` of iproute2, which needs the right to do so; removed when the value goes. Nothing outside of this
//! machine can be reached by it.

use std::process::Command;

/// The namespace and its cable.
pub(crate) struct Network {
    name: String,
    cable: String,
    far_end: String,
    /// The address of the end at which the control node is.
    pub(crate) far: String,
}

impl Network {
    /// Makes namespace, cable and addresses.
    pub(crate) fn make() -> Result<Self, String> {
        let own = std::process::id();
        // Four addresses of its own, so that two rounds at once do not meet.
        let (part, first) = (own / 64 % 256, own % 64 * 4);
        let address = |nth: u32| format!("10.213.{part}.{}", first + nth);
        let (near, far_address) = (address(1), address(2));
        let network = Self {
            name: format!("callboard-{own}"),
            cable: format!("cb{own}"),
            far_end: format!("cb{own}f"),
            far: far_address.clone(),
        };
        let (name, cable, far) = (network.name.as_str(), network.cable.as_str(), network.far_end.as_str());
        ip(&["netns", "add", name])?;
        // From here on the drop cleans up what there is.
        ip(&["link", "add", cable, "type", "veth", "peer", "name", far, "netns", name])?;
        ip(&["addr", "add", &format!("{near}/30"), "dev", cable])?;
        ip(&["link", "set", cable, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{far_address}/30"), "dev", far])?;
        ip(&["-n", name, "link", "set", far, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(network)
    }

    /// Returns a command that runs a program inside; its process id is the program's.
    pub(crate) fn inside(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Pulls the cable at the far end: packets vanish, and nobody is told. The near end keeps its address and route, or
    /// what is meant for the far end would look for another way.
    pub(crate) fn pull(&self) -> Result<(), String> {
        ip(&["-n", &self.name, "link", "set", &self.far_end, "down"])
    }

    /// Plugs it in again.
    pub(crate) fn plug(&self) -> Result<(), String> {
        ip(&["-n", &self.name, "link", "set", &self.far_end, "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with either of its ends; what was never made cannot be removed, and need not be.
        let _ = ip(&["link", "del", &self.cable]);
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

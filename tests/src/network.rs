//! A network of our own: one namespace in which a control node lives, and a cable to it that can be pulled.
//!
//! Made with `ip` of iproute2, which needs the right to do so; removed when the value goes. Nothing outside of this
//! machine can be reached by it.

use std::path::Path;
use std::process::Command;

use crate::namespace::{Namespace, ip};

/// The namespace and its cable. One at a time in a process.
#[derive(Debug)]
pub struct Network {
    namespace: Namespace,
    cable: String,
    far_end: String,
    /// The address of the end outside.
    pub near: String,
    /// The address of the end inside, at which a control node is.
    pub far: String,
}

impl Network {
    /// Makes namespace, cable and addresses; the name of the namespace says what for.
    ///
    /// # Errors
    /// What `ip` says when it cannot.
    pub fn make(purpose: &str) -> Result<Self, String> {
        let own = std::process::id();
        // Four addresses of its own, so that two rounds at once do not meet.
        let (part, first) = (own / 64 % 256, own % 64 * 4);
        let address = |nth: u32| format!("10.213.{part}.{}", first + nth);
        let (near, far) = (address(1), address(2));
        let namespace = Namespace::make(purpose)?;
        // From here on the drop cleans up what there is.
        let network = Self { namespace, cable: format!("cb{own}"), far_end: format!("cb{own}f"), near, far };
        let (name, cable, far_end) = (network.namespace.name(), network.cable.as_str(), network.far_end.as_str());
        ip(&["link", "add", cable, "type", "veth", "peer", "name", far_end, "netns", name])?;
        ip(&["addr", "add", &format!("{}/30", network.near), "dev", cable])?;
        ip(&["link", "set", cable, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/30", network.far), "dev", far_end])?;
        ip(&["-n", name, "link", "set", far_end, "up"])?;
        Ok(network)
    }

    /// Returns a command that runs a program inside; its process id is the program's.
    #[must_use]
    pub fn inside(&self, program: &Path) -> Command {
        self.namespace.inside(program)
    }

    /// Pulls the cable at the far end: packets vanish, and nobody is told. The near end keeps its address and route, or
    /// what is meant for the far end would look for another way.
    ///
    /// # Errors
    /// What `ip` says when it cannot.
    pub fn pull(&self) -> Result<(), String> {
        ip(&["-n", self.namespace.name(), "link", "set", &self.far_end, "down"])
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// What `ip` says when it cannot.
    pub fn plug(&self) -> Result<(), String> {
        ip(&["-n", self.namespace.name(), "link", "set", &self.far_end, "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with either of its ends; what was never made cannot be removed, and need not be.
        let _ = ip(&["link", "del", &self.cable]);
    }
}

//! The words of access control: what can be protected, and how far a caller may go.

use std::fmt;

/// A kind of thing that rules protect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Tokens, policies and roles. Has no names.
    Acl,
    /// The node's own interface, by node name.
    Agent,
    /// Events, by name.
    Event,
    /// Who may call a service, by the name of the called one.
    Intention,
    /// Keys, by key.
    Key,
    /// The keys that gossip is encrypted with. Has no names.
    Keyring,
    /// Rules for all of the mesh. Has no names.
    Mesh,
    /// Nodes, by name.
    Node,
    /// The cluster as such. Has no names.
    Operator,
    /// Other clusters. Has no names.
    Peering,
    /// Prepared queries, by name.
    Query,
    /// Services, by name.
    Service,
    /// Sessions, by the name of their node.
    Session,
}

impl Resource {
    /// The name that rules and refusals use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Acl => "acl",
            Resource::Agent => "agent",
            Resource::Event => "event",
            Resource::Intention => "intention",
            Resource::Key => "key",
            Resource::Keyring => "keyring",
            Resource::Mesh => "mesh",
            Resource::Node => "node",
            Resource::Operator => "operator",
            Resource::Peering => "peering",
            Resource::Query => "query",
            Resource::Service => "service",
            Resource::Session => "session",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a caller may go; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Look at one thing.
    Read,
    /// See what things there are. Only keys tell it from reading.
    List,
    /// Change it.
    Write,
}

impl Level {
    /// The name that rules and refusals use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Read => "read",
            Level::List => "list",
            Level::Write => "write",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

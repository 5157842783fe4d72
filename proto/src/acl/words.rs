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
    /// Identities of workloads, by name.
    Identity,
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
    /// Every kind.
    pub const ALL: [Resource; 14] = [
        Resource::Acl,
        Resource::Agent,
        Resource::Event,
        Resource::Identity,
        Resource::Intention,
        Resource::Key,
        Resource::Keyring,
        Resource::Mesh,
        Resource::Node,
        Resource::Operator,
        Resource::Peering,
        Resource::Query,
        Resource::Service,
        Resource::Session,
    ];

    /// Reads the name that rules and refusals use.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| resource.as_str() == word)
    }

    /// Whether things of this kind have names.
    #[must_use]
    pub fn is_named(self) -> bool {
        !matches!(self, Resource::Acl | Resource::Keyring | Resource::Mesh | Resource::Operator | Resource::Peering)
    }

    /// Whether names of this kind that differ in case only are the same name, as they are in the registry.
    #[must_use]
    pub fn folds(self) -> bool {
        matches!(
            self,
            Resource::Agent
                | Resource::Identity
                | Resource::Intention
                | Resource::Node
                | Resource::Query
                | Resource::Service
                | Resource::Session
        )
    }

    /// The name that rules and refusals use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Acl => "acl",
            Resource::Agent => "agent",
            Resource::Event => "event",
            Resource::Identity => "identity",
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

impl Level {
    /// Reads the name that rules and refusals use.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Level> {
        [Level::Read, Level::List, Level::Write].into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

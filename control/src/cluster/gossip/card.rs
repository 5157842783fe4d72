//! What a member says about itself: the identity that gossip spreads.
//!
//! A card is fixed while its process runs; only the incarnation grows, when the process starts again or has to refute
//! that it is gone. Gossip keeps one card per name: the one with the highest incarnation. Decides nothing about who is
//! alive; `roll` does.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberRole {
    /// It votes, or is to vote once it has caught up.
    Server {
        /// Whether it was told to be a cluster of one.
        bootstrap: bool,
        /// With how many others it was told to begin; 0: it was not.
        expect: u32,
    },
    /// It holds a copy of the registry, and does not vote.
    Client,
}

/// A member, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The name of its node.
    pub name: String,
    /// The UUID of its node.
    pub node_id: String,
    /// Where it is.
    pub datacenter: String,
    /// Where gossip reaches it.
    pub gossip: SocketAddr,
    /// Where the other internal messages reach it.
    pub rpc: SocketAddr,
    /// Its wide-area gossip port, as it is shown.
    pub wan_port: u16,
    /// Its identity in the log.
    pub raft_id: u64,
    /// What it does.
    pub role: MemberRole,
    /// When its process started, in milliseconds since 1970, or later when it had to refute that it is gone.
    pub incarnation: u64,
}

impl Card {
    /// Whether it is, or is to be, a voter.
    #[must_use]
    pub fn is_server(&self) -> bool {
        matches!(self.role, MemberRole::Server { .. })
    }

    /// The name as names are compared.
    #[must_use]
    pub fn folded(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

impl foca::Identity for Card {
    type Addr = String;

    fn renew(&self) -> Option<Card> {
        Some(Card { incarnation: self.incarnation + 1, ..self.clone() })
    }

    fn addr(&self) -> String {
        self.folded()
    }

    fn win_addr_conflict(&self, adversary: &Card) -> bool {
        self.incarnation > adversary.incarnation
    }
}

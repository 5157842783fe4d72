//! The settings of one node's part in the replicated log, with the reason for each default.
//!
//! It holds plain values; what they mean is decided where they are used. Built by the control node's
//! server from its configuration.

use std::path::PathBuf;
use std::time::Duration;

use crate::status::Peer;

/// What to do when the data folder holds no log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// Become a cluster of one, which others may join later.
    Alone,
    /// Begin a cluster with these voters, this node among them. Every one of them must be started with the
    /// same list.
    Together(Vec<Peer>),
    /// Wait to be added by the leader of an existing cluster.
    Wait,
}

/// The settings of one node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where log and checkpoints live. `None` keeps everything in memory: it is gone when the process ends.
    pub data_dir: Option<PathBuf>,
    /// This node's identity. `None` takes the one stored in the data folder, or makes one up at random and
    /// stores it. A given identity that differs from the stored one is refused.
    pub node_id: Option<u64>,
    /// The address other nodes reach this one at; handed to the transport, never dialled here.
    pub address: String,
    /// What to do when there is no log yet.
    pub bootstrap: Bootstrap,
    /// Log entries after which a checkpoint is worth taking. 8192 replays in well under 100 ms at a restart
    /// (about 5 µs each). See [`Options::checkpoint_due`] for how a large state stretches it.
    pub checkpoint_every: u64,
    /// How often a leader assures the others that it lives.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower calls an election. Failover takes two to three times
    /// this: 0.8 s with the default on a local network.
    pub election_min: Duration,
    /// The longest such silence; each follower draws between the two so that they seldom clash.
    pub election_max: Duration,
    /// The longest entry accepted, in bytes.
    pub entry_max: usize,
    /// How many proposals may wait at once; further ones are refused as busy.
    pub proposals_max: usize,
    /// How many bytes of proposals may wait at once; further ones are refused as busy.
    pub proposal_bytes_max: usize,
    /// How long a proposal may wait for a leader that is still collecting its first acknowledgements.
    pub settle_max: Duration,
    /// How many of the newest log entries stay in memory, so that followers are fed without reading disk.
    pub tail_entries_max: usize,
    /// How many bytes of the newest log entries stay in memory.
    pub tail_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            node_id: None,
            address: String::new(),
            bootstrap: Bootstrap::Alone,
            checkpoint_every: 8192,
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(500),
            entry_max: 4 << 20,
            proposals_max: 16_384,
            proposal_bytes_max: 64 << 20,
            settle_max: Duration::from_secs(1),
            tail_entries_max: 16_384,
            tail_bytes_max: 32 << 20,
        }
    }
}

/// After how many times `checkpoint_every` a checkpoint is due whatever its size.
const STRETCH_MAX: u64 = 16;

impl Options {
    /// Decides whether a checkpoint is worth taking, given what was applied since the last one and how long
    /// that one is.
    ///
    /// The entry count bounds replay time. The byte rule bounds the disk: a state much larger than the log
    /// written since is not rewritten for it, so checkpoints at most double what is written, until 16 times
    /// the entry count makes replay time matter more.
    #[must_use]
    pub fn checkpoint_due(&self, entries: u64, log_bytes: u64, last_bytes: u64) -> bool {
        let every = self.checkpoint_every.max(1);
        entries >= every && (log_bytes >= last_bytes || entries >= every.saturating_mul(STRETCH_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_by_count_unless_the_state_outweighs_the_log() {
        let options = Options { checkpoint_every: 100, ..Options::default() };
        assert!(!options.checkpoint_due(99, u64::MAX, 0));
        assert!(options.checkpoint_due(100, 50, 0));
        assert!(options.checkpoint_due(100, 50, 50));
        assert!(!options.checkpoint_due(100, 50, 51));
        assert!(!options.checkpoint_due(1599, 50, 51));
        assert!(options.checkpoint_due(1600, 50, 51));
    }
}

//! What a reader can wait on.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_proto::ServiceName;
use callboard_proto::config_entry::EntryKind;
use callboard_proto::text::Text;

use super::acl::AclTopic;

/// Something whose change may change an answer. Service names are folded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Any node row.
    Nodes,
    /// Any instance row.
    Services,
    /// Any check row.
    Checks,
    /// The instances of one service, their checks and their nodes.
    Service(ServiceName),
    /// One key; also wakes readers of [`Topic::KeyPrefix`] above it.
    Key(Text),
    /// The config entries of one kind.
    Config(EntryKind),
    /// The roots of the mesh and the settings of its authority.
    CaRoots,
    /// The serial numbers that it gave out. Nobody waits for them.
    CaSerial,
    /// Any session.
    Sessions,
    /// A table of access control.
    Acl(AclTopic),
    /// Any prepared query.
    Queries,
    /// The settings by which servers are kept in good order.
    Autopilot,
    /// The place of any node.
    Coordinates,
    /// Every key with a prefix. Readers wait on it; writes touch [`Topic::Key`].
    KeyPrefix(Text),
}

/// The topics that a batch touched, each once, and the locks that were lost with their sessions.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    topics: BTreeSet<Topic>,
    lost: Vec<(Text, Duration)>,
    replaced: bool,
}

impl Touched {
    /// Notes a topic.
    pub fn add(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    /// Notes a key whose holder's session ended, and for how long nobody may take it.
    pub fn lose(&mut self, key: Text, delay: Duration) {
        self.lost.push((key, delay));
    }

    /// Notes all that another one notes.
    pub fn absorb(&mut self, other: Touched) {
        self.topics.extend(other.topics);
        self.lost.extend(other.lost);
        self.replaced |= other.replaced;
    }

    /// The keys whose holders' sessions ended, and for how long nobody may take each.
    #[must_use]
    pub fn lost(&self) -> &[(Text, Duration)] {
        &self.lost
    }

    /// The topics, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// Whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && !self.replaced
    }

    /// Notes that everything was replaced.
    pub fn replace(&mut self) {
        self.replaced = true;
    }

    /// Whether everything was replaced, which is news to everyone.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced
    }
}

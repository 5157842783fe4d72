//! What a reader can wait on.

use callboard_proto::ServiceName;
use callboard_proto::text::Text;

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
    /// Every key with a prefix. Readers wait on it; writes touch [`Topic::Key`].
    KeyPrefix(Text),
}

/// The topics that a batch touched, each once.
#[derive(Debug, Clone, Default)]
pub struct Touched(std::collections::BTreeSet<Topic>);

impl Touched {
    /// Notes a topic.
    pub fn add(&mut self, topic: Topic) {
        self.0.insert(topic);
    }

    /// The topics, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.0.iter()
    }

    /// Whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

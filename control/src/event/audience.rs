//! For whom an event is. PURE.

use callboard_proto::api::event::UserEvent;
use callboard_proto::config_entry::PATTERN_BYTES_MAX;
use callboard_proto::{Instance, NodeName};
use regex::{Regex, RegexBuilder};

use crate::identity::CONSUL_SERVICE;

/// Why filters cannot be used; the texts are what clients know.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFilter {
    /// Tags are those of a service.
    #[error("Cannot provide tag filter without service filter")]
    TagAlone,
    /// It is no regular expression, or too large a one.
    #[error("Invalid {what} filter: {reason}")]
    Pattern {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        reason: regex::Error,
    },
}

/// The filters of an event, ready to be applied; each node that hears the event applies them to itself.
#[derive(Debug)]
pub struct Audience {
    node: Regex,
    service: Regex,
    tag: Regex,
}

impl Audience {
    /// Reads the filters of an event.
    ///
    /// # Errors
    /// See [`InvalidFilter`].
    pub fn of(event: &UserEvent) -> Result<Audience, InvalidFilter> {
        if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
            return Err(InvalidFilter::TagAlone);
        }
        Ok(Audience {
            node: pattern("node", &event.node_filter)?,
            service: pattern("service", &event.service_filter)?,
            tag: pattern("tag", &event.tag_filter)?,
        })
    }

    /// Whether a node keeps the event: by its name, and by a service of its own with a tag that fits.
    pub(super) fn has<'a>(&self, node: &NodeName, mut instances: impl Iterator<Item = &'a Instance>) -> bool {
        if !self.node.is_match(node.as_str()) {
            return false;
        }
        let fits = |instance: &Instance| {
            instance.service.as_str() != CONSUL_SERVICE
                && self.service.is_match(instance.service.as_str())
                && (self.tag.as_str().is_empty() || instance.tags.iter().any(|tag| self.tag.is_match(tag)))
        };
        self.service.as_str().is_empty() || instances.any(fits)
    }
}

fn pattern(what: &'static str, text: &str) -> Result<Regex, InvalidFilter> {
    let compiled = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    compiled.map_err(|reason| InvalidFilter::Pattern { what, reason })
}

#[cfg(test)]
mod tests {
    use callboard_proto::text::Text;
    use callboard_proto::{InstanceId, ServiceName};

    use super::*;

    fn instance(service: &str, tags: &[&str]) -> Instance {
        let name = ServiceName::parse(service).unwrap();
        let tags = tags.iter().map(|tag| Text::from(*tag)).collect();
        Instance { id: InstanceId::parse(service).unwrap(), service: name, tags, ..Instance::default() }
    }

    #[test]
    fn a_node_is_told_by_its_name_and_by_its_services() {
        let node = NodeName::parse("db-1").unwrap();
        let here = [instance("web", &["v1", "eu"]), instance(CONSUL_SERVICE, &["v2"])];
        let check = |filters: [&str; 3], expect: bool| {
            let [node_filter, service_filter, tag_filter] = filters.map(str::to_owned);
            let event = UserEvent { node_filter, service_filter, tag_filter, ..UserEvent::default() };
            assert_eq!(Audience::of(&event).unwrap().has(&node, here.iter()), expect, "{filters:?}");
        };
        check(["", "", ""], true);
        check(["^db-", "", ""], true);
        check(["^web-", "", ""], false);
        check(["", "we.", ""], true);
        check(["", "api", ""], false);
        check(["", "web", "v1"], true);
        check(["", "web", "v2"], false);
        // The service of the control nodes themselves is nobody's own.
        check(["", "", ""], true);
        check(["", CONSUL_SERVICE, ""], false);
        check(["", ".*", "v2"], false);
    }

    #[test]
    fn filters_that_cannot_be_used_are_named() {
        let event = UserEvent { tag_filter: "v1".to_owned(), ..UserEvent::default() };
        assert!(matches!(Audience::of(&event), Err(InvalidFilter::TagAlone)));
        for (what, event) in [
            ("node", UserEvent { node_filter: "(".to_owned(), ..UserEvent::default() }),
            ("service", UserEvent { service_filter: "(".to_owned(), ..UserEvent::default() }),
        ] {
            let error = Audience::of(&event).unwrap_err().to_string();
            assert!(error.starts_with(&format!("Invalid {what} filter: ")), "{error}");
        }
    }
}

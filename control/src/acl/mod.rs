//! Who may do what: the decision, for a caller whose token is known.
//!
//! It is asked by the HTTP and DNS front doors, and knows neither. Callers hold an [`Access`] for the state that they
//! answer from, because a token can lose rights while its read waits.

use callboard_proto::acl::{Level, Resource};

/// What one caller may do, in one state of the registry.
#[derive(Debug, Clone, Default)]
pub struct Access {}

impl Access {
    /// Everything: access control is off.
    #[must_use]
    pub fn unrestricted() -> Access {
        Access::default()
    }

    /// Whether something may be done to the resource of a name. Resources without names are asked for with an empty
    /// one.
    #[must_use]
    pub fn allows(&self, _resource: Resource, _name: &str, _level: Level) -> bool {
        true
    }
}

//! Who may do what: from the token of a caller to an answer.
//!
//! [`Access`] is what one caller may do in one state of the registry; [`Acl`] finds it. It is asked by the HTTP and DNS
//! front doors, and knows neither. Callers hold an [`Access`] for the state that they answer from, because a token can
//! lose rights while its read waits. With access control off, nothing is looked up and nothing is allocated.
//!
//! `secret` is what a token is told by, `seed` makes the rows that are always there, `login` makes
//! tokens from proofs, `keeper` ends tokens whose time is over, `agent_tokens` are the tokens that this node itself uses.

#![doc = include_str!("../../docs/access-control.md")]

mod agent_tokens;
mod keeper;
pub(crate) mod login;
mod resolver;
mod secret;
pub(crate) mod seed;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard_proto::acl::rows::{ANONYMOUS, TokenRow};
use callboard_proto::acl::{Authority, Level, Resource};
use callboard_proto::text::Text;

pub use agent_tokens::{AgentTokens, TokenUse, UnwritableTokens};
pub use keeper::{keep, now};
pub use resolver::{Acl, AclSettings, UnknownToken};
pub use secret::{Secret, digest, sha256};

/// What one caller may do, in one state of the registry.
#[derive(Debug, Default)]
pub struct Access {
    /// None allows everything: access control is off.
    rights: Option<Arc<Rights>>,
    /// Whether something was asked for that is not allowed.
    left_out: AtomicBool,
}

/// The rights of one token.
#[derive(Debug)]
struct Rights {
    accessor: Text,
    authority: Authority,
    /// The same for the same rights, and for no others.
    fingerprint: Box<str>,
    /// Listing keys needs a right of its own.
    key_list_policy: bool,
    token: Option<Arc<TokenRow>>,
}

/// A refusal: who, and what is missing. The text is what clients match on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    accessor: Text,
    resource: Resource,
    name: Text,
    level: Level,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anonymous = &*self.accessor == ANONYMOUS;
        match anonymous {
            true => f.write_str("Permission denied: anonymous token")?,
            false => write!(f, "Permission denied: token with AccessorID '{}'", self.accessor)?,
        }
        write!(f, " lacks permission '{}:{}'", self.resource, self.level)?;
        if !self.name.is_empty() {
            write!(f, " on {:?}", self.name)?;
        }
        if anonymous {
            let why = "The anonymous token is used implicitly when a request does not specify a token.";
            write!(f, ". {why}")?;
        }
        Ok(())
    }
}

impl Access {
    /// Everything: access control is off.
    #[must_use]
    pub fn unrestricted() -> Access {
        Access::default()
    }

    fn of(rights: Arc<Rights>) -> Access {
        Access { rights: Some(rights), left_out: AtomicBool::new(false) }
    }

    /// Whether a row of a name may be shown. That it may not is noted: see [`Self::left_out`]. Resources without names
    /// are asked for with an empty one.
    #[must_use]
    pub fn allows(&self, resource: Resource, name: &str, level: Level) -> bool {
        let allowed = self.may(resource, name, level);
        if !allowed {
            self.left_out.store(true, Ordering::Relaxed);
        }
        allowed
    }

    /// Whether something may be done to the resource of a name.
    #[must_use]
    pub fn may(&self, resource: Resource, name: &str, level: Level) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.authority.allows(resource, name, level))
    }

    /// Whether it may be done to everything with a prefix.
    #[must_use]
    pub fn may_all_under(&self, resource: Resource, prefix: &str, level: Level) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.authority.allows_all_under(resource, prefix, level))
    }

    /// Refuses what may not be done.
    ///
    /// # Errors
    /// The refusal names the caller and what is missing.
    pub fn permit(&self, resource: Resource, name: &str, level: Level) -> Result<(), Denial> {
        match self.may(resource, name, level) {
            true => Ok(()),
            false => Err(self.denial(resource, name, level)),
        }
    }

    /// Refuses what may not be done to everything with a prefix.
    ///
    /// # Errors
    /// The refusal names the caller and what is missing.
    pub fn permit_all_under(&self, resource: Resource, prefix: &str, level: Level) -> Result<(), Denial> {
        match self.may_all_under(resource, prefix, level) {
            true => Ok(()),
            false => Err(self.denial(resource, prefix, level)),
        }
    }

    fn denial(&self, resource: Resource, name: &str, level: Level) -> Denial {
        let accessor = self.rights.as_ref().map_or_else(|| ANONYMOUS.into(), |rights| rights.accessor.clone());
        Denial { accessor, resource, name: name.into(), level }
    }

    /// Whether [`Self::allows`] ever said no: the answer lacks something.
    #[must_use]
    pub fn left_out(&self) -> bool {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Whether listing keys needs `key:list` instead of leaving keys out.
    #[must_use]
    pub fn needs_key_list(&self) -> bool {
        self.rights.as_ref().is_some_and(|rights| rights.key_list_policy)
    }

    /// A text that is the same for the same rights, and for no others; none if there is no access control.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.rights.as_ref().map(|rights| &*rights.fingerprint)
    }

    /// The token that stands behind it, if a stored one does.
    #[must_use]
    pub fn token(&self) -> Option<&Arc<TokenRow>> {
        self.rights.as_ref()?.token.as_ref()
    }

    /// Whether two are the same find.
    #[must_use]
    pub fn is_same(&self, other: &Access) -> bool {
        match (&self.rights, &other.rights) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

impl Rights {
    fn is_over(&self, now: Duration) -> bool {
        self.token.as_ref().and_then(|token| token.expires).is_some_and(|expires| expires <= now)
    }
}

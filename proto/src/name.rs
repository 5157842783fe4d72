//! The names by which things are found: services, nodes, instances, checks.
//!
//! A name is parsed once at the door and then carried as a cheap, shared value. Service and node
//! names compare without regard to ASCII case (DNS does), so each offers its folded form, which is
//! what tables use as a key.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name or id accepted, in bytes.
pub const NAME_MAX: usize = 512;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There was no text at all.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// Longer than [`NAME_MAX`] bytes.
    #[error("{what} is {length} bytes long; at most {NAME_MAX} are accepted")]
    TooLong {
        /// Which name.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A control character, which no client can type back.
    #[error("{0} must not contain control characters")]
    Unprintable(&'static str),
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text as a name.
            ///
            /// # Errors
            /// When it is empty, longer than [`NAME_MAX`] bytes or holds control characters.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if text.is_empty() {
                    return Err(NameError::Empty($what));
                }
                if text.len() > NAME_MAX {
                    return Err(NameError::TooLong { what: $what, length: text.len() });
                }
                if text.chars().any(char::is_control) {
                    return Err(NameError::Unprintable($what));
                }
                Ok(Self(text.into()))
            }

            /// The name that stands for "none", as in the service of a node-level check.
            #[must_use]
            pub fn none() -> Self {
                Self(Arc::default())
            }

            /// Whether this is [`Self::none`].
            #[must_use]
            pub fn is_none(&self) -> bool {
                self.0.is_empty()
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The shared text itself, without a copy.
            #[must_use]
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }

            /// The form in which names that differ only in ASCII case are equal.
            #[must_use]
            pub fn folded(&self) -> Self {
                if self.0.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    Self(self.0.to_ascii_lowercase().into())
                } else {
                    self.clone()
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::none()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name callers ask for.
    ServiceName,
    "service name"
);
name!(
    /// The name of a host that carries instances.
    NodeName,
    "node name"
);
name!(
    /// One running copy of a service; unique on its node.
    InstanceId,
    "service ID"
);
name!(
    /// A check; unique on its node.
    CheckId,
    "check ID"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_bounds() {
        assert_eq!(ServiceName::parse(""), Err(NameError::Empty("service name")));
        assert!(ServiceName::parse(&"x".repeat(NAME_MAX)).is_ok());
        assert!(ServiceName::parse(&"x".repeat(NAME_MAX + 1)).is_err());
        assert!(NodeName::parse("a\nb").is_err());
        assert!(InstanceId::parse("app#127.0.0.1#3000 / x").is_ok());
    }

    #[test]
    fn folding_ignores_ascii_case_only() {
        let name = ServiceName::parse("WebÄ").unwrap();
        assert_eq!(name.folded().as_str(), "webÄ");
    }
}

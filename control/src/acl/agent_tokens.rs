//! The tokens that this node itself uses, or stands in with for callers that give none.
//!
//! They come from the settings, can be replaced while it runs, and are kept in a file of the data folder if that is
//! wanted. The file is readable by its owner only. What it holds counts before the settings.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Secret;

/// What a token is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenUse {
    /// For callers that give none.
    Default,
    /// For what the node does on its own account.
    Agent,
    /// Lets operators in when nothing else does: reads and writes this node's own interface.
    AgentRecovery,
    /// For copying from another datacenter.
    Replication,
    /// For services in configuration files.
    ConfigFileRegistration,
    /// For questions over DNS.
    Dns,
}

impl TokenUse {
    /// Every use.
    pub const ALL: [TokenUse; 6] = [
        TokenUse::Default,
        TokenUse::Agent,
        TokenUse::AgentRecovery,
        TokenUse::Replication,
        TokenUse::ConfigFileRegistration,
        TokenUse::Dns,
    ];

    /// Its name in paths and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TokenUse::Default => "default",
            TokenUse::Agent => "agent",
            TokenUse::AgentRecovery => "agent_recovery",
            TokenUse::Replication => "replication",
            TokenUse::ConfigFileRegistration => "config_file_service_registration",
            TokenUse::Dns => "dns",
        }
    }

    /// The use of a name, or of one that it had before.
    #[must_use]
    pub fn from_name(name: &str) -> Option<TokenUse> {
        let name = match name {
            "acl_token" => "default",
            "acl_agent_token" => "agent",
            "acl_agent_master_token" | "agent_master" => "agent_recovery",
            "acl_replication_token" => "replication",
            name => name,
        };
        TokenUse::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// The tokens of this node, by use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentTokens {
    tokens: BTreeMap<TokenUse, Secret>,
}

/// The file of tokens cannot be read or written. The tokens of before are still there.
#[derive(Debug, thiserror::Error)]
#[error("tokens of this node in {path}")]
pub struct UnwritableTokens {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl AgentTokens {
    /// The token for a use.
    #[must_use]
    pub fn get(&self, token_use: TokenUse) -> Option<&Secret> {
        self.tokens.get(&token_use)
    }

    /// Replaces the token for a use; an empty one removes it.
    pub fn set(&mut self, token_use: TokenUse, token: &str) {
        match token.is_empty() {
            true => self.tokens.remove(&token_use),
            false => self.tokens.insert(token_use, Secret::new(token)),
        };
    }

    /// Takes over what a file holds, if there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is not what [`Self::write`] writes.
    pub fn read(&mut self, path: &Path) -> Result<(), UnwritableTokens> {
        let failed = |source| UnwritableTokens { path: path.to_owned(), source };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(failed)?,
        };
        let map: Map<String, Value> = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
        for (name, token) in map {
            let (Some(token_use), Some(token)) = (TokenUse::from_name(&name), token.as_str()) else {
                let text = format!("{name:?} is no kind of token with a text");
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
            };
            self.set(token_use, token);
        }
        Ok(())
    }

    /// Writes the file: whole or not at all, and readable by its owner only.
    ///
    /// # Errors
    /// When it cannot be written; the file of before is still there.
    pub fn write(&self, path: &Path) -> Result<(), UnwritableTokens> {
        let map: Map<String, Value> = self
            .tokens
            .iter()
            .map(|(token_use, token)| (token_use.as_str().to_owned(), Value::from(&**token.reveal())))
            .collect();
        let write = || {
            let fresh = path.with_extension("new");
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&fresh)?;
            file.write_all(Value::Object(map).to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)
        };
        write().map_err(|source| UnwritableTokens { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn tokens_are_kept_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acl-tokens.json");
        let mut tokens = AgentTokens::default();
        tokens.read(&path).unwrap();
        tokens.set(TokenUse::Dns, "one");
        tokens.set(TokenUse::Agent, "two");
        tokens.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut read = AgentTokens::default();
        read.set(TokenUse::Dns, "from the settings");
        read.read(&path).unwrap();
        assert_eq!(read.get(TokenUse::Dns), Some(&Secret::new("one")));
        assert_eq!(read.get(TokenUse::Agent), Some(&Secret::new("two")));
        assert_eq!(read.get(TokenUse::Default), None);
        std::fs::write(&path, "{\"wings\": \"x\"}").unwrap();
        assert!(read.read(&path).is_err());
    }

    #[test]
    fn older_names_mean_the_same() {
        assert_eq!(TokenUse::from_name("agent_master"), Some(TokenUse::AgentRecovery));
        assert_eq!(TokenUse::from_name("acl_token"), Some(TokenUse::Default));
        assert_eq!(TokenUse::from_name("wings"), None);
        for token_use in TokenUse::ALL {
            assert_eq!(TokenUse::from_name(token_use.as_str()), Some(token_use));
        }
    }
}

//! Where settings come from: files, folders and fragments, each read into one tree of known keys.
//!
//! Decides the order (files and folders as given, folders in lexical order, then fragments) and the notation (by the
//! ending, or as told). It does not decide what values mean. `load` calls it.

use std::fmt;
use std::path::{Path, PathBuf};

use callboard_proto::hcl;
use serde_json::Value;

use super::ConfigError;
use super::definitions::Definitions;
use super::file::FileConfig;
use super::keys::{self, Unneeded};
use super::merge::merge;

/// The largest configuration file, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Hcl,
    Toml,
}

impl Format {
    /// Reads the name of a notation.
    pub(super) fn parse(text: &str) -> Result<Format, ConfigError> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Format::Json),
            "hcl" => Ok(Format::Hcl),
            "toml" => Ok(Format::Toml),
            _ => Err(super::invalid("-config-format", format!("{text:?} is none of hcl, json, toml"))),
        }
    }

    fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "json" => Some(Format::Json),
            "hcl" => Some(Format::Hcl),
            "toml" => Some(Format::Toml),
            _ => None,
        }
    }

    fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Format::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
            // HCL that begins with a brace is JSON.
            Format::Hcl => hcl::parse(text).map_err(|error| error.to_string()),
            Format::Toml => toml::from_str(text).map_err(|error| error.to_string()),
        }
    }
}

/// Where a tree came from, for errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A flag or a variable of the environment, by name.
    Given(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => path.display().fmt(f),
            Origin::Given(name) => f.write_str(name),
        }
    }
}

/// All that was read so far, later over earlier.
#[derive(Default)]
pub(super) struct Sources {
    tree: Value,
    pub(super) unneeded: Unneeded,
    pub(super) definitions: Definitions,
}

impl Sources {
    /// Reads files and folders in the order given.
    pub(super) fn paths(&mut self, paths: &[PathBuf], format: Option<Format>) -> Result<(), ConfigError> {
        for path in paths {
            if path.is_dir() {
                self.folder(path, format)?;
            } else {
                // A file that was named is read whatever its ending; HCL includes JSON.
                self.file(path, format.or(Format::of(path)).unwrap_or(Format::Hcl))?;
            }
        }
        Ok(())
    }

    /// Reads the files of a folder whose ending tells their notation, in lexical order.
    pub(super) fn folder(&mut self, folder: &Path, format: Option<Format>) -> Result<(), ConfigError> {
        let failed = |source| ConfigError::Read { path: folder.to_owned(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some(by_ending) = Format::of(&path)
                && path.is_file()
            {
                found.push((path, format.unwrap_or(by_ending)));
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found.iter().try_for_each(|(path, format)| self.file(path, *format))
    }

    fn file(&mut self, path: &Path, format: Format) -> Result<(), ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let origin = Origin::File(path.to_owned());
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > FILE_MAX {
            let reason = format!("{length} bytes long; at most {FILE_MAX} are read");
            return Err(ConfigError::Parse { origin, reason });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        self.text(origin, &text, format)
    }

    /// Reads a text. One without content says nothing.
    pub(super) fn text(&mut self, origin: Origin, text: &str, format: Format) -> Result<(), ConfigError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        match format.read(text) {
            Ok(tree) => self.tree(origin, tree),
            Err(reason) => Err(ConfigError::Parse { origin, reason }),
        }
    }

    /// Takes a tree.
    pub(super) fn tree(&mut self, origin: Origin, tree: Value) -> Result<(), ConfigError> {
        let checked = keys::check::<FileConfig>(tree, &mut self.unneeded);
        let mut tree = match checked {
            Ok(tree) => tree,
            Err(error) => return Err(ConfigError::Parse { origin, reason: error.to_string() }),
        };
        if let Err(reason) = self.definitions.take(&mut tree) {
            return Err(ConfigError::Parse { origin, reason });
        }
        // Read alone, a value out of range is told by the file that it is in.
        if let Err(error) = serde_json::from_value::<FileConfig>(tree.clone()) {
            return Err(ConfigError::Parse { origin, reason: error.to_string() });
        }
        if self.tree.is_null() {
            self.tree = tree;
        } else {
            merge(&mut self.tree, tree);
        }
        Ok(())
    }

    /// Whether any of them says something about a key.
    pub(super) fn says(&self, key: &str) -> bool {
        self.tree.get(key).is_some()
    }

    /// What all of them say together.
    pub(super) fn finish(self) -> Result<(FileConfig, Unneeded, Definitions), ConfigError> {
        let tree = if self.tree.is_null() { Value::Object(serde_json::Map::new()) } else { self.tree };
        let file = serde_json::from_value(tree)
            .map_err(|error| ConfigError::Parse { origin: Origin::Given("the settings"), reason: error.to_string() })?;
        Ok((file, self.unneeded, self.definitions))
    }
}

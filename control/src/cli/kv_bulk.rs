//! `kv export` and `kv import`: a tree of keys as one JSON document, in Consul's form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Ended;
use super::client::{ClientFlags, Target};
use super::failure::{Failure, Kind};
use super::input::data;
use super::kv::{bare, tree, value};
use super::talk::{pretty, say};

/// Prints keys as JSON.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    client: ClientFlags,
    /// Only keys that begin so
    prefix: Option<String>,
}

/// Writes the keys of an export.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Put before each key
    #[arg(long, default_value = "")]
    prefix: String,
    #[command(flatten)]
    client: ClientFlags,
    /// The document; `-` is standard input, `@FILE` or FILE a file
    #[arg(allow_hyphen_values = true)]
    data: String,
}

/// One key of a document.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    value: String,
}

/// Prints every key below a prefix.
pub(super) async fn export(export: Export) -> Ended {
    let api = export.client.api()?;
    let found = tree(&api, bare(export.prefix.as_deref().unwrap_or_default())).await?;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        rows.push(Exported { key: row.key.to_string(), flags: row.flags, value: STANDARD.encode(value(row)?) });
    }
    say(tabbed(&pretty(&rows)?))?;
    Ok(0)
}

/// Consul's program indents an export by tabs.
fn tabbed(text: &str) -> String {
    let line = |line: &str| {
        let rest = line.trim_start_matches(' ');
        format!("{}{rest}", "\t".repeat((line.len() - rest.len()) / 4))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Writes every key, one after the other, and says each.
pub(super) async fn import(import: Import) -> Ended {
    let api = import.client.api()?;
    let text = document(&import.data)?;
    let rows: Vec<Exported> = serde_json::from_slice(&text).map_err(|error| {
        let wanted = r#"Cannot unmarshal data; [{"key": …, "flags": …, "value": base64}, …] is accepted"#;
        Failure::because(Kind::Usage, format!("Error! {wanted}"), &error)
    })?;
    let mut values = Vec::with_capacity(rows.len());
    for row in &rows {
        let wrong =
            |error| Failure::because(Kind::Usage, format!("Error! The value of {} is not base64", row.key), &error);
        values.push(STANDARD.decode(&row.value).map_err(wrong)?);
    }
    let count = rows.len();
    for (done, (row, value)) in rows.iter().zip(values).enumerate() {
        let key = format!("{}{}", import.prefix, row.key);
        let target = Target::of("/v1/kv/", bare(&key)).pair_if("flags", &row.flags.to_string(), row.flags > 0);
        let doing = format!("Error! Failed writing data for key {key}");
        if let Err(mut failure) = api.put(&doing, target, value).await {
            if done > 0 {
                failure.kind = Kind::Partial;
                failure.hint =
                    Some(format!("{done} of {count} keys were written; importing again writes them once more"));
            }
            return Err(failure);
        }
        say(format!("Imported: {}", bare(&key)))?;
    }
    Ok(0)
}

/// Reads the document, wherever it is.
fn document(word: &str) -> Result<Vec<u8>, Failure> {
    let is_text = word.trim_start().starts_with(['[', '{']);
    if is_text || word == "-" || word.starts_with('@') { data(word) } else { data(&format!("@{word}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_looks_as_consuls() {
        let rows = [Exported { key: "a".into(), flags: 7, value: "Yg==".into() }];
        let text = tabbed(&pretty(&rows).unwrap());
        assert_eq!(text, "[\n\t{\n\t\t\"key\": \"a\",\n\t\t\"flags\": 7,\n\t\t\"value\": \"Yg==\"\n\t}\n]");
        assert_eq!(serde_json::from_str::<Vec<Exported>>(&text).unwrap(), rows);
        assert_eq!(document("[1]").unwrap(), b"[1]");
    }
}

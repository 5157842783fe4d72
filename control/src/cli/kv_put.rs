//! `kv put`: one key written, under a condition or for a session.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callboard::client::KvPut;
use callboard_proto::Index;
use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target, decode};
use super::failure::{Failure, Kind};
use super::input::data;
use super::kv::bare;
use super::talk::say;

/// Writes a key.
#[derive(Debug, Args)]
pub(super) struct Put {
    /// Only if it was last changed at -modify-index; 0: only if it does not exist
    #[arg(long)]
    cas: bool,
    /// When it was last changed
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    modify_index: u64,
    /// A number for the client's own use
    #[arg(long, default_value_t = 0)]
    flags: u64,
    /// Lock it for -session
    #[arg(long)]
    acquire: bool,
    /// Unlock it for -session
    #[arg(long)]
    release: bool,
    /// The session that locks or unlocks
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// The value is given in base64
    #[arg(long)]
    base64: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// The key
    key: String,
    /// The value; `-` is standard input, `@FILE` a file
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
}

impl Put {
    /// Checks what excludes what, and says how the key is written.
    fn how(&self) -> Result<KvPut, Failure> {
        let session = self.session.clone().filter(|id| !id.is_empty());
        let wrong = match (self.acquire, self.release, &session) {
            (true, true, _) => Some("Error! Cannot specify both -acquire and -release"),
            (true, _, None) => Some("Error! Missing -session (required with -acquire)"),
            (_, true, None) => Some("Error! Missing -session (required with -release)"),
            _ if self.cas && (self.acquire || self.release) => Some("Error! Cannot specify -cas with a lock"),
            _ if self.modify_index > 0 && !self.cas => Some("Error! Cannot specify -modify-index without -cas"),
            _ if bare(&self.key).is_empty() => Some("Error! Missing KEY argument"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(Failure::usage(wrong));
        }
        Ok(KvPut {
            flags: self.flags,
            cas: self.cas.then_some(Index(self.modify_index)),
            acquire: session.clone().filter(|_| self.acquire),
            release: session.filter(|_| self.release),
        })
    }
}

/// Writes it.
pub(super) async fn run(put: Put) -> Ended {
    let how = put.how()?;
    let api = put.client.api()?;
    let key = bare(&put.key);
    let mut value = data(put.value.as_deref().unwrap_or_default())?;
    if put.base64 {
        let text = String::from_utf8_lossy(&value).trim().to_owned();
        let decoded = STANDARD.decode(&text);
        value = decoded.map_err(|error| Failure::because(Kind::Usage, "Error! Cannot base64 decode data", &error))?;
    }
    let target = Target::of("/v1/kv/", key)
        .pair_if("flags", &how.flags.to_string(), how.flags > 0)
        .maybe("cas", how.cas.map(|index| index.to_string()).as_deref())
        .maybe("acquire", how.acquire.as_deref())
        .maybe("release", how.release.as_deref());
    let doing = format!("Error! Could not write data to {key}");
    let done: Value = decode(&doing, &api.put(&doing, target, value).await?)?;
    let (good, bad) = match (&how.cas, &how.acquire, &how.release) {
        (_, Some(_), _) => ("Success! Lock acquired on:", "Error! Did not acquire lock".to_owned()),
        (_, _, Some(_)) => ("Success! Lock released on:", "Error! Did not release lock".to_owned()),
        (Some(_), ..) => ("Success! Data written to:", format!("Error! Did not write to {key}: CAS failed")),
        _ => ("Success! Data written to:", format!("Error! Did not write to {key}")),
    };
    if done != Value::Bool(true) {
        return Err(Failure::new(Kind::Conflict, bad));
    }
    say(format!("{good} {key}"))?;
    Ok(0)
}

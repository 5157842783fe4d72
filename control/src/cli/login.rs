//! `login` and `logout`: a token for what others vouch for, and its end.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::Ended;
use super::client::{ClientFlags, Target, decode};
use super::failure::{Failure, Kind};
use super::input::file_text;
use super::talk::text;

/// Logs in; the token goes into a file that only its owner may read.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The way to log in
    #[arg(long, value_name = "NAME")]
    method: String,
    /// A file that holds what is vouched for
    #[arg(long, value_name = "FILE")]
    bearer_token_file: String,
    /// The file that the token is written to
    #[arg(long, value_name = "FILE")]
    token_sink_file: PathBuf,
    /// Free metadata; several may be given
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    #[command(flatten)]
    client: ClientFlags,
}

/// Ends the token that was got by logging in.
#[derive(Debug, Args)]
pub(super) struct Logout {
    #[command(flatten)]
    client: ClientFlags,
}

/// Logs in.
pub(super) async fn login(login: Login) -> Ended {
    let bearer = file_text(&login.bearer_token_file)?.trim().to_owned();
    if bearer.is_empty() {
        return Err(Failure::usage(format!("No bearer token found in {}", login.bearer_token_file)));
    }
    let mut meta = json!({});
    for pair in &login.meta {
        let pair =
            pair.split_once('=').ok_or_else(|| Failure::usage(format!("-meta is {pair:?}; KEY=VALUE is accepted")))?;
        meta[pair.0] = json!(pair.1);
    }
    let body = json!({"AuthMethod": login.method, "BearerToken": bearer, "Meta": meta}).to_string();
    let doing = "Error logging in";
    let answer = login.client.api()?.send(doing, Method::POST, Target::new("/v1/acl/login"), body).await?;
    let token: Value = decode(doing, &answer)?;
    let path = &login.token_sink_file;
    let mut open = std::fs::OpenOptions::new();
    let written = open.write(true).create(true).truncate(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(text(&token, "SecretID").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure::because(Kind::Partial, format!("logged in, but {} cannot be written", path.display()), &error)
    })?;
    Ok(0)
}

/// Logs out.
pub(super) async fn logout(logout: Logout) -> Ended {
    logout.client.api()?.send("Error destroying token", Method::POST, Target::new("/v1/acl/logout"), "").await?;
    Ok(0)
}

//! `acl token`: tokens made, shown, changed, copied and deleted.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ended;
use super::acl_show::{Links, linked, listed, shown, token, whole_id};
use super::client::{Api, ClientFlags, Secret, Target, decode, rows};
use super::failure::Failure;
use super::flags::ShapeFlag;
use super::talk::{say, text};

/// Where they all are.
const ALL: &str = "/v1/acl/tokens";
/// Where one is.
const ONE: &str = "/v1/acl/token/";

/// Tokens: who asks.
#[derive(Debug, Args)]
pub(super) struct Tokens {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Makes a token
    Create(Box<Create>),
    /// Shows a token
    Read(Read),
    /// Changes a token
    Update(Box<Update>),
    /// Makes a token that may do the same
    Clone(Copied),
    /// Deletes a token
    Delete(One),
    /// Lists the tokens
    List(List),
}

#[derive(Debug, Args)]
struct Create {
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// Only in this datacenter
    #[arg(long)]
    local: bool,
    /// Its public id [default: a random one]
    #[arg(long, value_name = "ID")]
    accessor: Option<String>,
    /// Its secret [default: a random one]
    #[arg(long)]
    secret: Option<Secret>,
    /// When it ends by itself
    #[arg(long, value_name = "TIME")]
    expires_ttl: Option<String>,
    /// A role, by id; several may be named
    #[arg(long, value_name = "ID")]
    role_id: Vec<String>,
    /// A role, by name; several may be named
    #[arg(long, value_name = "NAME")]
    role_name: Vec<String>,
    #[command(flatten)]
    links: Links,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Accessor {
    /// The public id of the token, or what it begins with
    #[arg(long, alias = "id", value_name = "ID")]
    accessor_id: Option<String>,
}

#[derive(Debug, Args)]
struct Read {
    #[command(flatten)]
    which: Accessor,
    /// The token that asks
    #[arg(long = "self")]
    own: bool,
    /// With the rules behind it
    #[arg(long)]
    expanded: bool,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Update {
    #[command(flatten)]
    which: Accessor,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// A policy added to those it has, by id
    #[arg(long, value_name = "ID")]
    append_policy_id: Vec<String>,
    /// A policy added to those it has, by name
    #[arg(long, value_name = "NAME")]
    append_policy_name: Vec<String>,
    /// A role, by id; several may be named
    #[arg(long, value_name = "ID")]
    role_id: Vec<String>,
    /// A role, by name; several may be named
    #[arg(long, value_name = "NAME")]
    role_name: Vec<String>,
    #[command(flatten)]
    links: Links,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Copied {
    #[command(flatten)]
    which: Accessor,
    /// For people [default: that of the first]
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct One {
    #[command(flatten)]
    which: Accessor,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

impl Accessor {
    async fn id(&self, api: &Api) -> Result<String, Failure> {
        match self.accessor_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => whole_id(api, "token", ALL, "AccessorID", id).await,
            None => Err(Failure::usage("Must specify the -accessor-id parameter")),
        }
    }
}

/// Runs one of them.
pub(super) async fn run(tokens: Tokens) -> Ended {
    match tokens.command {
        TokenCommand::Create(flags) => create(*flags).await,
        TokenCommand::Read(flags) => read(flags).await,
        TokenCommand::Update(flags) => update(*flags).await,
        TokenCommand::Clone(flags) => copy(flags).await,
        TokenCommand::Delete(flags) => {
            let api = flags.client.api()?;
            let id = flags.which.id(&api).await?;
            api.delete(&format!("Error deleting token {id:?}"), Target::of(ONE, &id)).await?;
            say(format!("Token {id:?} deleted successfully"))?;
            Ok(0)
        }
        TokenCommand::List(flags) => {
            let found = rows(flags.client.api()?.json("Error listing tokens", Target::new(ALL)).await?);
            listed(&found, &flags.shape, token)?;
            Ok(0)
        }
    }
}

async fn create(flags: Create) -> Ended {
    let mut body = json!({"Description": flags.description, "Local": flags.local});
    flags.links.write_to(&mut body)?;
    let roles = linked(&flags.role_id, &flags.role_name);
    if !roles.is_empty() {
        body["Roles"] = json!(roles);
    }
    let texts = [
        ("AccessorID", flags.accessor),
        ("SecretID", flags.secret.map(|secret| secret.0)),
        ("ExpirationTTL", flags.expires_ttl),
    ];
    for (member, value) in texts {
        if let Some(value) = value {
            body[member] = json!(value);
        }
    }
    let doing = "Failed to create new token";
    let answer = flags.client.api()?.put_json(doing, Target::new("/v1/acl/token"), &body).await?;
    shown(&decode(doing, &answer)?, &flags.shape, token)?;
    Ok(0)
}

async fn read(flags: Read) -> Ended {
    let api = flags.client.api()?;
    let target = match flags.own {
        true => Target::new("/v1/acl/token/self"),
        false => Target::of(ONE, &flags.which.id(&api).await?),
    };
    let found: Value = api.json("Error reading token", target.flag("expanded", flags.expanded)).await?;
    shown(&found, &flags.shape, token)?;
    Ok(0)
}

async fn update(flags: Update) -> Ended {
    let api = flags.client.api()?;
    let id = flags.which.id(&api).await?;
    let mut body: Value = api.json("Error reading token", Target::of(ONE, &id)).await?;
    if let Some(description) = flags.description {
        body["Description"] = json!(description);
    }
    flags.links.write_to(&mut body)?;
    let more = linked(&flags.append_policy_id, &flags.append_policy_name);
    if !more.is_empty() {
        body["Policies"] = json!([rows(body["Policies"].clone()), more].concat());
    }
    let roles = linked(&flags.role_id, &flags.role_name);
    if !roles.is_empty() {
        body["Roles"] = json!(roles);
    }
    // What is shown of the secret may not be the secret, and it cannot be changed.
    if let Some(members) = body.as_object_mut() {
        members.remove("SecretID");
    }
    let doing = format!("Failed to update token {}", text(&body, "AccessorID"));
    let answer = api.put_json(&doing, Target::of(ONE, &id), &body).await?;
    shown(&decode(&doing, &answer)?, &flags.shape, token)?;
    Ok(0)
}

async fn copy(flags: Copied) -> Ended {
    let api = flags.client.api()?;
    let id = flags.which.id(&api).await?;
    let body = flags.description.map_or_else(|| json!({}), |description| json!({"Description": description}));
    let doing = "Failed to clone token";
    let answer = api.put_json(doing, Target::new(format!("{ONE}{id}/clone")), &body).await?;
    shown(&decode(doing, &answer)?, &flags.shape, token)?;
    Ok(0)
}

//! `acl policy` and `acl role`: what may be done, and several of that under one name.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ended;
use super::acl_show::{Links, Which, listed, policy, role, shown};
use super::client::{Api, ClientFlags, Target, decode, rows};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::input::data;
use super::talk::{say, text};

/// Policies: what may be done.
#[derive(Debug, Args)]
pub(super) struct Policies {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Makes a policy
    Create(PolicyCreate),
    /// Shows a policy
    Read(Read),
    /// Changes a policy
    Update(PolicyUpdate),
    /// Deletes a policy
    Delete(Delete),
    /// Lists the policies
    List(List),
}

/// Roles: policies under one name.
#[derive(Debug, Args)]
pub(super) struct Roles {
    #[command(subcommand)]
    command: RoleCommand,
}

#[derive(Debug, Subcommand)]
enum RoleCommand {
    /// Makes a role
    Create(RoleCreate),
    /// Shows a role
    Read(Read),
    /// Changes a role
    Update(RoleUpdate),
    /// Deletes a role
    Delete(Delete),
    /// Lists the roles
    List(List),
}

#[derive(Debug, Args)]
struct PolicyCreate {
    /// Its name
    #[arg(long)]
    name: String,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// The rules, HCL or JSON; `-` is standard input, `@FILE` a file
    #[arg(long)]
    rules: Option<String>,
    /// Only in these datacenters; several may be named
    #[arg(long, value_name = "NAME")]
    valid_datacenter: Vec<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct PolicyUpdate {
    #[command(flatten)]
    which: Which,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// The rules, HCL or JSON; `-` is standard input, `@FILE` a file
    #[arg(long)]
    rules: Option<String>,
    /// Only in these datacenters; several may be named
    #[arg(long, value_name = "NAME")]
    valid_datacenter: Vec<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct RoleCreate {
    /// Its name
    #[arg(long)]
    name: String,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    links: Links,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct RoleUpdate {
    #[command(flatten)]
    which: Which,
    /// For people
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    links: Links,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Read {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    which: Which,
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

/// One of the two nouns.
#[derive(Debug, Clone, Copy)]
struct Noun {
    what: &'static str,
    title: &'static str,
    one: &'static str,
    all: &'static str,
    lines: fn(&Value) -> String,
}

const POLICY: Noun =
    Noun { what: "policy", title: "Policy", one: "/v1/acl/policy/", all: "/v1/acl/policies", lines: policy };
const ROLE: Noun = Noun { what: "role", title: "Role", one: "/v1/acl/role/", all: "/v1/acl/roles", lines: role };

impl Noun {
    async fn find(self, api: &Api, which: &Which) -> Result<Value, Failure> {
        which.find(api, self.what, self.one, self.all).await
    }

    async fn create(self, client: &ClientFlags, shape: &ShapeFlag, body: &Value) -> Ended {
        let doing = format!("Failed to create new {}", self.what);
        let target = Target::new(self.one.trim_end_matches('/'));
        let answer = client.api()?.put_json(&doing, target, body).await?;
        shown(&decode(&doing, &answer)?, shape, self.lines)?;
        Ok(0)
    }

    async fn update(self, api: &Api, shape: &ShapeFlag, body: &Value) -> Ended {
        let doing = format!("Error updating {}", self.what);
        let answer = api.put_json(&doing, Target::of(self.one, &text(body, "ID")), body).await?;
        shown(&decode(&doing, &answer)?, shape, self.lines)?;
        Ok(0)
    }

    async fn read(self, flags: Read) -> Ended {
        let api = flags.client.api()?;
        shown(&self.find(&api, &flags.which).await?, &flags.shape, self.lines)?;
        Ok(0)
    }

    async fn delete(self, flags: Delete) -> Ended {
        let api = flags.client.api()?;
        let id = text(&self.find(&api, &flags.which).await?, "ID");
        api.delete(&format!("Error deleting {} {id:?}", self.what), Target::of(self.one, &id)).await?;
        say(format!("{} {id:?} deleted successfully", self.title))?;
        Ok(0)
    }

    async fn list(self, flags: List) -> Ended {
        let doing = format!("Error listing {}", self.what);
        let found = rows(flags.client.api()?.json(&doing, Target::new(self.all)).await?);
        listed(&found, &flags.shape, self.lines)?;
        Ok(0)
    }
}

fn rules(word: &str) -> Result<String, Failure> {
    let bytes = data(word)?;
    String::from_utf8(bytes).map_err(|error| Failure::because(Kind::Usage, "the rules are not text", &error))
}

/// Runs a command of policies.
pub(super) async fn policies(policies: Policies) -> Ended {
    match policies.command {
        PolicyCommand::Create(flags) => {
            let mut body = json!({"Name": flags.name, "Description": flags.description});
            body["Rules"] = json!(flags.rules.as_deref().map(rules).transpose()?.unwrap_or_default());
            if !flags.valid_datacenter.is_empty() {
                body["Datacenters"] = json!(flags.valid_datacenter);
            }
            POLICY.create(&flags.client, &flags.shape, &body).await
        }
        PolicyCommand::Update(flags) => {
            let api = flags.client.api()?;
            // With an id, a name is a new one.
            let which =
                Which { name: flags.which.name.clone().filter(|_| flags.which.id.is_none()), ..flags.which.clone() };
            let mut body = POLICY.find(&api, &which).await?;
            let changes = [
                ("Name", flags.which.name.clone()),
                ("Description", flags.description),
                ("Rules", flags.rules.as_deref().map(rules).transpose()?),
            ];
            for (member, value) in changes {
                if let Some(value) = value {
                    body[member] = json!(value);
                }
            }
            if !flags.valid_datacenter.is_empty() {
                body["Datacenters"] = json!(flags.valid_datacenter);
            }
            POLICY.update(&api, &flags.shape, &body).await
        }
        PolicyCommand::Read(flags) => POLICY.read(flags).await,
        PolicyCommand::Delete(flags) => POLICY.delete(flags).await,
        PolicyCommand::List(flags) => POLICY.list(flags).await,
    }
}

/// Runs a command of roles.
pub(super) async fn roles(roles: Roles) -> Ended {
    match roles.command {
        RoleCommand::Create(flags) => {
            let mut body = json!({"Name": flags.name, "Description": flags.description});
            flags.links.write_to(&mut body)?;
            ROLE.create(&flags.client, &flags.shape, &body).await
        }
        RoleCommand::Update(flags) => {
            let api = flags.client.api()?;
            let which =
                Which { name: flags.which.name.clone().filter(|_| flags.which.id.is_none()), ..flags.which.clone() };
            let mut body = ROLE.find(&api, &which).await?;
            for (member, value) in [("Name", flags.which.name.clone()), ("Description", flags.description)] {
                if let Some(value) = value {
                    body[member] = json!(value);
                }
            }
            flags.links.write_to(&mut body)?;
            ROLE.update(&api, &flags.shape, &body).await
        }
        RoleCommand::Read(flags) => ROLE.read(flags).await,
        RoleCommand::Delete(flags) => ROLE.delete(flags).await,
        RoleCommand::List(flags) => ROLE.list(flags).await,
    }
}

//! `acl auth-method`, `acl binding-rule` and `acl templated-policy`: logging in with what others vouch for, what somebody
//! who did may do, and policies made to measure.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Ended;
use super::acl_show::{listed, method, policy, rule, shown, template, variables, whole_id};
use super::client::{ClientFlags, Target, decode, rows};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::input::data;
use super::talk::say;

/// Ways to log in.
#[derive(Debug, Args)]
pub(super) struct Methods {
    #[command(subcommand)]
    command: MethodCommand,
}

#[derive(Debug, Subcommand)]
enum MethodCommand {
    /// Makes a way to log in
    Create(Box<MethodWrite>),
    /// Shows one
    Read(Named),
    /// Replaces one, but for what is not named
    Update(Box<MethodWrite>),
    /// Deletes one, and the tokens that came of it
    Delete(Named),
    /// Lists them
    List(List),
}

#[derive(Debug, Args)]
struct MethodWrite {
    /// Its name
    #[arg(long)]
    name: String,
    /// Its kind: jwt
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// How it is called for people
    #[arg(long)]
    display_name: Option<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// How long its tokens live
    #[arg(long, value_name = "TIME")]
    max_token_ttl: Option<String>,
    /// Where its tokens hold: local or global
    #[arg(long)]
    token_locality: Option<String>,
    /// Its settings, JSON; `-` is standard input, `@FILE` a file
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Named {
    /// Its name
    #[arg(long)]
    name: String,
    #[command(flatten)]
    shape: ShapeFlag,
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

/// Binding rules.
#[derive(Debug, Args)]
pub(super) struct Rules {
    #[command(subcommand)]
    command: RuleCommand,
}

#[derive(Debug, Subcommand)]
enum RuleCommand {
    /// Makes a rule
    Create(RuleWrite),
    /// Shows one
    Read(ById),
    /// Changes one
    Update(RuleWrite),
    /// Deletes one
    Delete(ById),
    /// Lists them
    List(RuleList),
}

#[derive(Debug, Args)]
struct RuleWrite {
    /// Which one is changed, by id or what it begins with
    #[arg(long)]
    id: Option<String>,
    /// The way to log in that it is for
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// What the new token is linked to: service, node, role, policy, templated-policy
    #[arg(long, value_name = "TYPE")]
    bind_type: Option<String>,
    /// Its name, which may hold ${…}
    #[arg(long, value_name = "NAME")]
    bind_name: Option<String>,
    /// Only when this holds for who logged in
    #[arg(long, value_name = "EXPRESSION")]
    selector: Option<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct ById {
    /// Its id, or what it begins with
    #[arg(long)]
    id: String,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct RuleList {
    /// Only those of one way to log in
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

/// Templates.
#[derive(Debug, Args)]
pub(super) struct Templates {
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
enum TemplateCommand {
    /// Lists the templates
    List(List),
    /// Shows one
    Read(Named),
    /// Shows what becomes of one
    Preview(Preview),
}

#[derive(Debug, Args)]
struct Preview {
    /// Its name
    #[arg(long)]
    name: String,
    /// What is filled in
    #[arg(long, value_name = "NAME:VALUE")]
    var: Vec<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

const METHOD: &str = "/v1/acl/auth-method/";
const RULE: &str = "/v1/acl/binding-rule/";
const RULES: &str = "/v1/acl/binding-rules";

/// Puts what was named into a body.
fn fill<const N: usize>(body: &mut Value, members: [(&str, &Option<String>); N]) {
    for (member, value) in members {
        if let Some(value) = value {
            body[member] = json!(value);
        }
    }
}

fn write_method(flags: &MethodWrite, body: &mut Value) -> Result<(), Failure> {
    body["Name"] = json!(flags.name);
    fill(
        body,
        [
            ("Type", &flags.kind),
            ("DisplayName", &flags.display_name),
            ("Description", &flags.description),
            ("MaxTokenTTL", &flags.max_token_ttl),
            ("TokenLocality", &flags.token_locality),
        ],
    );
    if let Some(word) = &flags.config {
        let config: Value = serde_json::from_slice(&data(word)?)
            .map_err(|error| Failure::because(Kind::Usage, "-config is not JSON", &error))?;
        body["Config"] = config;
    }
    Ok(())
}

/// Runs a command of ways to log in.
pub(super) async fn methods(methods: Methods) -> Ended {
    match methods.command {
        MethodCommand::Create(flags) => {
            let mut body = json!({});
            write_method(&flags, &mut body)?;
            let doing = "Failed to create new auth method";
            let answer = flags.client.api()?.put_json(doing, Target::new("/v1/acl/auth-method"), &body).await?;
            shown(&decode(doing, &answer)?, &flags.shape, method)?;
        }
        MethodCommand::Update(flags) => {
            let api = flags.client.api()?;
            let mut body = api.json("Error reading auth method", Target::of(METHOD, &flags.name)).await?;
            write_method(&flags, &mut body)?;
            let doing = "Error updating auth method";
            let answer = api.put_json(doing, Target::of(METHOD, &flags.name), &body).await?;
            shown(&decode(doing, &answer)?, &flags.shape, method)?;
        }
        MethodCommand::Read(flags) => {
            let found = flags.client.api()?.json("Error reading auth method", Target::of(METHOD, &flags.name)).await?;
            shown(&found, &flags.shape, method)?;
        }
        MethodCommand::Delete(flags) => {
            flags.client.api()?.delete("Error deleting auth method", Target::of(METHOD, &flags.name)).await?;
            say(format!("Auth method {:?} deleted successfully", flags.name))?;
        }
        MethodCommand::List(flags) => {
            let target = Target::new("/v1/acl/auth-methods");
            let found = rows(flags.client.api()?.json("Error listing auth methods", target).await?);
            listed(&found, &flags.shape, method)?;
        }
    }
    Ok(0)
}

fn write_rule(flags: &RuleWrite, body: &mut Value) {
    fill(
        body,
        [
            ("AuthMethod", &flags.method),
            ("Description", &flags.description),
            ("BindType", &flags.bind_type),
            ("BindName", &flags.bind_name),
            ("Selector", &flags.selector),
        ],
    );
}

/// Runs a command of binding rules.
pub(super) async fn rules(rules: Rules) -> Ended {
    match rules.command {
        RuleCommand::Create(flags) => {
            if flags.id.is_some() {
                return Err(Failure::usage("a new rule is given its id"));
            }
            let mut body = json!({});
            write_rule(&flags, &mut body);
            let doing = "Failed to create new binding rule";
            let answer = flags.client.api()?.put_json(doing, Target::new("/v1/acl/binding-rule"), &body).await?;
            shown(&decode(doing, &answer)?, &flags.shape, rule)?;
        }
        RuleCommand::Update(flags) => {
            let api = flags.client.api()?;
            let id = flags.id.as_deref().ok_or_else(|| Failure::usage("Must specify the -id parameter"))?;
            let id = whole_id(&api, "binding rule", RULES, "ID", id).await?;
            let mut body = api.json("Error reading binding rule", Target::of(RULE, &id)).await?;
            write_rule(&flags, &mut body);
            let doing = "Error updating binding rule";
            let answer = api.put_json(doing, Target::of(RULE, &id), &body).await?;
            shown(&decode(doing, &answer)?, &flags.shape, rule)?;
        }
        RuleCommand::Read(flags) => {
            let api = flags.client.api()?;
            let id = whole_id(&api, "binding rule", RULES, "ID", &flags.id).await?;
            shown(&api.json("Error reading binding rule", Target::of(RULE, &id)).await?, &flags.shape, rule)?;
        }
        RuleCommand::Delete(flags) => {
            let api = flags.client.api()?;
            let id = whole_id(&api, "binding rule", RULES, "ID", &flags.id).await?;
            api.delete("Error deleting binding rule", Target::of(RULE, &id)).await?;
            say(format!("Binding rule {id:?} deleted successfully"))?;
        }
        RuleCommand::List(flags) => {
            let target = Target::new(RULES).maybe("authmethod", flags.method.as_deref());
            let found = rows(flags.client.api()?.json("Error listing binding rules", target).await?);
            listed(&found, &flags.shape, rule)?;
        }
    }
    Ok(0)
}

/// Runs a command of templates.
pub(super) async fn templates(templates: Templates) -> Ended {
    match templates.command {
        TemplateCommand::List(flags) => {
            let target = Target::new("/v1/acl/templated-policies");
            let found: Value = flags.client.api()?.json("Error listing templated policies", target).await?;
            let found: Vec<Value> = found.as_object().into_iter().flat_map(|map| map.values().cloned()).collect();
            listed(&found, &flags.shape, template)?;
        }
        TemplateCommand::Read(flags) => {
            let target = Target::new(format!("/v1/acl/templated-policy/name/{}", flags.name));
            let found = flags.client.api()?.json("Error reading templated policy", target).await?;
            shown(&found, &flags.shape, template)?;
        }
        TemplateCommand::Preview(flags) => {
            let target = Target::new(format!("/v1/acl/templated-policy/preview/{}", flags.name));
            let body = variables(&flags.var)?.to_string();
            let doing = "Failed to generate the templated policy preview";
            let answer = flags.client.api()?.send(doing, Method::POST, target, body).await?;
            shown(&decode(doing, &answer)?, &flags.shape, policy)?;
        }
    }
    Ok(0)
}

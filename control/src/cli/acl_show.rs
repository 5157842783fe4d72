//! How the things of access control are shown, named and linked: what the commands of `acl` have in common.

use clap::Args;
use serde_json::{Value, json};

use super::client::{Api, Target, rows};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::talk::{say, say_json, text};

/// Shows one thing.
pub(super) fn shown(value: &Value, shape: &ShapeFlag, lines: fn(&Value) -> String) -> Result<(), Failure> {
    if shape.json() { say_json(value) } else { say(lines(value).trim_end()) }
}

/// Shows many things, with an empty line after each.
pub(super) fn listed(found: &[Value], shape: &ShapeFlag, lines: fn(&Value) -> String) -> Result<(), Failure> {
    if shape.json() {
        return say_json(&found);
    }
    found.iter().try_for_each(|value| say(lines(value)))
}

/// Writes the members that are there under their titles.
fn members(value: &Value, titles: &[(&str, &str)]) -> String {
    let mut lines = String::new();
    for (title, member) in titles {
        if !value[*member].is_null() {
            lines.push_str(&format!("{:<18}{}\n", format!("{title}:"), text(value, member)));
        }
    }
    lines
}

/// Writes a list below a title, if it holds anything.
fn list(value: &Value, title: &str, member: &str, line: impl Fn(&Value) -> String) -> String {
    let found = rows(value[member].clone());
    if found.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = found.iter().map(|row| format!("   {}\n", line(row))).collect();
    format!("{title}:\n{}", lines.concat())
}

fn joined(value: &Value, member: &str, otherwise: &str) -> String {
    let found: Vec<String> =
        rows(value[member].clone()).iter().filter_map(|row| row.as_str().map(str::to_owned)).collect();
    if found.is_empty() { otherwise.to_owned() } else { found.join(", ") }
}

fn links(value: &Value) -> String {
    let link = |row: &Value| format!("{} - {}", text(row, "ID"), text(row, "Name"));
    let service =
        |row: &Value| format!("{} (Datacenters: {})", text(row, "ServiceName"), joined(row, "Datacenters", "all"));
    let node = |row: &Value| format!("{} (Datacenter: {})", text(row, "NodeName"), text(row, "Datacenter"));
    [
        list(value, "Policies", "Policies", link),
        list(value, "Roles", "Roles", link),
        list(value, "Service Identities", "ServiceIdentities", service),
        list(value, "Node Identities", "NodeIdentities", node),
        list(value, "Templated Policies", "TemplatedPolicies", |row| text(row, "TemplateName")),
    ]
    .concat()
}

/// A token.
pub(super) fn token(value: &Value) -> String {
    let titles = [
        ("AccessorID", "AccessorID"),
        ("SecretID", "SecretID"),
        ("Description", "Description"),
        ("Local", "Local"),
        ("Auth Method", "AuthMethod"),
        ("Create Time", "CreateTime"),
        ("Expiration Time", "ExpirationTime"),
    ];
    members(value, &titles) + &links(value)
}

/// A policy.
pub(super) fn policy(value: &Value) -> String {
    let titles = [("ID", "ID"), ("Name", "Name"), ("Description", "Description")];
    let datacenters = format!("{:<18}{}\n", "Datacenters:", joined(value, "Datacenters", ""));
    let rules = text(value, "Rules");
    let rules = if rules.is_empty() { String::new() } else { format!("Rules:\n{}\n", rules.trim_end()) };
    members(value, &titles) + &datacenters + &rules
}

/// A role.
pub(super) fn role(value: &Value) -> String {
    members(value, &[("ID", "ID"), ("Name", "Name"), ("Description", "Description")]) + &links(value)
}

/// A way to log in.
pub(super) fn method(value: &Value) -> String {
    let titles = [
        ("Name", "Name"),
        ("Type", "Type"),
        ("DisplayName", "DisplayName"),
        ("Description", "Description"),
        ("MaxTokenTTL", "MaxTokenTTL"),
        ("TokenLocality", "TokenLocality"),
    ];
    let config = if value["Config"].is_object() { format!("Config:\n{:#}\n", value["Config"]) } else { String::new() };
    members(value, &titles) + &config
}

/// A binding rule.
pub(super) fn rule(value: &Value) -> String {
    let titles = [
        ("ID", "ID"),
        ("AuthMethod", "AuthMethod"),
        ("Description", "Description"),
        ("BindType", "BindType"),
        ("BindName", "BindName"),
        ("Selector", "Selector"),
    ];
    members(value, &titles)
}

/// A template.
pub(super) fn template(value: &Value) -> String {
    let titles = [("Name", "TemplateName"), ("Description", "Description")];
    let long = |title: &str, member: &str| match text(value, member) {
        text if text.is_empty() => String::new(),
        text => format!("{title}:\n{}\n", text.trim_end()),
    };
    members(value, &titles) + &long("Schema", "Schema") + &long("Raw Template", "Template")
}

/// Names one thing of many.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// Its id, or what it begins with
    #[arg(long)]
    pub(super) id: Option<String>,
    /// Its name
    #[arg(long)]
    pub(super) name: Option<String>,
}

impl Which {
    /// Finds it. `one` is the path of one (`/v1/acl/policy/`), `all` of the list.
    pub(super) async fn find(&self, api: &Api, what: &str, one: &str, all: &str) -> Result<Value, Failure> {
        let doing = format!("Error reading {what}");
        match (&self.id, &self.name) {
            (Some(id), None) => {
                let id = whole_id(api, what, all, "ID", id).await?;
                api.json(&doing, Target::of(one, &id)).await
            }
            (None, Some(name)) => api.json(&doing, Target::of(&format!("{one}name/"), name)).await,
            _ => Err(Failure::usage("Must specify either the -id or -name parameters")),
        }
    }
}

/// Returns the id that begins so; a whole one is taken as it is.
pub(super) async fn whole_id(api: &Api, what: &str, all: &str, member: &str, part: &str) -> Result<String, Failure> {
    const WHOLE: usize = 36;
    if part.len() >= WHOLE {
        return Ok(part.to_owned());
    }
    let found = rows(api.json(&format!("Error listing {what}"), Target::new(all)).await?);
    let ids: Vec<String> = found.iter().map(|row| text(row, member)).filter(|id| id.starts_with(part)).collect();
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Failure::new(Kind::NotFound, format!("Error! no {what} has an id that begins with {part:?}"))),
        _ => Err(Failure::usage(format!("the id of more than one {what} begins with {part:?}"))),
    }
}

/// What tokens and roles are linked to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Links")]
pub(super) struct Links {
    /// A policy, by id; several may be named
    #[arg(long, value_name = "ID")]
    policy_id: Vec<String>,
    /// A policy, by name; several may be named
    #[arg(long, value_name = "NAME")]
    policy_name: Vec<String>,
    /// A service whose instances hold it, NAME or NAME:DC,DC; several may be named
    #[arg(long, value_name = "SERVICE")]
    service_identity: Vec<String>,
    /// A node that holds it, NAME:DATACENTER; several may be named
    #[arg(long, value_name = "NODE")]
    node_identity: Vec<String>,
    /// A template, by name; one may be named, with -var
    #[arg(long, value_name = "NAME")]
    templated_policy: Option<String>,
    /// What is filled into the template, name:VALUE
    #[arg(long, value_name = "NAME:VALUE")]
    var: Vec<String>,
}

/// Returns links by id and by name.
pub(super) fn linked(ids: &[String], names: &[String]) -> Vec<Value> {
    let ids = ids.iter().map(|id| json!({"ID": id}));
    ids.chain(names.iter().map(|name| json!({"Name": name}))).collect()
}

impl Links {
    /// Puts what was named into a body; kinds of links of which none was named stay as they are there.
    pub(super) fn write_to(&self, body: &mut Value) -> Result<(), Failure> {
        let policies = linked(&self.policy_id, &self.policy_name);
        if !policies.is_empty() {
            body["Policies"] = json!(policies);
        }
        if !self.service_identity.is_empty() {
            let identity = |text: &String| match text.split_once(':') {
                Some((name, list)) => {
                    json!({"ServiceName": name, "Datacenters": list.split(',').collect::<Vec<_>>()})
                }
                None => json!({"ServiceName": text}),
            };
            body["ServiceIdentities"] = self.service_identity.iter().map(identity).collect();
        }
        let mut nodes = Vec::new();
        for text in &self.node_identity {
            let Some((node, datacenter)) = text.rsplit_once(':') else {
                return Err(Failure::usage(format!("-node-identity is {text:?}; NODE:DATACENTER is accepted")));
            };
            nodes.push(json!({"NodeName": node, "Datacenter": datacenter}));
        }
        if !nodes.is_empty() {
            body["NodeIdentities"] = json!(nodes);
        }
        if let Some(template) = &self.templated_policy {
            body["TemplatedPolicies"] = json!([{"TemplateName": template, "TemplateVariables": variables(&self.var)?}]);
        }
        Ok(())
    }
}

/// Reads the variables of a template.
pub(super) fn variables(pairs: &[String]) -> Result<Value, Failure> {
    let mut variables = json!({});
    for pair in pairs {
        let Some((name, value)) = pair.split_once(':') else {
            return Err(Failure::usage(format!("-var is {pair:?}; NAME:VALUE is accepted")));
        };
        variables[name] = json!(value);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_looks_as_scripts_cut_it() {
        let value = json!({"AccessorID": "a", "SecretID": "s", "Description": "", "Local": false,
            "Policies": [{"ID": "1", "Name": "p"}], "ServiceIdentities": [{"ServiceName": "web"}]});
        let expect = "AccessorID:       a\nSecretID:         s\nDescription:      \nLocal:            false\n\
            Policies:\n   1 - p\nService Identities:\n   web (Datacenters: all)\n";
        assert_eq!(token(&value), expect);
    }

    #[test]
    fn only_what_was_named_is_changed() {
        let mut body = json!({"Policies": [{"ID": "1"}], "NodeIdentities": [1]});
        let links = Links {
            policy_name: vec!["p".into()],
            service_identity: vec!["web:a,b".into(), "db".into()],
            ..Links::default()
        };
        links.write_to(&mut body).unwrap();
        let expect = json!({"Policies": [{"Name": "p"}], "NodeIdentities": [1],
            "ServiceIdentities": [{"ServiceName": "web", "Datacenters": ["a", "b"]}, {"ServiceName": "db"}]});
        assert_eq!(body, expect);
        let wrong = Links { node_identity: vec!["n1".into()], ..Links::default() };
        assert!(wrong.write_to(&mut body).unwrap_err().text.contains("NODE:DATACENTER"));
    }
}

//! `services`: instances registered from files or flags, deregistered, and made visible to others.

use callboard_proto::hcl;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Ended;
use super::client::{Api, ClientFlags, Target, rows};
use super::failure::{Failure, Kind};
use super::input::file_text;
use super::talk::{say, text};

/// Registers and deregisters instances.
#[derive(Debug, Args)]
pub(super) struct Services {
    #[command(subcommand)]
    command: ServicesCommand,
}

#[derive(Debug, Subcommand)]
enum ServicesCommand {
    /// Registers instances with an agent
    Register(Box<Register>),
    /// Deregisters instances of an agent
    Deregister(Deregister),
    /// Makes a service visible to others
    Export(Export),
}

#[derive(Debug, Args)]
struct Register {
    /// The name of the service
    #[arg(long)]
    name: Option<String>,
    /// The id of the instance [default: the name]
    #[arg(long)]
    id: Option<String>,
    /// Where it is [default: the node's address]
    #[arg(long)]
    address: Option<String>,
    /// Its port
    #[arg(long)]
    port: Option<u16>,
    /// Instead of a port: a socket of the file system
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// A tag; several may be given
    #[arg(long)]
    tag: Vec<String>,
    /// Free metadata; several may be given
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    /// An address for others, as lan=ADDRESS:PORT; several may be given
    #[arg(long, value_name = "NAME=ADDRESS")]
    tagged_address: Vec<String>,
    /// What it is, when it is no ordinary service
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
    /// Files that define services, HCL or JSON; `-` is standard input
    files: Vec<String>,
}

#[derive(Debug, Args)]
struct Deregister {
    /// The id of an instance
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
    /// Files that define services, HCL or JSON; `-` is standard input
    files: Vec<String>,
}

#[derive(Debug, Args)]
struct Export {
    /// The service
    #[arg(long)]
    name: String,
    /// Who may see it: peers, parted by commas
    #[arg(long, value_name = "PEERS", value_delimiter = ',')]
    consumer_peers: Vec<String>,
    #[command(flatten)]
    client: ClientFlags,
}

/// Runs one of them.
pub(super) async fn run(services: Services) -> Ended {
    match services.command {
        ServicesCommand::Register(flags) => register(*flags).await,
        ServicesCommand::Deregister(flags) => deregister(flags).await,
        ServicesCommand::Export(flags) => export(flags).await,
    }
}

/// Returns the definitions in files.
fn defined(files: &[String]) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for path in files {
        let value = hcl::parse(&file_text(path)?);
        let value = value.map_err(|error| Failure::usage(format!("reading {path}: {error}")))?;
        let before = found.len();
        for member in ["service", "services"] {
            match &value[member] {
                Value::Array(list) => found.extend(list.iter().cloned()),
                Value::Object(_) => found.push(value[member].clone()),
                _ => {}
            }
        }
        if found.len() == before {
            return Err(Failure::usage(format!("{path} defines no service: `service` or `services` is accepted")));
        }
    }
    Ok(found)
}

/// Returns the member of a definition, whose names are written in any way.
fn member(definition: &Value, name: &str) -> Option<String> {
    let map = definition.as_object()?;
    let (_, value) = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=').ok_or_else(|| Failure::usage(format!("{flag} is {text:?}; KEY=VALUE is accepted")))
}

/// Puts a definition together from flags.
fn from_flags(flags: &Register) -> Result<Value, Failure> {
    let mut body = Map::new();
    let texts = [
        ("Name", &flags.name),
        ("ID", &flags.id),
        ("Address", &flags.address),
        ("SocketPath", &flags.socket),
        ("Kind", &flags.kind),
    ];
    for (member, value) in texts {
        if let Some(value) = value {
            body.insert(member.to_owned(), json!(value));
        }
    }
    if let Some(port) = flags.port {
        body.insert("Port".to_owned(), json!(port));
    }
    if !flags.tag.is_empty() {
        body.insert("Tags".to_owned(), json!(flags.tag));
    }
    let mut meta = Map::new();
    for text in &flags.meta {
        let (key, value) = pair("-meta", text)?;
        meta.insert(key.to_owned(), json!(value));
    }
    if !meta.is_empty() {
        body.insert("Meta".to_owned(), Value::Object(meta));
    }
    let mut addresses = Map::new();
    for text in &flags.tagged_address {
        let (name, address) = pair("-tagged-address", text)?;
        let parsed = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) = parsed.unwrap_or((address, flags.port.unwrap_or_default()));
        addresses.insert(name.to_owned(), json!({"Address": host, "Port": port}));
    }
    if !addresses.is_empty() {
        body.insert("TaggedAddresses".to_owned(), Value::Object(addresses));
    }
    Ok(Value::Object(body))
}

async fn register(flags: Register) -> Ended {
    let api = flags.client.api()?;
    let definitions = match (flags.files.is_empty(), &flags.name) {
        (true, None) => return Err(Failure::usage("Service registration requires at least one argument or flags.")),
        (false, Some(_)) => return Err(Failure::usage("either files or -name, not both")),
        (true, Some(_)) => vec![from_flags(&flags)?],
        (false, None) => defined(&flags.files)?,
    };
    for definition in &definitions {
        let name = member(definition, "name").unwrap_or_default();
        let doing = format!("Error registering service {name:?}");
        api.put_json(&doing, Target::new("/v1/agent/service/register"), definition).await?;
        say(format!("Registered service: {name}"))?;
    }
    Ok(0)
}

async fn deregister(flags: Deregister) -> Ended {
    let api = flags.client.api()?;
    let ids: Vec<String> = match (&flags.id, flags.files.is_empty()) {
        (Some(id), true) => vec![id.clone()],
        (None, false) => {
            let id = |definition: &Value| member(definition, "id").or_else(|| member(definition, "name"));
            defined(&flags.files)?.iter().filter_map(id).collect()
        }
        (Some(_), false) => return Err(Failure::usage("either files or -id, not both")),
        (None, true) => return Err(Failure::usage("Service deregistration requires at least one argument or flags.")),
    };
    for id in &ids {
        let doing = format!("Error deregistering service {id:?}");
        api.put(&doing, Target::of("/v1/agent/service/deregister/", id), "").await?;
        say(format!("Deregistered service: {id}"))?;
    }
    Ok(0)
}

/// Adds the service to the entry that lists what others may see, unless the entry changed meanwhile.
async fn export(flags: Export) -> Ended {
    if flags.consumer_peers.is_empty() {
        return Err(Failure::usage("Missing the required -consumer-peers flag"));
    }
    let api = flags.client.api()?;
    let path = "/v1/config/exported-services/default";
    let found: Option<Value> =
        api.json_if("Error reading config entry exported-services/default", Target::new(path)).await?;
    let index = found.as_ref().map(|entry| text(entry, "ModifyIndex")).unwrap_or_else(|| "0".to_owned());
    let mut services = found.map(|entry| rows(entry["Services"].clone())).unwrap_or_default();
    let place = services.iter().position(|service| text(service, "Name") == flags.name);
    let place = place.unwrap_or_else(|| {
        services.push(json!({"Name": flags.name, "Consumers": []}));
        services.len() - 1
    });
    let mut consumers = rows(services[place]["Consumers"].clone());
    for peer in &flags.consumer_peers {
        if !consumers.iter().any(|consumer| text(consumer, "Peer") == *peer) {
            consumers.push(json!({"Peer": peer}));
        }
    }
    services[place]["Consumers"] = Value::Array(consumers);
    write_exported(&api, &services, &index).await?;
    let peers = flags.consumer_peers.join(",");
    say(format!("Successfully exported service {:?} to cluster peers {peers:?}", flags.name))?;
    Ok(0)
}

async fn write_exported(api: &Api, services: &[Value], index: &str) -> Result<(), Failure> {
    let entry = json!({"Kind": "exported-services", "Name": "default", "Services": services});
    let doing = "Error writing config entry exported-services/default";
    let answer = api.put_json(doing, Target::new("/v1/config").pair("cas", index), &entry).await?;
    match serde_json::from_slice(&answer.body) {
        Ok(true) => Ok(()),
        _ => Err(Failure::new(Kind::Conflict, "Error! the entry was changed by somebody else meanwhile; try again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_definitions_are_written_in_any_way() {
        let definition = json!({"Name": "web", "id": "", "ADDRESS": "a"});
        assert_eq!(member(&definition, "name").as_deref(), Some("web"));
        assert_eq!(member(&definition, "id"), None);
        assert_eq!(member(&definition, "address").as_deref(), Some("a"));
    }
}

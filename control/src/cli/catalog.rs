//! `catalog`: the datacenters, nodes and services that are registered.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target, rows};
use super::failure::Failure;
use super::flags::ShapeFlag;
use super::talk::{cells, pairs, say, say_json, table, text, write};

/// Lists what is registered.
#[derive(Debug, Args)]
pub(super) struct Catalog {
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Lists the datacenters
    Datacenters(Datacenters),
    /// Lists the nodes
    Nodes(Nodes),
    /// Lists the services
    Services(Services),
}

#[derive(Debug, Args)]
struct Datacenters {
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Nodes {
    /// Only those with an instance of a service
    #[arg(long)]
    service: Option<String>,
    /// Only those with this in their metadata; several must all be there
    #[arg(long, value_name = "KEY=VALUE")]
    node_meta: Vec<String>,
    /// The nearest to this node first
    #[arg(long, value_name = "NODE")]
    near: Option<String>,
    /// With other addresses and metadata
    #[arg(long)]
    detailed: bool,
    /// Only those for which this holds
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Services {
    /// Only those on a node
    #[arg(long)]
    node: Option<String>,
    /// With the tags of each
    #[arg(long)]
    tags: bool,
    /// Only those on nodes with this in their metadata; several must all be there
    #[arg(long, value_name = "KEY=VALUE")]
    node_meta: Vec<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

/// Runs one of them.
pub(super) async fn run(catalog: Catalog) -> Ended {
    match catalog.command {
        CatalogCommand::Datacenters(datacenters) => {
            let target = Target::new("/v1/catalog/datacenters");
            let found: Vec<String> = datacenters.client.api()?.json("Error listing datacenters", target).await?;
            if datacenters.shape.json() {
                say_json(&found)?;
            } else {
                found.iter().try_for_each(say)?;
            }
        }
        CatalogCommand::Nodes(asked) => nodes(asked).await?,
        CatalogCommand::Services(asked) => services(asked).await?,
    }
    Ok(0)
}

/// Adds pairs of metadata, which the API parts by a colon.
fn with_meta(mut target: Target, pairs: &[String]) -> Result<Target, Failure> {
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::usage(format!("-node-meta is {pair:?}; KEY=VALUE is accepted")));
        };
        target = target.pair("node-meta", format!("{key}:{value}"));
    }
    Ok(target)
}

async fn nodes(asked: Nodes) -> Result<(), Failure> {
    let target = match &asked.service {
        Some(service) => Target::of("/v1/catalog/service/", service),
        None => Target::new("/v1/catalog/nodes"),
    };
    let target = with_meta(target, &asked.node_meta)?
        .maybe("near", asked.near.as_deref())
        .maybe("filter", asked.filter.as_deref());
    let mut found = rows(asked.client.api()?.json("Error listing nodes", target).await?);
    // Several instances may be on one node.
    let mut seen = std::collections::HashSet::new();
    found.retain(|row| seen.insert(text(row, "Node")));
    if asked.near.is_none() {
        found.sort_by_key(|row| text(row, "Node"));
    }
    if asked.shape.json() {
        return say_json(&found);
    }
    if found.is_empty() {
        return say("No nodes match the given query - try expanding your search");
    }
    let meta = if asked.service.is_some() { "NodeMeta" } else { "Meta" };
    let line = |row: &Value| {
        let id = text(row, "ID");
        let begin = |id: &str| vec![text(row, "Node"), id.to_owned(), text(row, "Address"), text(row, "Datacenter")];
        match asked.detailed {
            true => [begin(&id), vec![pairs(&row["TaggedAddresses"]), pairs(&row[meta])]].concat(),
            false => begin(id.split('-').next().unwrap_or_default()),
        }
    };
    let head = match asked.detailed {
        true => cells(["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]),
        false => cells(["Node", "ID", "Address", "DC"]),
    };
    write(table(&[vec![head], found.iter().map(line).collect()].concat()).as_bytes())
}

async fn services(asked: Services) -> Result<(), Failure> {
    let api = asked.client.api()?;
    let doing = "Error listing services";
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let tags = |list: &Value| rows(list.clone()).iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
    match &asked.node {
        None => {
            let target = with_meta(Target::new("/v1/catalog/services"), &asked.node_meta)?;
            let all: Value = api.json(doing, target).await?;
            found.extend(all.as_object().into_iter().flatten().map(|(name, list)| (name.clone(), tags(list))));
        }
        Some(node) => {
            let target = with_meta(Target::of("/v1/catalog/node/", node), &asked.node_meta)?;
            let all: Value = api.json(doing, target).await?;
            for row in all["Services"].as_object().into_iter().flat_map(|rows| rows.values()) {
                let (name, more): (_, Vec<String>) = (text(row, "Service"), tags(&row["Tags"]));
                match found.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => known.extend(more),
                    None => found.push((name, more)),
                }
            }
        }
    }
    for (_, tags) in &mut found {
        tags.sort();
        tags.dedup();
    }
    found.sort();
    if asked.shape.json() {
        return say_json(&found.into_iter().collect::<std::collections::BTreeMap<_, _>>());
    }
    if found.is_empty() {
        return say("No services match the given query - try expanding your search");
    }
    if !asked.tags {
        return found.iter().try_for_each(|(name, _)| say(name));
    }
    let lines: Vec<Vec<String>> = found.into_iter().map(|(name, tags)| cells([name, tags.join(",")])).collect();
    write(table(&lines).as_bytes())
}

//! `members`: who belongs to the cluster, as one agent sees it.

use clap::Args;
use regex::Regex;
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target, rows};
use super::failure::Failure;
use super::flags::ShapeFlag;
use super::talk::{cells, pairs, say_json, table, text, write};

/// What is answered when the filter leaves nobody over: not a failure of the agent, and not a success.
const NOBODY: u8 = 2;

/// Lists the members of the cluster.
#[derive(Debug, Args)]
pub(super) struct Members {
    /// With all that they say of themselves
    #[arg(long)]
    detailed: bool,
    /// Those of other datacenters as well
    #[arg(long)]
    wan: bool,
    /// Only those whose status this expression finds
    #[arg(long, default_value = ".*", value_name = "REGEX")]
    status: String,
    /// Only those of a segment
    #[arg(long)]
    segment: Option<String>,
    /// Only those for which this holds
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

/// Prints one line for each member.
pub(super) async fn run(members: Members) -> Ended {
    // The whole status must match, as Consul's does.
    let status = Regex::new(&format!("^(?:{})$", members.status));
    let status = status.map_err(|error| Failure::usage(format!("Failed to compile status regexp: {error}")))?;
    let target = Target::new("/v1/agent/members")
        .pair_if("wan", "1", members.wan)
        .maybe("segment", members.segment.as_deref())
        .maybe("filter", members.filter.as_deref());
    let mut found = rows(members.client.api()?.json("Error retrieving members", target).await?);
    found.retain(|member| status.is_match(status_word(member)));
    if found.is_empty() {
        return Ok(NOBODY);
    }
    found.sort_by_key(|member| (text(&member["Tags"], "segment"), text(member, "Name")));
    if members.shape.json() {
        say_json(&found)?;
        return Ok(0);
    }
    let lines: Vec<Vec<String>> = found.iter().map(|member| line(member, members.detailed)).collect();
    let head = match members.detailed {
        true => cells(["Node", "Address", "Status", "Tags"]),
        false => cells(["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"]),
    };
    write(table(&[vec![head], lines].concat()).as_bytes())?;
    Ok(0)
}

fn status_word(member: &Value) -> &'static str {
    match member["Status"].as_u64() {
        Some(1) => "alive",
        Some(2) => "leaving",
        Some(3) => "left",
        Some(4) => "failed",
        _ => "none",
    }
}

fn line(member: &Value, detailed: bool) -> Vec<String> {
    let tags = &member["Tags"];
    let host = text(member, "Addr");
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let begin = [text(member, "Name"), format!("{host}:{}", text(member, "Port")), status_word(member).to_owned()];
    if detailed {
        return [begin.to_vec(), vec![pairs(tags)]].concat();
    }
    let server = text(tags, "role") == "consul";
    let build = text(tags, "build");
    let filled = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
    let end = [
        if server { "server" } else { "client" }.to_owned(),
        filled(build.split(':').next().unwrap_or_default().to_owned(), "< 0.3"),
        text(tags, "vsn"),
        text(tags, "dc"),
        filled(text(tags, "ap"), "default"),
        if server { "<all>".to_owned() } else { filled(text(tags, "segment"), "<default>") },
    ];
    [begin.to_vec(), end.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_columns_that_scripts_cut() {
        let tags = json!({"role": "consul", "build": "1.22.0:abc", "vsn": "2", "dc": "dc1", "segment": ""});
        let member = json!({"Name": "n1", "Addr": "127.0.0.1", "Port": 8301, "Status": 1, "Tags": tags});
        assert_eq!(line(&member, false).join(" "), "n1 127.0.0.1:8301 alive server 1.22.0 2 dc1 default <all>");
        let member = json!({"Name": "n2", "Addr": "::1", "Port": 1, "Status": 4, "Tags": {"role": "node", "vsn": "2"}});
        assert_eq!(line(&member, false).join(" "), "n2 [::1]:1 failed client < 0.3 2  default <default>");
        assert_eq!(line(&member, true).join(" "), "n2 [::1]:1 failed role=node,vsn=2");
    }
}

//! Questions per second: health of a service of ten instances and one key by `wrk`, SRV records by `dnsperf`.
//!
//! Both load generators run on one thread, beside the server on the same processors.

use anyhow::{Context as _, Result, ensure};

use crate::Effort;
use crate::client::Connection;
use crate::needs::{output, program};
use crate::node::Node;
use crate::table::{Aim, Table};

/// Rates and the 99th percentile of some rounds.
#[derive(Default)]
struct Rounds {
    per_second: Vec<f64>,
    p99_ms: Vec<f64>,
}

pub(crate) async fn http(table: &mut Table, effort: Effort, health: bool, get: bool) -> Result<()> {
    program("wrk", "wrk")?;
    let node = Node::start().await?;
    node.register("web", 10).await?;
    let mut connection = Connection::open(node.http).await?;
    let reply = connection.put("/v1/kv/bench/key", &"v".repeat(256)).await?;
    ensure!(reply.status == 200, "{reply:?}");
    let mut asked = Vec::new();
    if health {
        asked.push(("health of 10 instances, default", "/v1/health/service/web", 36_305.0));
        asked.push(("health of 10 instances, stale", "/v1/health/service/web?stale", 45_015.0));
    }
    if get {
        asked.push(("KV get of 256 B", "/v1/kv/bench/key", 62_314.0));
    }
    let mut results: Vec<Rounds> = asked.iter().map(|_| Rounds::default()).collect();
    for _ in 0..effort.rounds {
        for ((_, path, _), rounds) in asked.iter().zip(&mut results) {
            let (per_second, p99_ms) = wrk(&node, path, effort).await?;
            rounds.per_second.push(per_second);
            rounds.p99_ms.push(p99_ms);
        }
    }
    for ((name, _, aim), rounds) in asked.into_iter().zip(results) {
        table.add(format!("{name}, 32 connections"), "1/s", rounds.per_second, Aim::AtLeast(aim));
        table.add(format!("{name}: p99"), "ms", rounds.p99_ms, Aim::None);
    }
    Ok(())
}

async fn wrk(node: &Node, path: &str, effort: Effort) -> Result<(f64, f64)> {
    let (time, url) = (format!("-d{}s", effort.time.as_secs()), format!("http://{}{path}", node.http));
    let text = output("wrk", &["-t1", "-c32", &time, "--latency", &url]).await?;
    ensure!(!text.contains("Non-2xx"), "{text}");
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        line.map(str::trim).with_context(|| format!("wrk did not print {label}: {text}"))
    };
    let rate = after("Requests/sec:")?.parse()?;
    let p99 = after("99%")?;
    let (number, scale) = match p99 {
        p99 if p99.ends_with("us") => (p99.trim_end_matches("us"), 1e-3),
        p99 if p99.ends_with("ms") => (p99.trim_end_matches("ms"), 1.0),
        p99 => (p99.trim_end_matches('s'), 1e3),
    };
    Ok((rate, number.parse::<f64>()? * scale))
}

pub(crate) async fn dns(table: &mut Table, effort: Effort) -> Result<()> {
    program("dnsperf", "dnsperf")?;
    let node = Node::start().await?;
    node.register("web", 10).await?;
    let questions = node.dir().join("questions");
    std::fs::write(&questions, "web.service.consul SRV\n")?;
    let (questions, port) = (questions.display().to_string(), node.dns.port().to_string());
    let time = effort.time.as_secs().to_string();
    let common = ["-s", "127.0.0.1", "-p", &port, "-d", &questions, "-l", &time, "-c", "8", "-q", "200"];
    let mut plain = Vec::new();
    let mut extended = Vec::new();
    for _ in 0..effort.rounds {
        plain.push(answers(&output("dnsperf", &common).await?)?);
        extended.push(answers(&output("dnsperf", &[&common[..], &["-e"]].concat()).await?)?);
    }
    table.add("SRV of 10 instances, UDP", "1/s", plain, Aim::AtLeast(55_775.0));
    table.add("SRV of 10 instances, UDP with EDNS", "1/s", extended, Aim::AtLeast(55_775.0));
    Ok(())
}

fn answers(text: &str) -> Result<f64> {
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        line.map(str::trim).with_context(|| format!("dnsperf did not print {label}: {text}"))
    };
    let codes = after("Response codes:")?;
    ensure!(codes.starts_with("NOERROR") && codes.contains("(100"), "not every answer was good: {text}");
    after("Queries per second:")?.parse().context("queries per second")
}

//! Kill -9 under load, with a hundred thousand keys in the store: how long until a default read is answered
//! again, and whether the first such read shows every write that was acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::Effort;
use crate::client::Connection;
use crate::node::Node;
use crate::puts::fill;
use crate::table::{Aim, Table};

const KEYS: usize = 100_000;
const WRITERS: usize = 16;

pub(crate) async fn measure(table: &mut Table, effort: Effort) -> Result<()> {
    let mut node = Node::start().await?;
    fill(&node, KEYS).await?;
    let (mut times, mut missed) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds.max(5) {
        let writers = write(&node).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        node.kill()?;
        let acknowledged = ends(writers).await?;
        let begun = Instant::now();
        node.start_again()?;
        node.wait_until_serving().await?;
        times.push(begun.elapsed().as_secs_f64());
        let mut connection = Connection::open(node.http).await?;
        let mut lost = 0;
        for (writer, newest) in acknowledged.into_iter().enumerate() {
            let reply = connection.get(&format!("/v1/kv/restart/{writer}?raw")).await?;
            let found: u64 = match reply.status {
                404 => 0,
                _ => std::str::from_utf8(reply.body)?.parse().context("what a writer wrote")?,
            };
            lost += u64::from(found < newest);
        }
        missed.push(lost as f64);
        let reply = connection.get("/v1/kv/fill/?keys").await?;
        let keys = reply.body.iter().filter(|byte| **byte == b',').count() + 1;
        ensure!(keys == KEYS, "{keys} of {KEYS} keys are there after a restart");
    }
    table.add("kill -9 with 100,000 keys: start to serving", "s", times, Aim::AtMost(0.5));
    table.add("acknowledged writes that a first read missed", "", missed, Aim::AtMost(0.0));
    Ok(())
}

/// Writers that count up, each in its own key, until their connection breaks.
async fn write(node: &Node) -> Result<JoinSet<(usize, u64)>> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut connection = Connection::open(node.http).await?;
        let path = format!("/v1/kv/restart/{writer}");
        let reply = connection.get(&format!("{path}?raw")).await?;
        let mut newest: u64 = match reply.status {
            200 => std::str::from_utf8(reply.body)?.parse()?,
            _ => 0,
        };
        writers.spawn(async move {
            // The connection breaks when the node is killed; what was answered before counts.
            while let Ok(reply) = connection.put(&path, &(newest + 1).to_string()).await {
                if reply.status != 200 {
                    break;
                }
                newest += 1;
            }
            (writer, newest)
        });
    }
    Ok(writers)
}

/// What each writer was told last.
async fn ends(mut writers: JoinSet<(usize, u64)>) -> Result<Vec<u64>> {
    let mut newest = vec![0; WRITERS];
    while let Some(end) = writers.join_next().await {
        let (writer, last) = end?;
        newest[writer] = last;
    }
    Ok(newest)
}

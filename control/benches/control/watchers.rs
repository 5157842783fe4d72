//! Five thousand blocked queries on one service of ten instances: what each costs while it waits, and how
//! long from a change until the last of them has its answer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::Effort;
use crate::client::Connection;
use crate::needs::resident;
use crate::node::Node;
use crate::table::{Aim, Table};

const WATCHERS: usize = 5000;

pub(crate) async fn measure(table: &mut Table, effort: Effort) -> Result<()> {
    let node = Node::start().await?;
    node.register("web", 10).await?;
    let mut index = Connection::open(node.http).await?.get("/v1/health/service/web").await?.index;
    let before = resident(node.pid())?.all;
    let mut watchers = Vec::with_capacity(WATCHERS);
    let begun = Instant::now();
    for _ in 0..WATCHERS {
        watchers.push(Connection::open(node.http).await?);
    }
    let connected = begun.elapsed().as_secs_f64();
    table.add("5,000 watchers: time to connect, one after another", "s", vec![connected], Aim::None);
    let mut writer = Connection::open(node.http).await?;
    let (mut waited, mut memory) = (Vec::new(), Vec::new());
    // One round more: the first answer of each connection is not like the rest.
    for round in 0..=effort.rounds * 3 {
        watchers = ask(watchers, index).await?;
        await_waiters(&mut writer, WATCHERS).await?;
        if round > 0 {
            memory.push((resident(node.pid())?.all.saturating_sub(before)) as f64 / WATCHERS as f64 / 1000.0);
        } else {
            let kilobytes = (resident(node.pid())?.all.saturating_sub(before)) as f64 / WATCHERS as f64 / 1000.0;
            table.add("5,000 watchers: memory each, never answered", "kB", vec![kilobytes], Aim::AtMost(20.0));
        }
        let status = if round % 2 == 0 { "critical" } else { "passing" };
        let mut answers = JoinSet::new();
        for mut watcher in watchers.drain(..) {
            answers.spawn(async move {
                let reply = watcher.answer().await?;
                let index = reply.index;
                ensure!(reply.status == 200, "{reply:?}");
                watcher.shrink();
                Ok((watcher, index))
            });
        }
        // Every task begins to wait for its socket, and the server's last work is over.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        writer.register("web", 0, status).await?;
        let seen = index;
        while let Some(answer) = answers.join_next().await {
            let (watcher, newest) = answer??;
            ensure!(newest > seen, "a watcher was answered without news");
            index = newest;
            watchers.push(watcher);
        }
        if round > 0 {
            waited.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    table.add("5,000 watchers: memory each, answered before", "kB", memory, Aim::AtMost(20.0));
    table.add("5,000 watchers: change to last answer", "ms", waited, Aim::AtMost(150.0));
    Ok(())
}

/// Sends every watcher's question.
async fn ask(watchers: Vec<Connection>, index: u64) -> Result<Vec<Connection>> {
    let path = format!("/v1/health/service/web?index={index}&wait=10m");
    let mut sent = Vec::with_capacity(watchers.len());
    for mut watcher in watchers {
        watcher.send(&path).await?;
        sent.push(watcher);
    }
    Ok(sent)
}

/// Waits until the node says that this many readers wait.
async fn await_waiters(connection: &mut Connection, wanted: usize) -> Result<()> {
    loop {
        let reply = connection.get("/metrics").await?;
        let text = String::from_utf8_lossy(reply.body);
        let waiting = text.lines().find_map(|line| line.strip_prefix("callboard_watch_waiters "));
        let waiting: usize = waiting.unwrap_or("0").trim().parse()?;
        if waiting >= wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

//! Resident memory of a durable node: idle, and with a thousand instances.

use std::time::Duration;

use anyhow::Result;

use crate::needs::resident;
use crate::node::Node;
use crate::table::{Aim, Table};

pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    let node = Node::start().await?;
    // Idle means after what a start does; its timers have run by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = resident(node.pid())? as f64 / 1e6;
    table.add("resident memory, idle", "MB", vec![idle], Aim::AtMost(15.0));
    for service in 0..100 {
        node.register(&format!("service-{service}"), 10).await?;
    }
    let full = resident(node.pid())? as f64 / 1e6;
    table.add("resident memory, 1,000 instances", "MB", vec![full], Aim::AtMost(30.0));
    Ok(())
}

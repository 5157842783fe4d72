//! Resident memory of a durable node: idle, and with a thousand instances.

use std::time::Duration;

use anyhow::Result;

use crate::needs::{Resident, resident};
use crate::node::Node;
use crate::table::{Aim, Table};

pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    let node = Node::start().await?;
    // Idle means after what a start does; its timers have run by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    add(table, "idle", &resident(node.pid())?, 15.0);
    for service in 0..100 {
        node.register(&format!("service-{service}"), 10).await?;
    }
    add(table, "1,000 instances", &resident(node.pid())?, 30.0);
    Ok(())
}

fn add(table: &mut Table, when: &str, resident: &Resident, most: f64) {
    let mut row = |what: String, bytes: u64, aim| table.add(what, "MB", vec![bytes as f64 / 1e6], aim);
    row(format!("resident memory, {when}"), resident.all, Aim::AtMost(most));
    row(format!("of it the node's own, {when}"), resident.own, Aim::None);
    row(format!("of it code and other files, {when}"), resident.files, Aim::None);
}

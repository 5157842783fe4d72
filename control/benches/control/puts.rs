//! Durable writes: KV puts of 256 bytes by 1 to 256 writers, beside etcd on the same disk in the same run.
//!
//! Each is driven in its own protocol (ours HTTP/1.1, one connection per writer; etcd's gRPC, eight
//! connections), since etcd's JSON gateway is a proxy inside it and would be unfair. What each pays in
//! processor time per write is printed for server and client apart, as the two protocols do not cost the
//! client the same.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::LocalSet;

use crate::Effort;
use crate::client::Connection;
use crate::etcd::{Channel, Etcd};
use crate::needs::{cpu, disk_floor};
use crate::node::Node;
use crate::table::{Aim, Table};

const WRITERS: [usize; 4] = [1, 16, 64, 256];
/// Keys of each writer.
const KEYS: usize = 1000;
/// etcd's own benchmark opens this many.
const CHANNELS: usize = 8;

/// What one round of one server gave.
struct Round {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_us: f64,
    client_us: f64,
}

pub(crate) async fn measure(table: &mut Table, effort: Effort) -> Result<()> {
    let node = Node::start().await?;
    let etcd = Etcd::start().await?;
    let mut floors = Vec::new();
    let mut ours: [Vec<Round>; 4] = Default::default();
    let mut theirs: [Vec<Round>; 4] = Default::default();
    for _ in 0..effort.rounds {
        floors.push(disk_floor(node.dir(), Duration::from_secs(1))?);
        for (place, &writers) in WRITERS.iter().enumerate() {
            ours[place].push(round(Server::Ours(node.http), node.pid(), writers, effort.time).await?);
            theirs[place].push(round(Server::Etcd(etcd.address()), etcd.pid(), writers, effort.time).await?);
        }
    }
    table.add("disk: 4 KiB append + fdatasync, serial", "1/s", floors, Aim::None);
    for (place, writers) in WRITERS.iter().enumerate() {
        let take = |rounds: &[Round], get: fn(&Round) -> f64| rounds.iter().map(get).collect::<Vec<_>>();
        let (ours, theirs) = (&ours[place], &theirs[place]);
        let aim = if *writers >= 16 { Aim::Times(2.0) } else { Aim::None };
        let mut row = |name: &str, unit, get: fn(&Round) -> f64, aim| {
            table.beside(format!("KV put, {writers} writers{name}"), unit, take(ours, get), take(theirs, get), aim);
        };
        row("", "1/s", |round| round.per_second, aim);
        row(": p50", "ms", |round| round.p50_ms, Aim::None);
        row(": p99", "ms", |round| round.p99_ms, Aim::None);
        row(": server CPU", "us/put", |round| round.server_us, Aim::None);
        row(": client CPU", "us/put", |round| round.client_us, Aim::None);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Server {
    Ours(SocketAddr),
    Etcd(SocketAddr),
}

async fn round(server: Server, pid: u32, writers: usize, time: Duration) -> Result<Round> {
    let stop = Rc::new(Cell::new(false));
    let tasks = LocalSet::new();
    let mut channels = Vec::new();
    if let Server::Etcd(address) = server {
        for _ in 0..CHANNELS.min(writers) {
            channels.push(Channel::open(address).await?);
        }
    }
    let mut running = Vec::new();
    for writer in 0..writers {
        let stop = stop.clone();
        let mut target = match server {
            Server::Ours(address) => Target::Ours(Connection::open(address).await?),
            Server::Etcd(_) => Target::Etcd(channels[writer % channels.len()].clone()),
        };
        running.push(tasks.spawn_local(async move {
            let value = "v".repeat(256);
            let mut times = Vec::new();
            while !stop.get() {
                let begun = Instant::now();
                target.put(&format!("bench/{writer}/{}", times.len() % KEYS), &value).await?;
                times.push(begun.elapsed());
            }
            anyhow::Ok(times)
        }));
    }
    let (begun, server_before, client_before) = (Instant::now(), cpu(pid)?, cpu(std::process::id())?);
    let mut times = tasks
        .run_until(async {
            tokio::time::sleep(time).await;
            stop.set(true);
            let mut all = Vec::new();
            for writer in running {
                all.extend(writer.await??);
            }
            anyhow::Ok(all)
        })
        .await?;
    let taken = begun.elapsed();
    ensure!(!times.is_empty(), "nothing was written");
    times.sort_unstable();
    let puts = times.len() as f64;
    let percentile = |share: f64| times[((puts * share) as usize).min(times.len() - 1)].as_secs_f64() * 1e3;
    Ok(Round {
        per_second: puts / taken.as_secs_f64(),
        p50_ms: percentile(0.5),
        p99_ms: percentile(0.99),
        server_us: (cpu(pid)?.saturating_sub(server_before)).as_secs_f64() * 1e6 / puts,
        client_us: (cpu(std::process::id())?.saturating_sub(client_before)).as_secs_f64() * 1e6 / puts,
    })
}

/// One writer's end.
enum Target {
    Ours(Connection),
    Etcd(Channel),
}

impl Target {
    async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        match self {
            Target::Ours(connection) => {
                let reply = connection.put(&format!("/v1/kv/{key}"), value).await?;
                ensure!(reply.status == 200 && reply.body.starts_with(b"true"), "{reply:?}");
                Ok(())
            }
            Target::Etcd(channel) => channel.put(key.as_bytes(), value.as_bytes()).await,
        }
    }
}

/// Writes that many keys as fast as 64 writers can, for whoever needs a full store.
pub(crate) async fn fill(node: &Node, keys: usize) -> Result<()> {
    const FILLERS: usize = 64;
    let tasks = LocalSet::new();
    let mut running = Vec::new();
    for filler in 0..FILLERS {
        let mut connection = Connection::open(node.http).await?;
        running.push(tasks.spawn_local(async move {
            let value = "v".repeat(256);
            for key in (filler..keys).step_by(FILLERS) {
                let reply = connection.put(&format!("/v1/kv/fill/{key}"), &value).await?;
                ensure!(reply.status == 200, "{reply:?}");
            }
            Ok(())
        }));
    }
    tasks
        .run_until(async {
            for filler in running {
                filler.await??;
            }
            Ok(())
        })
        .await
}

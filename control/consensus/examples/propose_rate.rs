//! Measures durable proposals per second of one node on this disk, at several numbers of proposers.
//!
//! `cargo run --release -p callboard-consensus --example propose_rate [folder] [seconds]`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use callboard_consensus::{Barrier, Committed, Machine, Options, Raft};

/// Counts, and answers with nothing.
struct Counter(u64);

impl Machine for Counter {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Vec<Vec<u8>> {
        self.0 += entries.len() as u64;
        entries.iter().map(|_| Vec::new()).collect()
    }

    fn checkpoint(&self) -> Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send> {
        let count = self.0;
        Box::new(move |to| to.write_all(&count.to_le_bytes()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut count = [0; 8];
        from.read_exact(&mut count)?;
        self.0 = u64::from_le_bytes(count);
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let scratch = tempfile::tempdir().unwrap();
    let folder = args.next().map_or_else(|| scratch.path().to_owned(), Into::into);
    let seconds = args.next().map_or(3, |text| text.parse().unwrap());
    let options = || Options { data_dir: Some(folder.clone()), ..Options::default() };
    let raft = Raft::start(options(), Counter(0), None).await.unwrap();
    println!("{:>9} {:>12} {:>10} {:>10}", "proposers", "proposals/s", "p50 us", "p99 us");
    for proposers in [1, 16, 64, 256] {
        let end = Instant::now() + Duration::from_secs(seconds);
        let tasks: Vec<_> = (0..proposers)
            .map(|_| {
                let raft = raft.clone();
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while Instant::now() < end {
                        let from = Instant::now();
                        raft.propose(vec![7; 256]).await.unwrap();
                        times.push(from.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_micros();
        println!("{proposers:>9} {:>12} {:>10} {:>10}", times.len() as u64 / seconds, at(50), at(99));
    }
    let from = Instant::now();
    for _ in 0..10_000 {
        raft.read_barrier(Barrier::Lease).await.unwrap();
    }
    println!("read barrier: {} ns", from.elapsed().as_nanos() / 10_000);
    raft.shutdown().await;
    let from = Instant::now();
    let raft = Raft::start(options(), Counter(0), None).await.unwrap();
    let status = raft.status();
    println!(
        "restart until ready: {:.1} ms, {} entries replayed",
        from.elapsed().as_secs_f64() * 1e3,
        status.applied - status.checkpoint
    );
    raft.shutdown().await;
}

//! What a selection costs in `pingora-load-balancing`: started by `cargo bench -p callboard --bench pick`, which prints the
//! lines of this beside its own. Arguments are sizes. Rounds of the policies are interleaved; the median is printed, in
//! nanoseconds that the thread had a processor.

use std::hint::black_box;

use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{Consistent, Random, RoundRobin};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 21;
const PICKS: u64 = 20_000;

type Case = (&'static str, Box<dyn Fn(&[u8])>, f64, Vec<f64>);

/// Nanoseconds this thread has had a processor.
fn busy() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn main() {
    for size in std::env::args().filter_map(|arg| arg.parse::<usize>().ok()) {
        // Its ketama takes endpoints by 16 bits.
        let addresses: Vec<String> =
            (0..size).map(|n| format!("10.{}.{}.{}:8080", n >> 16, (n >> 8) & 255, n & 255)).collect();
        let mut cases: Vec<Case> = Vec::new();
        let began = busy();
        if let Ok(balancer) = LoadBalancer::<RoundRobin>::try_from_iter(&addresses) {
            let build = (busy() - began) / 1e6;
            cases.push(("pingora rr", Box::new(move |key| drop(black_box(balancer.select(key, 256)))), build, vec![]));
        }
        let began = busy();
        if let Ok(balancer) = LoadBalancer::<Random>::try_from_iter(&addresses) {
            let build = (busy() - began) / 1e6;
            cases.push((
                "pingora random",
                Box::new(move |key| drop(black_box(balancer.select(key, 256)))),
                build,
                vec![],
            ));
        }
        let began = busy();
        if size <= usize::from(u16::MAX)
            && let Ok(balancer) = LoadBalancer::<Consistent>::try_from_iter(&addresses)
        {
            let build = (busy() - began) / 1e6;
            cases.push((
                "pingora ketama",
                Box::new(move |key| drop(black_box(balancer.select(key, 256)))),
                build,
                vec![],
            ));
        }
        for _ in 0..ROUNDS {
            for (_, select, _, rounds) in &mut cases {
                let began = busy();
                for number in 0..PICKS {
                    let key = black_box(u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
                    select(&key.to_le_bytes());
                }
                rounds.push((busy() - began) / PICKS as f64);
            }
        }
        for (name, _, build, mut rounds) in cases {
            rounds.sort_by(f64::total_cmp);
            let median = rounds[rounds.len() / 2];
            println!("{name:<20} {size:>8} {:>9} {median:>9.1} {:>9} {:>7} {build:>10.3}", "", "", "");
        }
    }
}

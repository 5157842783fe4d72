//! What a selection costs in `pingora-load-balancing`: started by `cargo bench -p callboard --bench pick`, which prints the
//! lines of this beside its own. Arguments are sizes. Rounds of the policies are interleaved; the median is printed.

use std::hint::black_box;
use std::time::Instant;

use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{Consistent, Random, RoundRobin};

const ROUNDS: usize = 21;
const PICKS: u64 = 20_000;

type Case = (&'static str, Box<dyn Fn(&[u8])>, f64, Vec<f64>);

fn main() {
    for size in std::env::args().filter_map(|arg| arg.parse::<usize>().ok()) {
        // Its ketama takes endpoints by 16 bits.
        let addresses: Vec<String> =
            (0..size).map(|n| format!("10.{}.{}.{}:8080", n >> 16, (n >> 8) & 255, n & 255)).collect();
        let mut cases: Vec<Case> = Vec::new();
        let began = Instant::now();
        if let Ok(balancer) = LoadBalancer::<RoundRobin>::try_from_iter(&addresses) {
            let build = began.elapsed().as_secs_f64() * 1e3;
            cases.push(("pingora rr", Box::new(move |key| drop(black_box(balancer.select(key, 256)))), build, vec![]));
        }
        let began = Instant::now();
        if let Ok(balancer) = LoadBalancer::<Random>::try_from_iter(&addresses) {
            let build = began.elapsed().as_secs_f64() * 1e3;
            cases.push(("pingora random", Box::new(move |key| drop(black_box(balancer.select(key, 256)))), build, vec![]));
        }
        let began = Instant::now();
        if size <= usize::from(u16::MAX)
            && let Ok(balancer) = LoadBalancer::<Consistent>::try_from_iter(&addresses)
        {
            let build = began.elapsed().as_secs_f64() * 1e3;
            cases.push(("pingora ketama", Box::new(move |key| drop(black_box(balancer.select(key, 256)))), build, vec![]));
        }
        for _ in 0..ROUNDS {
            for (_, select, _, rounds) in &mut cases {
                let began = Instant::now();
                for number in 0..PICKS {
                    let key = black_box(u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
                    select(&key.to_le_bytes());
                }
                rounds.push(began.elapsed().as_nanos() as f64 / PICKS as f64);
            }
        }
        for (name, _, build, mut rounds) in cases {
            rounds.sort_by(f64::total_cmp);
            let median = rounds[rounds.len() / 2];
            println!("{name:<20} {size:>8} {:>9} {median:>9.1} {:>9} {:>7} {build:>10.3}", "", "", "");
        }
    }
}

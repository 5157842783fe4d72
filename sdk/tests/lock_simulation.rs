//! Contenders for one lock under faults that a seed chooses: what the guide promises, looked at whenever anybody holds.
//!
//! Each contender has a server of its own name, so that faults part one from the registry and not the others. Time is
//! paused, so one seed is one run. `CALLBOARD_SEED` runs a seed again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::lock::{Locked, SessionSettings};
use callboard::testing::{Fault, Registry};
use callboard::{Client, Error};
use parking_lot::Mutex;
use tokio::time::Instant;

const KEY: &str = "jobs/nightly";
const CONTENDERS: usize = 3;
const TTL: Duration = Duration::from_secs(15);

/// What everybody sees of everybody.
#[derive(Default)]
struct Stage {
    holders: BTreeMap<usize, Arc<Locked>>,
    tokens: Vec<u64>,
    /// What the lock protects: refuses tokens lower than the highest it has seen.
    highest: u64,
    refused: usize,
    holds: usize,
    losses: usize,
}

impl Stage {
    fn enter(&mut self, who: usize, held: &Arc<Locked>) {
        let token = held.token().as_u64();
        assert!(self.tokens.last().is_none_or(|last| token > *last), "token {token} after {:?}", self.tokens);
        self.tokens.push(token);
        self.holds += 1;
        self.holders.insert(who, Arc::clone(held));
        self.look();
    }

    /// At most one contender is told that it holds.
    fn look(&self) {
        let sure: Vec<&usize> = self.holders.iter().filter(|(_, held)| held.is_held()).map(|(who, _)| who).collect();
        assert!(sure.len() <= 1, "{sure:?} hold at once");
    }

    fn write(&mut self, token: u64) {
        if token < self.highest {
            self.refused += 1;
        } else {
            self.highest = token;
        }
    }
}

async fn contend(client: Client, who: usize, delay: Duration, stage: Arc<Mutex<Stage>>, mut dice: fastrand::Rng) {
    let settings = SessionSettings { ttl: TTL, lock_delay: delay, ..SessionSettings::default() };
    let lock = client.lock(KEY).value(who.to_string()).session(settings);
    loop {
        let held = match lock.acquire_within(Duration::from_secs(300)).await {
            Ok(held) => Arc::new(held),
            Err(Error::NotLocked { .. }) => continue,
            Err(error) => panic!("contender {who}: {error}"),
        };
        stage.lock().enter(who, &held);
        let until = Instant::now() + Duration::from_millis(dice.u64(0..60_000));
        while Instant::now() < until && held.is_held() {
            {
                let mut stage = stage.lock();
                stage.look();
                stage.write(held.token().as_u64());
            }
            tokio::select! {
                cause = held.lost() => {
                    assert!(!held.is_held(), "{cause:?} is told, and it is not held");
                    stage.lock().losses += 1;
                }
                () = tokio::time::sleep(Duration::from_millis(dice.u64(1..2_000))) => {}
            }
        }
        stage.lock().holders.remove(&who);
        let held = Arc::into_inner(held).expect("the stage let go of it");
        if dice.bool() {
            // The registry may not be told; the session ends all the same.
            let _told = held.release().await;
        } else {
            drop(held);
        }
        tokio::time::sleep(Duration::from_millis(dice.u64(0..5_000))).await;
    }
}

/// Breaks one contender's way for a while. With a lock delay the holder's session may be ended as well: the delay is what
/// keeps others out until a holder who cannot be told has found it out by its own clock.
async fn disturb(registry: &Registry, stage: &Mutex<Stage>, delay: Duration, dice: &mut fastrand::Rng) {
    let (who, time) = (dice.usize(..CONTENDERS), Duration::from_millis(dice.u64(0..40_000)));
    let server = format!("s{who}");
    let path = ["/", "/v1/session", "/v1/kv", "PUT /", "GET /"][dice.usize(..5)];
    let fault = match dice.u8(0..8) {
        0 => Fault::Close,
        1 => Fault::Cut,
        2 => Fault::Hang,
        3 => Fault::Status(500, "No cluster leader"),
        4 => Fault::Status(429, "slow down"),
        5 => Fault::Slow(Duration::from_millis(dice.u64(0..6_000))),
        6 => Fault::Lag,
        _ if delay.is_zero() => Fault::Hasty,
        _ => {
            let holder = registry.look(|state| state.key(KEY).map(|row| row.session.to_string()));
            registry.change(|state| state.end_session(&holder.unwrap_or_default()));
            Fault::Hasty
        }
    };
    registry.fault(&server, path, fault);
    tokio::time::sleep(time).await;
    let parted = path == "/" && matches!(fault, Fault::Close | Fault::Hang | Fault::Status(..));
    if let (true, Some(held)) = (parted && time >= TTL, stage.lock().holders.get(&who)) {
        assert!(!held.is_held(), "parted for {time:?} and not told: {fault:?}");
    }
    registry.heal_server(&server);
    tokio::time::sleep(Duration::from_millis(dice.u64(0..20_000))).await;
}

async fn run(seed: u64) -> (usize, usize, usize) {
    let mut dice = fastrand::Rng::with_seed(seed);
    // Without a delay the next may hold at the moment at which the TTL is over, and not a second later.
    let delay = if dice.bool() { Duration::ZERO } else { TTL };
    let registry = Registry::start();
    let stage = Arc::new(Mutex::new(Stage::default()));
    let clients: Vec<Client> = (0..CONTENDERS)
        .map(|who| {
            Client::builder().server(format!("s{who}:1")).dialer(registry.dialer()).build().expect("the settings hold")
        })
        .collect();
    let mut contenders = tokio::task::JoinSet::new();
    for (who, client) in clients.iter().enumerate() {
        contenders.spawn(contend(client.clone(), who, delay, stage.clone(), dice.fork()));
    }
    let end = Instant::now() + Duration::from_secs(1800);
    while Instant::now() < end {
        tokio::select! {
            () = disturb(&registry, &stage, delay, &mut dice) => {}
            ended = contenders.join_next() => panic!("seed {seed}: {ended:?}"),
        }
    }
    registry.heal();
    let before = stage.lock().holds;
    tokio::time::sleep(Duration::from_secs(600)).await;
    if let Some(ended) = contenders.try_join_next() {
        panic!("seed {seed}: {ended:?}");
    }
    contenders.shutdown().await;
    let stage = stage.lock();
    assert!(stage.holds > before, "seed {seed}: nobody holds although nothing is broken");
    assert_eq!(stage.refused, 0, "seed {seed}: a holder wrote after a later one");
    (stage.holds, stage.losses, registry.count("acquire="))
}

#[test]
fn tokens_grow_and_nobody_holds_beside_another() {
    let given = std::env::var("CALLBOARD_SEED").ok().and_then(|text| text.parse().ok());
    let seeds: Vec<u64> = given.map_or_else(|| (0..3).chain([fastrand::u64(..)]).collect(), |seed| vec![seed]);
    let (mut holds, mut losses) = (0, 0);
    for seed in seeds {
        println!("seed: {seed}");
        // The jitter of waits comes from the thread's dice.
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let seen = runtime.block_on(run(seed));
        (holds, losses) = (holds + seen.0, losses + seen.1);
    }
    println!("figure: {holds} holds, {losses} of them lost under faults");
    assert!(holds > 20 && losses > 0, "{holds} holds, {losses} losses: too little was tried");
}

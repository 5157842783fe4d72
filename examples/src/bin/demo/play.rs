//! The order of events: calls all the time, one instance killed after a third of it, another joins after two thirds.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard::endpoint::Health;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::dead::Dead;
use crate::screen::{Joined, Report, RowShown, Screen};
use crate::stage::{FIRST, NEW, Open, Stage};
use crate::tally::{Counts, Tally};
use crate::{Error, Flags, load};

/// When the two events are if the demo runs until it is told to end.
const EVENTS_OPEN_ENDED: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(20)];

/// Runs until the time is over or `told` is; says whether no call failed.
pub(crate) async fn run(stage: &mut Stage, flags: &Flags, told: impl Future<Output = ()>) -> Result<bool, Error> {
    let open = stage.ways()?;
    let mut screen = Screen::new(&open.control, flags.run_for);
    let tally = Arc::new(Tally::default());
    let stop = CancellationToken::new();
    let _stop_on_error = stop.clone().drop_guard();
    let mut callers = load::start(&open, flags.callers, flags.every, &tally, &stop)?;

    let started = Instant::now();
    let events = flags.run_for.map_or(EVENTS_OPEN_ENDED, |time| [time / 3, time * 2 / 3]);
    let (mut dead, mut joined) = (None, None);
    let mut tick = interval(screen.pace());
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = pin!(told);
    let mut over = pin!(async {
        match flags.run_for {
            Some(time) => sleep_until((started + time).into()).await,
            None => pending().await,
        }
    });
    loop {
        tokio::select! {
            () = &mut told => break,
            () = &mut over => break,
            () = sleep_until((started + events[0]).into()), if dead.is_none() => {
                dead = Some(kill(stage, &open, &stop).await?);
                screen.say(&format!("{} was killed with SIGKILL", FIRST[0]))?;
            }
            () = sleep_until((started + events[1]).into()), if joined.is_none() => {
                let begun = Instant::now();
                stage.instance(NEW, &open.control).await?;
                joined = Some(Joined { begun, signed_in: Instant::now() });
                screen.say(&format!("{NEW} has joined"))?;
            }
            _ = tick.tick() => {
                alive(stage)?;
                screen.draw(started.elapsed(), &rows(stage, &open, &tally.counts()), &tally.counts())?;
            }
        }
    }

    let ran_for = started.elapsed();
    stop.cancel();
    while callers.join_next().await.is_some() {}
    let counts = tally.counts();
    screen.draw(ran_for, &rows(stage, &open, &counts), &counts)?;
    let afterlife = dead.map(|dead| dead.seen());
    screen.report(&Report { ran_for, counts: &counts, afterlife, joined })?;
    Ok(counts.failed_in_all() == 0 && counts.made.iter().all(|made| *made > 0))
}

async fn kill(stage: &mut Stage, open: &Open, stop: &CancellationToken) -> Result<Dead, Error> {
    let snapshot = open.watch.snapshot();
    let member = snapshot.members().iter().find(|member| member.endpoint().id() == FIRST[0]);
    let member = Arc::clone(member.ok_or("the instance to be killed is not in the catalog")?);
    let before = member.stats().calls();
    let killed = stage.kill(FIRST[0]).await?;
    Ok(Dead::watch(open.clone(), member, before, killed, stop.clone()))
}

/// Makes sure that only who was killed is dead.
fn alive(stage: &mut Stage) -> Result<(), Error> {
    for name in ["control", "sidecar"].into_iter().chain(FIRST.into_iter().skip(1)) {
        if stage.state(name).is_some_and(|(_, alive)| !alive) {
            return Err(format!("{name} ended by itself").into());
        }
    }
    Ok(())
}

fn rows(stage: &mut Stage, open: &Open, counts: &Counts) -> Vec<RowShown> {
    let snapshot = open.watch.snapshot();
    let mut rows = Vec::new();
    for id in FIRST.into_iter().chain([NEW]) {
        let Some((started, alive)) = stage.state(id) else { continue };
        let member = snapshot.members().iter().find(|member| member.endpoint().id() == id);
        let registry = match member.map(|member| member.endpoint().health()) {
            Some(Health::Passing) => "passing",
            Some(Health::Warning) => "warning",
            Some(Health::Critical) => "critical",
            None => "not listed",
        };
        let calls = counts.instances.get(id).map_or([0, 0], |row| row.calls);
        let process = if alive { "running" } else { "killed" };
        rows.push(RowShown { id, calls, registry, process, age: started.elapsed() });
    }
    rows
}

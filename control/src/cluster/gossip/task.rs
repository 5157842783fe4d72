//! The one task that runs gossip: datagrams and timers go into foca, and what comes out is sent, scheduled or noted.
//!
//! foca decides who is up; this file owns its clock and its socket, keeps the roll, and says and hears words. Timers
//! are given back in the order in which they are due, which foca asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use callboard_proto::coordinate::Coordinate;
use foca::{AccumulatingRuntime, Foca, Member as FocaMember, OwnedNotification, PostcardCodec, Timer};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::GossipOptions;
use super::card::Card;
use super::exchange::Knowledge;
use super::keyring::Keyring;
use super::locate::{Heard, Locator};
use super::roll::{MemberStatus, Roll};
use super::settings::{Dice, config};
use super::words::{Ear, Spoken, Word};

/// What kind of datagram it is.
const GOSSIP: u8 = 1;
const LOCATE: u8 = 2;
/// How often a member is asked for its place, one after the other at random.
const LOCATE_EVERY: Duration = Duration::from_secs(1);
/// How long a member that was told to leave waits before it says that it stays, so that the order can be seen.
const STAY_AFTER: Duration = Duration::from_secs(1);
/// How often members that are gone for long are looked for.
const REAP_EVERY: Duration = Duration::from_secs(60);

/// What the task is asked to do.
pub(super) enum Order {
    /// Tells what is known.
    Tell(oneshot::Sender<Knowledge>),
    /// Takes over what another node knows, and tells what is known then.
    Merge(Box<Knowledge>, oneshot::Sender<Result<Knowledge, String>>),
    /// Tells a word to everyone.
    Say(Word),
    /// Says that this member is about to leave.
    AnnounceLeave(oneshot::Sender<()>),
    /// Declares this member gone.
    Leave(oneshot::Sender<()>),
}

/// Where the task tells what it finds out.
pub(super) struct News {
    pub(super) roll: watch::Sender<Arc<Roll>>,
    pub(super) events: mpsc::Sender<Spoken>,
    pub(super) place: watch::Sender<Coordinate>,
}

pub(super) struct Task {
    foca: Foca<Card, PostcardCodec, Dice, Ear>,
    runtime: AccumulatingRuntime<Card>,
    timers: BTreeMap<(Instant, u64), Timer<Card>>,
    scheduled: u64,
    socket: Arc<UdpSocket>,
    keyring: Arc<Keyring>,
    ear: Ear,
    roll: Roll,
    /// Members to be forgotten as soon as they are gone.
    prune: Vec<String>,
    news: News,
    /// Finds where this node is; none if that is not wanted.
    locator: Option<Locator>,
    /// What is to be sent besides foca's packets.
    letters: Vec<(SocketAddr, Vec<u8>)>,
    /// When to say that this member stays.
    stay: Option<Instant>,
    leaving: bool,
    size: usize,
    /// How long a failed member is remembered; then it is taken to be gone for good.
    failed_kept: Duration,
}

impl Task {
    pub(super) fn new(
        card: Card,
        socket: Arc<UdpSocket>,
        keyring: Arc<Keyring>,
        news: News,
        options: GossipOptions,
    ) -> Task {
        let ear = Ear::default();
        let mut roll = Roll::default();
        roll.up(&card, StdInstant::now());
        let foca = Foca::with_custom_broadcast(card, config(1), Dice, PostcardCodec, ear.clone());
        let runtime = AccumulatingRuntime::new();
        let task = Task {
            foca,
            runtime,
            timers: BTreeMap::new(),
            scheduled: 0,
            socket,
            keyring,
            ear,
            roll,
            prune: Vec::new(),
            news,
            locator: options.locates.then(|| Locator::new(fastrand::Rng::new())),
            letters: Vec::new(),
            stay: None,
            leaving: false,
            size: 1,
            failed_kept: options.failed_kept,
        };
        task.publish();
        task
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
        let mut datagram = vec![0; 64 * 1024];
        let mut reaping = tokio::time::interval(REAP_EVERY);
        let mut locating = tokio::time::interval(LOCATE_EVERY);
        locating.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let socket = self.socket.clone();
        loop {
            let due = self.timers.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                () = stop.cancelled() => return,
                received = socket.recv_from(&mut datagram) => match received {
                    Ok((length, from)) => self.receive(&datagram[..length], from),
                    // An earlier packet found nobody, mostly; there is nothing to be done about it here.
                    Err(error) => debug!(error = &error as &dyn std::error::Error, "receiving gossip failed"),
                },
                () = sleep_until(due) => self.fire(),
                () = sleep_until(self.stay) => {
                    self.stay = None;
                    self.say(Word::Stay { name: self.foca.identity().name.clone() });
                }
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                _ = locating.tick() => self.locate(),
                _ = reaping.tick() => if self.roll.reap(self.failed_kept, StdInstant::now()) {
                    self.publish();
                },
            }
            self.settle().await;
        }
    }

    fn receive(&mut self, datagram: &[u8], from: SocketAddr) {
        let Some(plain) = self.keyring.open_sealed(datagram) else {
            debug!(%from, "a datagram under no key of ours was dropped");
            return;
        };
        let result = match plain.split_first() {
            Some((&GOSSIP, rest)) => self.foca.handle_data(rest, &mut self.runtime),
            Some((&LOCATE, rest)) => {
                match self.locator.as_mut().map_or(Heard::Nothing, |locator| locator.hear(rest, StdInstant::now())) {
                    Heard::Reply(reply) => self.letters.push((from, reply)),
                    Heard::Moved(place) => {
                        self.news.place.send_replace(place);
                    }
                    Heard::Nothing => {}
                }
                return;
            }
            _ => return,
        };
        if let Err(error) = result {
            debug!(error = &error as &dyn std::error::Error, %from, "gossip was not understood");
        }
    }

    /// Asks a member for its place, to learn how far it is.
    fn locate(&mut self) {
        let Some(locator) = &mut self.locator else { return };
        let others: Vec<&Card> = self.foca.iter_members().map(|member| member.id()).collect();
        let Some(member) = fastrand::choice(others) else { return };
        if let Some(ask) = locator.ask(&member.folded(), StdInstant::now()) {
            self.letters.push((member.gossip, ask));
        }
    }

    fn fire(&mut self) {
        let now = Instant::now();
        while self.timers.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let Some((_, timer)) = self.timers.pop_first() else { break };
            if let Err(error) = self.foca.handle_timer(timer, &mut self.runtime) {
                debug!(error = &error as &dyn std::error::Error, "a gossip timer came out of turn");
            }
            self.schedule();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Tell(answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(self.tell());
            }
            Order::Merge(knowledge, answer) => {
                let merged = self.merge(*knowledge).map(|()| self.tell());
                let _ = answer.send(merged);
            }
            Order::Say(word) => self.say(word),
            Order::AnnounceLeave(answer) => {
                self.leaving = true;
                let me = self.foca.identity();
                let (name, incarnation) = (me.name.clone(), me.incarnation);
                self.say(Word::Leave { name, incarnation, prune: false });
                let _ = answer.send(());
            }
            Order::Leave(answer) => {
                for result in [self.foca.gossip(&mut self.runtime), self.foca.leave_cluster(&mut self.runtime)] {
                    if let Err(error) = result {
                        warn!(error = &error as &dyn std::error::Error, "saying that we leave failed");
                    }
                }
                let _ = answer.send(());
            }
        }
    }

    fn tell(&self) -> Knowledge {
        let me = self.foca.identity().clone();
        let mut members: Vec<_> = self.foca.iter_membership_state().cloned().collect();
        if !self.leaving {
            members.push(FocaMember::alive(me.clone()));
        }
        Knowledge { me, members, rows: self.roll.rows(), time: self.ear.time(), events: self.ear.events() }
    }

    fn merge(&mut self, knowledge: Knowledge) -> Result<(), String> {
        let Knowledge { me: teller, members, rows, time, events } = knowledge;
        let own = self.foca.identity();
        if teller.datacenter != own.datacenter {
            return Err(format!(
                "member {} is in datacenter {}, not {}",
                teller.name, teller.datacenter, own.datacenter
            ));
        }
        let namesake = if teller.folded() == own.folded() {
            Some(own)
        } else {
            self.roll.get(&teller.name).filter(|known| known.is_up()).map(|known| &known.card)
        };
        if let Some(known) = namesake.filter(|known| known.raft_id != teller.raft_id && known.gossip != teller.gossip) {
            return Err(format!("there is a member named {} at {} already", known.name, known.gossip));
        }
        if self.roll.len() == 1 {
            self.ear.meet(time);
        }
        self.ear.witness(time);
        self.ear.catch_up(events);
        self.roll.merge(rows, StdInstant::now());
        let merged = self.foca.apply_many(members.into_iter(), true, &mut self.runtime);
        self.note();
        self.publish();
        merged.map_err(|error| format!("the member list was not understood: {error}"))
    }

    /// Tells a word to everyone, ourselves first.
    fn say(&mut self, word: Word) {
        let spoken = self.ear.date(word).encode();
        if self.foca.num_members() == 0 {
            self.ear.hear(&spoken);
            return;
        }
        let told = self.foca.add_broadcast(&spoken).and_then(|_| self.foca.gossip(&mut self.runtime));
        if let Err(error) = told {
            warn!(error = &error as &dyn std::error::Error, "a word could not be told");
        }
    }

    /// Notes what foca and the ear found out.
    fn note(&mut self) {
        let now = StdInstant::now();
        let mut changed = false;
        while let Some(news) = self.runtime.to_notify() {
            changed = true;
            match news {
                OwnedNotification::MemberUp(card) => {
                    info!(member = card.name, address = %card.gossip, "member is up");
                    self.roll.up(&card, now);
                }
                OwnedNotification::MemberDown(card) => {
                    self.roll.down(&card, now);
                    if let Some(locator) = &mut self.locator {
                        locator.forget(&card.folded());
                    }
                    let status = self.roll.get(&card.name).map(|member| member.status.as_str());
                    info!(member = card.name, status, "member is down");
                }
                OwnedNotification::Rename(before, after) => self.roll.renamed(&before, &after, now),
                OwnedNotification::Rejoin(card) => {
                    info!("others took this member to be gone; it said that it is not");
                    self.roll.up(&card, now);
                }
                OwnedNotification::Active | OwnedNotification::Idle => {}
                OwnedNotification::Defunct => debug!("this member is taken to be gone"),
            }
        }
        for spoken in self.ear.take() {
            changed |= self.hear(spoken, now);
        }
        let roll = &mut self.roll;
        self.prune.retain(|name| {
            let gone = roll.get(name).is_none_or(|member| member.status == MemberStatus::Left);
            if gone {
                roll.forget(name);
            }
            !gone
        });
        if changed {
            self.publish();
        }
    }

    fn hear(&mut self, spoken: Spoken, now: StdInstant) -> bool {
        match spoken.word {
            Word::Leave { name, incarnation, prune } => {
                self.roll.leave(&name, incarnation, now);
                if prune && self.prune.len() < 1024 {
                    self.prune.push(name.clone());
                }
                let me = self.foca.identity();
                if !self.leaving && name.eq_ignore_ascii_case(&me.name) && incarnation >= me.incarnation {
                    info!("somebody told this member to leave; it stays");
                    self.prune.retain(|pruned| !pruned.eq_ignore_ascii_case(&name));
                    self.stay = Some(Instant::now() + STAY_AFTER);
                }
                true
            }
            Word::Stay { name } => {
                self.roll.stay(&name, now);
                self.prune.retain(|pruned| !pruned.eq_ignore_ascii_case(&name));
                true
            }
            Word::Event(_) => {
                if self.news.events.try_send(spoken).is_err() {
                    warn!("a user event was dropped: too many wait");
                }
                false
            }
        }
    }

    fn publish(&self) {
        self.news.roll.send_if_modified(|published| {
            let changed = **published != self.roll;
            if changed {
                *published = Arc::new(self.roll.clone());
            }
            changed
        });
    }

    fn schedule(&mut self) {
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.scheduled += 1;
            self.timers.insert((Instant::now() + after, self.scheduled), timer);
        }
    }

    /// Carries out what foca asked for, and fits its settings to the size of the cluster.
    async fn settle(&mut self) {
        self.note();
        self.schedule();
        let size = self.foca.num_members() + 1;
        if size != self.size {
            self.size = size;
            if let Err(error) = self.foca.set_config(config(size)) {
                warn!(error = &error as &dyn std::error::Error, "gossip keeps its old settings");
            }
        }
        // First, because their time is measured.
        for (to, letter) in std::mem::take(&mut self.letters) {
            self.send(LOCATE, &letter, to).await;
        }
        while let Some((to, packet)) = self.runtime.to_send() {
            self.send(GOSSIP, &packet, to.gossip).await;
        }
    }

    async fn send(&self, kind: u8, packet: &[u8], to: SocketAddr) {
        let mut plain = Vec::with_capacity(packet.len() + 1);
        plain.push(kind);
        plain.extend_from_slice(packet);
        let sealed = self.keyring.seal(&plain);
        if let Err(error) = self.socket.send_to(&sealed, to).await {
            debug!(error = &error as &dyn std::error::Error, %to, "sending gossip failed");
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

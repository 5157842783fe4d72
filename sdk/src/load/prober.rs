//! Asks the endpoints of one service how busy they are, as often as its calls need it, beside the calls.
//!
//! One task and at most two sockets (IPv4, IPv6) per service. It sleeps while nothing is called, is woken by the first
//! pick, and then sends what [`Schedule`] says is due within the process's [`ProbeBudget`]: to endpoints drawn by
//! weight, one probe at a time each. A reply counts when its nonce and sender are those of a probe that is still
//! waited for. An endpoint that advertises a port and does not answer there is entered with what this process
//! measured itself, or it would never be chosen.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;

use super::packet::{PACKET_LEN, Packet};
use super::schedule::{ProbeBudget, Schedule};
use crate::balance::{Balancer, Policy, Targets};
use crate::catalog::Member;
use crate::endpoint::{Load, Replies};

/// Probes that are waited for at once. A nonce's lowest bits name the place.
const OUTSTANDING_MAX: usize = 64;
/// Between two looks at what is due while calls are made.
const ROUND: Duration = Duration::from_millis(1);
/// Between two looks at whether the endpoints changed while none are.
const REST: Duration = Duration::from_secs(1);
/// Probes in a row without an answer after which an endpoint is taken to be mute.
const UNANSWERED_MAX: u32 = 3;

/// Holds the settings of a prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProberSettings {
    /// How long a reply is waited for; later ones are ignored. More than the paper's 3 ms, so that peers in another
    /// zone and a reader that was held up do not look mute.
    pub timeout: Duration,
}

impl Default for ProberSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(20) }
    }
}

/// Probes for one balancer; nothing happens but in [`Self::run`].
#[derive(Debug)]
pub struct Prober {
    balancer: Balancer,
    replies: Arc<Replies>,
    settings: ProberSettings,
    budget: Arc<ProbeBudget>,
    schedule: Schedule,
    woken: Arc<Woken>,
    sockets: [Option<UdpSocket>; 2],
    waiting: Vec<Option<Waiting>>,
    unanswered: HashMap<usize, u32>,
}

/// A probe whose reply is waited for.
#[derive(Debug)]
struct Waiting {
    nonce: u64,
    to: SocketAddr,
    position: usize,
    member: Arc<Member>,
    until: Instant,
}

#[derive(Debug, Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Prober {
    /// Builds the prober of a balancer's service; none when its policy wants no replies, or another prober of the same
    /// service lives.
    #[must_use]
    pub fn new(balancer: Balancer, settings: ProberSettings, budget: Arc<ProbeBudget>) -> Option<Self> {
        let Policy::Prequal { probes } = *balancer.policy() else { return None };
        let replies = Arc::clone(balancer.snapshot().replies());
        let woken = Arc::<Woken>::default();
        if !replies.employ(&Waker::from(Arc::clone(&woken))) {
            return None;
        }
        Some(Self {
            balancer,
            replies,
            settings,
            budget,
            schedule: Schedule::new(probes),
            woken,
            sockets: [None, None],
            waiting: (0..OUTSTANDING_MAX).map(|_| None).collect(),
            unanswered: HashMap::new(),
        })
    }

    /// Probes for ever; to end it, drop the future. Must run within a tokio runtime.
    pub async fn run(mut self) {
        let mut targets = None;
        let mut generation = None;
        loop {
            let snapshot = self.balancer.snapshot();
            if generation.replace(snapshot.generation()) != Some(snapshot.generation()) {
                targets = self.balancer.targets();
                // Positions may have become others'.
                self.unanswered.clear();
            }
            let idle = match &targets {
                None => true,
                Some(targets) => self.round(targets).await,
            };
            let pause = if idle { REST } else { ROUND };
            let woken = Arc::clone(&self.woken);
            tokio::select! {
                () = woken.0.notified(), if idle => {}
                () = readable(&self.sockets) => self.receive(),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sends what is due; true when nothing is, and nothing is waited for.
    async fn round(&mut self, targets: &Targets) -> bool {
        self.expire();
        let (picks, noted) = (self.replies.picks(), self.replies.noted());
        let due = self.schedule.due(picks, noted);
        let granted = self.budget.take(due);
        for _ in 0..granted {
            if let Some((position, port)) = targets.draw(fastrand::u64(..)) {
                self.ask(targets, position, port).await;
            }
        }
        self.schedule.sent(granted, picks, noted);
        granted == due && self.waiting.iter().all(Option::is_none) && self.replies.sleep(picks)
    }

    async fn ask(&mut self, targets: &Targets, position: usize, port: u16) {
        let asked = self.waiting.iter().flatten().any(|waiting| waiting.position == position);
        let Some(place) = self.waiting.iter().position(Option::is_none) else { return };
        let Some(member) = targets.snapshot().member(position).filter(|_| !asked) else { return };
        let Some(host) = member.endpoint().socket() else { return };
        let to = SocketAddr::new(host.ip(), port);
        let nonce = fastrand::u64(..) / OUTSTANDING_MAX as u64 * OUTSTANDING_MAX as u64 + place as u64;
        let member = Arc::clone(member);
        let until = Instant::now() + self.settings.timeout;
        if let Err(error) = self.send(nonce, to).await {
            // Waited for all the same: it is one that brought no answer.
            debug!(%to, %error, "a probe could not be sent");
        }
        self.waiting[place] = Some(Waiting { nonce, to, position, member, until });
    }

    async fn send(&mut self, nonce: u64, to: SocketAddr) -> io::Result<()> {
        let socket = &mut self.sockets[usize::from(to.is_ipv6())];
        let socket = match socket {
            Some(socket) => socket,
            None => {
                let any: IpAddr =
                    if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                socket.insert(UdpSocket::bind((any, 0)).await?)
            }
        };
        socket.send_to(&Packet::Ask { nonce }.bytes(), to).await.map(drop)
    }

    fn receive(&mut self) {
        let mut bytes = [0; PACKET_LEN + 1];
        for family in 0..self.sockets.len() {
            // No more than can be waited for, so that strangers' packets cannot keep the task here.
            for _ in 0..OUTSTANDING_MAX {
                let Some(socket) = &self.sockets[family] else { break };
                match socket.try_recv_from(&mut bytes) {
                    Ok((len, from)) => self.hear(&bytes[..len], from),
                    Err(_) => break,
                }
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], from: SocketAddr) {
        let Some(Packet::Reply { nonce, load }) = Packet::read(bytes) else { return };
        let slot = &mut self.waiting[nonce as usize % OUTSTANDING_MAX];
        let Some(waiting) = slot.take_if(|waiting| waiting.nonce == nonce && waiting.to == from) else { return };
        if Instant::now() > waiting.until {
            self.missed(&waiting);
            return;
        }
        self.unanswered.remove(&waiting.position);
        let stats = waiting.member.stats();
        self.replies.note(waiting.position, stats, load, stats.clock().exact());
        self.schedule.replied();
    }

    fn expire(&mut self) {
        let now = Instant::now();
        for place in 0..self.waiting.len() {
            if let Some(waiting) = self.waiting[place].take_if(|waiting| now > waiting.until) {
                self.missed(&waiting);
            }
        }
    }

    fn missed(&mut self, waiting: &Waiting) {
        let unanswered = self.unanswered.entry(waiting.position).or_default();
        *unanswered = unanswered.saturating_add(1);
        if *unanswered >= UNANSWERED_MAX {
            let stats = waiting.member.stats();
            let in_flight = u32::try_from(stats.in_flight()).unwrap_or(u32::MAX);
            let load = Load { in_flight, latency: stats.latency().average() as u32 };
            self.replies.stand_in(waiting.position, stats, load, stats.clock().exact());
            self.schedule.replied();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.replies.dismiss();
    }
}

/// Waits until one of the sockets has something.
async fn readable(sockets: &[Option<UdpSocket>; 2]) {
    async fn one(socket: &Option<UdpSocket>) {
        match socket {
            Some(socket) if socket.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }
    tokio::select! {
        () = one(&sockets[0]) => {}
        () = one(&sockets[1]) => {}
    }
}

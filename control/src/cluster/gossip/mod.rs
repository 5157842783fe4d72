//! Membership by gossip: who is there, who is gone, and words to all.
//!
//! SWIM (Das et al. 2002) as foca implements it, over UDP, with whole lists over TCP when two nodes meet. Nothing that
//! must be kept travels this way. On the way it is measured how far the others are, which tells where this node is.
//! [`Gossip`] is the handle; no type of foca passes it.

mod again;
mod card;
mod exchange;
mod keyring;
mod locate;
mod roll;
mod settings;
mod task;
mod vivaldi;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::coordinate::Coordinate;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use card::{Card, MemberRole};
pub use exchange::KeyAct;
pub use keyring::{KeyError, Keyring, KeyringOptions};
pub use roll::{Member, MemberStatus, Roll};
pub use words::{Spoken, WORD_MAX, Word};

use exchange::{Answer, Ask};
use task::{News, Order, Task};

/// How many orders may wait; whoever gives one waits beyond that.
const ORDERS_MAX: usize = 256;
/// How many user events may wait to be read; further ones are dropped.
const EVENTS_MAX: usize = 1024;
/// The most connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 64;

/// Why a node could not be joined. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The address is none, or its name is unknown.
    #[error("{address:?} is no address: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there, or not in words that can be understood.
    #[error("joining {address}: {source}")]
    Talk {
        /// Where.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// One of the two refuses.
    #[error("joining {address} was refused: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// This node is stopping.
    #[error("the control node is stopping")]
    Stopping,
}

/// What the keyrings of all members are like after an order.
#[derive(Debug, Default)]
pub struct KeyReport {
    /// What went wrong, by member.
    pub failures: BTreeMap<String, String>,
    /// On how many members each key is.
    pub keys: BTreeMap<String, usize>,
    /// On how many members each key is the one in use.
    pub primary: BTreeMap<String, usize>,
    /// How many members were asked.
    pub members: usize,
}

/// The handle; clones share one task.
#[derive(Clone)]
pub struct Gossip {
    orders: mpsc::Sender<Order>,
    roll: watch::Receiver<Arc<Roll>>,
    place: watch::Receiver<Coordinate>,
    keyring: Arc<Keyring>,
    name: Arc<str>,
    port: u16,
}

/// How gossip is taken part in.
#[derive(Debug, Clone, Copy)]
pub struct GossipOptions {
    /// How long a failed member is remembered.
    pub failed_kept: Duration,
    /// Whether the place of this node in the network is found out.
    pub locates: bool,
}

/// The sockets of gossip; both on one port.
pub struct GossipSockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For whole lists.
    pub tcp: TcpListener,
}

impl Gossip {
    /// Starts to take part, alone at first. User events that are heard come out of the second value.
    #[must_use]
    pub fn start(
        card: Card,
        sockets: GossipSockets,
        keyring: Arc<Keyring>,
        options: GossipOptions,
        stop: CancellationToken,
    ) -> (Gossip, mpsc::Receiver<Spoken>) {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let (tell_roll, roll) = watch::channel(Arc::default());
        let (tell_place, place) = watch::channel(Coordinate::default());
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let news = News { roll: tell_roll, events, place: tell_place };
        let gossip = Gossip {
            orders,
            roll,
            place,
            keyring: keyring.clone(),
            name: card.name.as_str().into(),
            port: card.gossip.port(),
        };
        let task = Task::new(card, Arc::new(sockets.udp), keyring, news, options);
        tokio::spawn(task.run(received, stop.clone()));
        tokio::spawn(gossip.clone().listen(sockets.tcp, stop.clone()));
        tokio::spawn(gossip.clone().meet_again(stop));
        (gossip, heard)
    }

    /// The members, as they are now.
    #[must_use]
    pub fn roll(&self) -> Arc<Roll> {
        self.roll.borrow().clone()
    }

    /// Where this node is in the network, as far as it found out; the origin at first.
    #[must_use]
    pub fn place(&self) -> Coordinate {
        *self.place.borrow()
    }

    /// Follows the members.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Roll>> {
        self.roll.clone()
    }

    /// The keys of this node.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Joins the cluster of the node at an address, `host` or `host:port`. Both know each other when this returns.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(&self, address: &str) -> Result<(), JoinError> {
        let mut last = None;
        for address in resolve(address, self.port).await? {
            match self.meet(address).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        let nobody = || JoinError::Address { address: address.to_owned(), reason: "it stands for nothing".to_owned() };
        Err(last.unwrap_or_else(nobody))
    }

    /// Exchanges member lists with the node at an address.
    async fn meet(&self, address: SocketAddr) -> Result<(), JoinError> {
        // If the other believed us dead, we learn it from its list and take a new incarnation, which it has to learn.
        for _ in 0..2 {
            let mine = self.tell().await?;
            let incarnation = mine.me.incarnation;
            let ask = Ask::Exchange(Box::new(mine));
            let answer = exchange::ask(&self.keyring, address, &ask).await;
            let theirs = match answer.map_err(|source| JoinError::Talk { address, source })? {
                Answer::Knowledge(theirs) => theirs,
                Answer::Refused(reason) => return Err(JoinError::Refused { address, reason }),
                Answer::Keys(_) => {
                    return Err(JoinError::Refused { address, reason: "an answer to another question".to_owned() });
                }
            };
            let (answer, merged) = oneshot::channel();
            self.order(Order::Merge(theirs, answer)).await?;
            let merged = merged.await.map_err(|_| JoinError::Stopping)?;
            let merged = merged.map_err(|reason| JoinError::Refused { address, reason })?;
            if merged.me.incarnation == incarnation {
                break;
            }
        }
        Ok(())
    }

    async fn tell(&self) -> Result<exchange::Knowledge, JoinError> {
        let (answer, told) = oneshot::channel();
        self.order(Order::Tell(answer)).await?;
        told.await.map_err(|_| JoinError::Stopping)
    }

    async fn order(&self, order: Order) -> Result<(), JoinError> {
        self.orders.send(order).await.map_err(|_| JoinError::Stopping)
    }

    /// Tells a word to every member, this one first.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn say(&self, word: Word) -> Result<(), JoinError> {
        self.order(Order::Say(word)).await
    }

    /// Says that this member is about to leave.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn announce_leave(&self) -> Result<(), JoinError> {
        let (answer, done) = oneshot::channel();
        self.order(Order::AnnounceLeave(answer)).await?;
        done.await.map_err(|_| JoinError::Stopping)
    }

    /// Declares this member gone.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn leave(&self) -> Result<(), JoinError> {
        let (answer, done) = oneshot::channel();
        self.order(Order::Leave(answer)).await?;
        done.await.map_err(|_| JoinError::Stopping)
    }

    /// Tells the keyrings of all members that answer what to do, this one's first.
    pub async fn keys(&self, act: KeyAct, key: &str, only_here: bool) -> KeyReport {
        let mut report = KeyReport { members: 1, ..KeyReport::default() };
        report.note(&self.name, turn_key(&self.keyring, act, key));
        if only_here {
            return report;
        }
        let roll = self.roll();
        let others = roll.iter().filter(|member| member.is_up() && !member.card.name.eq_ignore_ascii_case(&self.name));
        let asked = others.map(|member| async move {
            let ask = Ask::Keys { act, key: key.to_owned() };
            let answer = match exchange::ask(&self.keyring, member.card.gossip, &ask).await {
                Ok(Answer::Keys(keys)) => Ok(keys),
                Ok(Answer::Refused(reason)) => Err(reason),
                Ok(Answer::Knowledge(_)) => Err("an answer to another question".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            (member.card.name.clone(), answer)
        });
        for (name, answer) in futures_util::future::join_all(asked).await {
            report.members += 1;
            report.note(&name, answer);
        }
        report
    }

    /// Answers whole-list questions until told to stop.
    async fn listen(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match accepted {
                Ok((stream, from)) => {
                    let gossip = self.clone();
                    tokio::spawn(async move {
                        let answered = exchange::answer(&gossip.keyring, stream, |ask| gossip.answer(ask)).await;
                        if let Err(error) = answered {
                            debug!(error = &error as &dyn std::error::Error, %from, "a member was not answered");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "accepting a member's connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Exchange(theirs) => {
                let (answer, merged) = oneshot::channel();
                if self.order(Order::Merge(theirs, answer)).await.is_err() {
                    return Answer::Refused("the control node is stopping".to_owned());
                }
                match merged.await {
                    Ok(Ok(knowledge)) => Answer::Knowledge(Box::new(knowledge)),
                    Ok(Err(reason)) => Answer::Refused(reason),
                    Err(_) => Answer::Refused("the control node is stopping".to_owned()),
                }
            }
            Ask::Keys { act, key } => match turn_key(&self.keyring, act, &key) {
                Ok(keys) => Answer::Keys(keys),
                Err(reason) => Answer::Refused(reason),
            },
        }
    }
}

impl KeyReport {
    fn note(&mut self, member: &str, answer: Result<Vec<String>, String>) {
        match answer {
            Err(reason) => {
                self.failures.insert(member.to_owned(), reason);
            }
            Ok(keys) => {
                if let Some(primary) = keys.first() {
                    *self.primary.entry(primary.clone()).or_default() += 1;
                }
                for key in keys {
                    *self.keys.entry(key).or_default() += 1;
                }
            }
        }
    }
}

fn turn_key(keyring: &Keyring, act: KeyAct, key: &str) -> Result<Vec<String>, String> {
    let turned = match act {
        KeyAct::List if keyring.is_sealing() => Ok(()),
        KeyAct::List => Err(KeyError::Empty),
        KeyAct::Install => keyring.install(key),
        KeyAct::Use => keyring.use_key(key),
        KeyAct::Remove => keyring.remove(key),
    };
    turned.map(|()| keyring.list()).map_err(|error| error.to_string())
}

/// The addresses that a text stands for; without a port, it is the given one.
async fn resolve(text: &str, port: u16) -> Result<Vec<SocketAddr>, JoinError> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (host, port) = match text.rsplit_once(':') {
        None => (text, port),
        Some((host, digits)) => {
            let wrong = |_| JoinError::Address { address: text.to_owned(), reason: "its port is no number".to_owned() };
            (host, digits.parse().map_err(wrong)?)
        }
    };
    let unknown = |error: io::Error| JoinError::Address { address: text.to_owned(), reason: error.to_string() };
    Ok(tokio::net::lookup_host((host, port)).await.map_err(unknown)?.collect())
}

//! The servers of a client: every address of every name, their rank, and what each speaks.
//!
//! A name stands for all its addresses; it is resolved before the first request, again after a failure, and now and then
//! before a request that waits anyway. A name that cannot be resolved keeps the addresses it had. What is asked of whom
//! is decided by `rank`; sending is `transport`'s. Addresses that are literals, and pipes within the process, are never
//! resolved.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::address::Address;
use super::rank::Rank;
use super::speech::{Lanes, Speech};
use crate::resolve::Resolver;

/// How soon after the last time names are resolved again: when a server failed, and when nothing happened.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(60);

/// One server: an address of a name.
pub(super) struct Server {
    /// Tells connections to it apart; never used twice.
    pub(super) id: u32,
    pub(super) address: Address,
    /// Where it is; none leaves it to whoever dials.
    pub(super) socket: Option<SocketAddr>,
    /// What it speaks, once it has been asked.
    pub(super) speech: tokio::sync::Mutex<Option<Speech>>,
    pub(super) lanes: Mutex<Lanes>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.address.authority();
        match self.socket {
            Some(socket) if self.address.socket().is_none() => write!(f, "{authority} ({socket})"),
            _ => f.write_str(authority),
        }
    }
}

/// Holds the servers.
#[derive(Debug)]
pub(super) struct Servers {
    addresses: Vec<Address>,
    resolver: Option<Resolver>,
    resolving: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    servers: Vec<Arc<Server>>,
    rank: Rank,
    ids: u32,
    resolved: Option<Instant>,
    failed: bool,
}

impl Servers {
    /// Builds the list; with a resolver, names are looked up when they are needed.
    pub(super) fn new(addresses: Vec<Address>, resolver: Option<Resolver>) -> Self {
        let mut state = State { servers: Vec::new(), rank: Rank::new(0), ids: 0, resolved: None, failed: false };
        state.replace(addresses.iter().map(|address| (address.clone(), address.socket())).collect());
        Self { addresses, resolver, resolving: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Looks names up if it is time; `idle` says that the caller has time. Says whether it did.
    pub(super) async fn refresh(&self, idle: bool) -> bool {
        let Some(resolver) = &self.resolver else { return false };
        if !self.state.lock().is_due(Instant::now(), idle) {
            return false;
        }
        let _one_at_a_time = self.resolving.lock().await;
        if !self.state.lock().is_due(Instant::now(), idle) {
            return false;
        }
        let mut list: Vec<(Address, Option<SocketAddr>)> = Vec::new();
        for address in &self.addresses {
            if address.is_unix() {
                list.push((address.clone(), None));
                continue;
            }
            let found = match (address.socket(), address.authority().rsplit_once(':')) {
                (None, Some((host, port))) => resolver.addresses(host, port.parse().unwrap_or_default()).await,
                (socket, _) => Ok(socket.into_iter().collect()),
            };
            match found {
                Ok(sockets) => {
                    debug!(server = address.authority(), addresses = ?sockets, "resolved");
                    list.extend(sockets.into_iter().map(|socket| (address.clone(), Some(socket))));
                }
                Err(error) => {
                    warn!(server = address.authority(), error = %error, "the name cannot be resolved");
                    let state = self.state.lock();
                    let known = state.servers.iter().filter(|server| server.address == *address);
                    list.extend(known.map(|server| (address.clone(), server.socket)));
                }
            }
        }
        let mut state = self.state.lock();
        state.replace(list);
        (state.resolved, state.failed) = (Some(Instant::now()), false);
        true
    }

    /// Returns all servers in the order in which they are to be asked.
    pub(super) fn order(&self, try_others: bool) -> Vec<Arc<Server>> {
        let state = self.state.lock();
        let order = state.rank.order(Instant::now(), try_others);
        order.into_iter().map(|place| Arc::clone(&state.servers[place])).collect()
    }

    /// Tells the rank something of a server, unless it is not in the list any more.
    pub(super) fn told(&self, server: &Server, tell: impl FnOnce(&mut Rank, usize, Instant)) {
        let mut state = self.state.lock();
        if let Some(place) = state.servers.iter().position(|known| known.id == server.id) {
            tell(&mut state.rank, place, Instant::now());
        }
    }

    /// Notes that a server could not be reached, or failed.
    pub(super) fn failed(&self, server: &Server) {
        self.told(server, |rank, place, now| rank.failed(place, now));
        self.state.lock().failed = true;
    }

    /// Returns after which time a second server may be asked as well.
    pub(super) fn hedge_after(&self) -> Duration {
        self.state.lock().rank.hedge_after()
    }

    /// Asks for a second question.
    pub(super) fn may_hedge(&self) -> bool {
        self.state.lock().rank.may_hedge()
    }

    /// Says whether a connection's server is still in the list.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.state.lock().servers.iter().any(|server| server.id == id)
    }
}

impl State {
    fn is_due(&self, now: Instant, idle: bool) -> bool {
        let Some(then) = self.resolved else { return true };
        let age = now.saturating_duration_since(then);
        (self.failed && age >= AGAIN_AFTER_FAILURE) || (idle && age >= AGAIN)
    }

    /// Puts a new list in place; a server that was in the old one stays the same.
    fn replace(&mut self, list: Vec<(Address, Option<SocketAddr>)>) {
        let mut servers: Vec<Arc<Server>> = Vec::with_capacity(list.len());
        let mut before = Vec::with_capacity(list.len());
        for (address, socket) in list {
            let is_it = |server: &Arc<Server>| server.address == address && server.socket == socket;
            // Two names may lead to one place; it is one server all the same.
            let twice = |server: &Arc<Server>| socket.is_some() && server.socket == socket || is_it(server);
            if servers.iter().any(twice) {
                continue;
            }
            let known = self.servers.iter().position(is_it);
            before.push(known);
            servers.push(match known {
                Some(place) => Arc::clone(&self.servers[place]),
                None => {
                    self.ids += 1;
                    Arc::new(Server {
                        id: self.ids,
                        address,
                        socket,
                        speech: tokio::sync::Mutex::default(),
                        lanes: Mutex::default(),
                    })
                }
            });
        }
        if self.servers.is_empty() {
            self.rank = Rank::new(servers.len());
        } else {
            self.rank.carry_over(&before);
        }
        self.servers = servers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn sockets(servers: &Servers) -> Vec<String> {
        servers.order(false).iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses() {
        let servers = Servers::new(vec![address("10.0.0.1:1"), address("localhost:8500")], Some(Resolver::system()));
        assert_eq!(sockets(&servers), ["10.0.0.1:1", "localhost:8500"], "nothing was looked up yet");
        servers.refresh(false).await;
        let found = sockets(&servers);
        assert!(found.contains(&"localhost:8500 (127.0.0.1:8500)".to_owned()), "{found:?}");
        assert!(!found.contains(&"localhost:8500".to_owned()), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_resolved_is_still_a_server() {
        let servers = Servers::new(vec![address("not..a.name:1")], Some(Resolver::system()));
        servers.refresh(false).await;
        assert_eq!(sockets(&servers), ["not..a.name:1"], "whoever dials it learns why");
    }

    #[test]
    fn who_stays_keeps_what_is_known_of_it() {
        let servers = Servers::new(vec![address("a:1"), address("10.0.0.2:1"), address("10.0.0.2:1")], None);
        assert_eq!(sockets(&servers).len(), 2, "one server, named twice");
        let second = servers.order(false).remove(1);
        servers.failed(&servers.order(false)[0]);
        assert_eq!(servers.order(false)[0].id, second.id);
        let list = vec![(address("b:1"), None), (address("10.0.0.2:1"), second.socket), (address("a:1"), None)];
        servers.state.lock().replace(list);
        assert_eq!(sockets(&servers), ["10.0.0.2:1", "b:1", "a:1"]);
        assert!(servers.knows(second.id) && !servers.knows(99));
    }
}

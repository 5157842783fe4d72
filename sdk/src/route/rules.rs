//! What the registry's entries say of one service, compiled, and the answer for one call.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::change::{HeaderChanges, Rewrite};
use super::hash::{Hashes, NewCookie};
use super::matcher::{CallView, Matcher};
use super::split::Split;
use super::subset::Subset;
use crate::call::RetryPolicy;

/// Names an algorithm of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `random`: anyone, by weight.
    Random,
    /// `round_robin`: everyone in turn, by weight.
    RoundRobin,
    /// `least_request`: the least busy.
    LeastRequest,
    /// `ring_hash`.
    RingHash,
    /// `maglev`.
    Maglev,
}

/// Where calls go in the end: endpoints of one service.
#[derive(Debug)]
pub struct Target {
    /// The service.
    pub service: Arc<str>,
    /// The part of it; none for all of it.
    pub subset: Option<Subset>,
    /// How endpoints are chosen; none for the application's choice.
    pub algorithm: Option<Algorithm>,
    /// What the hash of a call is made of.
    pub hashes: Hashes,
    /// How long a connection may take.
    pub connect_timeout: Option<Duration>,
    /// How long a call may take in all.
    pub request_timeout: Option<Duration>,
    /// The most connections to one endpoint.
    pub connections_max: Option<u32>,
    /// Other targets to turn to, in order, while nobody here is healthy.
    pub failover: Vec<usize>,
}

/// What is done with the calls of a route.
#[derive(Debug)]
pub struct Action {
    pub(super) split: Option<Split>,
    pub(super) branches: Vec<Branch>,
    /// What takes the place of the matched path.
    pub rewrite: Option<Rewrite>,
    /// Changes to the request.
    pub request: HeaderChanges,
    /// Changes to the answer.
    pub response: HeaderChanges,
    /// How long a call may take in all.
    pub timeout: Option<Duration>,
    /// What is tried again.
    pub retry: Option<RetryPolicy>,
}

/// One share of the calls.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) weight: u64,
    pub(super) target: usize,
    // Of every splitter on the way, from the outermost on.
    pub(super) request: Vec<HeaderChanges>,
    pub(super) response: Vec<HeaderChanges>,
}

/// Holds the rules of one service.
#[derive(Debug)]
pub struct Rules {
    pub(super) service: Arc<str>,
    // The last one is for all calls.
    pub(super) routes: Vec<(Matcher, Action)>,
    pub(super) targets: Vec<Target>,
    // Of the service itself: they keep a caller on its side of a split.
    pub(super) hashes: Hashes,
    pub(super) skipped: Vec<String>,
}

/// Says what is to be done with one call.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// The target's place in [`Rules::targets`].
    pub target: usize,
    /// The place of its route.
    pub route: usize,
    /// What is to be done besides.
    pub action: &'a Action,
    /// The hash of the call, if it has one.
    pub hash: Option<u64>,
    /// A cookie that the answer is to carry.
    pub cookie: Option<NewCookie>,
    branch: &'a Branch,
}

impl Rules {
    /// Names the service.
    #[must_use]
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Returns every target.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Returns what of the entries is not followed, in words: targets in other datacenters.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Chooses for a call. `hash` is the application's own, which goes before what the rules name; `turn` is any number that
    /// grows by one from call to call.
    #[must_use]
    pub fn choose(&self, call: &CallView<'_>, hash: Option<u64>, turn: u64) -> Chosen<'_> {
        let matching = self.routes.iter().position(|(matcher, _)| matcher.matches(call));
        let route = matching.unwrap_or(self.routes.len() - 1);
        let action = &self.routes[route].1;
        let dice = crate::balance::hash::mix(turn);
        let (sticky, mut cookie) = match hash {
            Some(hash) => (Some(hash), None),
            None => self.hashes.hash(call, dice),
        };
        let place = match (&action.split, sticky) {
            (None, _) => 0,
            (Some(split), Some(hash)) => split.by_hash(hash),
            (Some(split), None) => split.by_turn(turn),
        };
        let branch = &action.branches[place];
        let target = &self.targets[branch.target];
        let mut own = sticky;
        if hash.is_none() && !target.hashes.is_empty() {
            let (named, made) = target.hashes.hash(call, dice);
            own = named.or(own);
            cookie = made.or(cookie);
        }
        Chosen { target: branch.target, route, action, hash: own, cookie, branch }
    }
}

impl Chosen<'_> {
    /// Changes the headers of the request: what the splitters say, then what the route says.
    pub fn change_request(&self, headers: &mut HeaderMap) {
        self.branch.request.iter().for_each(|changes| changes.apply(headers));
        self.action.request.apply(headers);
    }

    /// Changes the headers of the answer likewise, and adds the cookie if one was made.
    pub fn change_response(&self, headers: &mut HeaderMap) {
        self.branch.response.iter().for_each(|changes| changes.apply(headers));
        self.action.response.apply(headers);
        if let Some(cookie) = self.cookie.as_ref().and_then(NewCookie::header) {
            headers.append(http::header::SET_COOKIE, cookie);
        }
    }
}

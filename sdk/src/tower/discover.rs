//! The endpoints of a watch as tower's `Discover`, for balancers that are not ours.
//!
//! A stream of arrivals and departures: whoever is passing or warning with a weight is there. Only the difference
//! of two snapshots is told, so that a balancer keeps what it learned about the others. Feeds `tower::balance::p2c`.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tower::discover::Change;

use crate::catalog::{Member, Snapshot};
use crate::endpoint::{Endpoint, EndpointKey};
use crate::error::Error;
use crate::watch::Watch;

/// Tells who came and who left, and makes a service of whoever came. Ends when the client of the watch is shut down.
///
/// ```
/// use callboard::catalog::Catalog;
/// use callboard::endpoint::Endpoint;
/// use callboard::tower::Discovery;
/// use tower::balance::p2c::Balance;
/// use tower::load::Constant;
/// use tower::{ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let catalog = Catalog::fixed([("users", [Endpoint::new("users-1", "127.0.0.1", 8080)])]);
/// let discovery = Discovery::new(catalog.watch("users"), |endpoint: &Endpoint| {
///     let id = endpoint.id().to_owned();
///     let answer = move |question: u32| std::future::ready(Ok::<_, std::io::Error>(format!("{id}: {question}")));
///     Constant::new(service_fn(answer), 1)
/// });
/// assert_eq!(Balance::new(discovery).oneshot(7).await.unwrap(), "users-1: 7");
/// # });
/// ```
pub struct Discovery<F> {
    make: F,
    there: HashSet<EndpointKey>,
    untold: VecDeque<News>,
    next: Next,
}

type Next = Pin<Box<dyn Future<Output = (Watch, Result<Arc<Snapshot>, Error>)> + Send>>;

/// At most as many as there are endpoints in two snapshots.
enum News {
    Came(Arc<Member>),
    Left(EndpointKey),
}

impl<S, F: FnMut(&Endpoint) -> S> Discovery<F> {
    /// Follows a watch; `make` is called once for each endpoint that comes, and again when its address changes.
    #[must_use]
    pub fn new(watch: Watch, make: F) -> Self {
        let snapshot = watch.snapshot();
        let mut discovery =
            Self { make, there: HashSet::new(), untold: VecDeque::new(), next: Box::pin(changed(watch)) };
        discovery.compare(&snapshot);
        discovery
    }
}

impl<F> Discovery<F> {
    fn compare(&mut self, snapshot: &Snapshot) {
        let now: HashSet<EndpointKey> = snapshot.eligible().map(|(_, member)| member.stats().key()).collect();
        let left = self.there.difference(&now).map(|key| News::Left(*key));
        self.untold.extend(left);
        let came = snapshot.eligible().filter(|(_, member)| !self.there.contains(&member.stats().key()));
        self.untold.extend(came.map(|(_, member)| News::Came(Arc::clone(member))));
        self.there = now;
    }
}

async fn changed(mut watch: Watch) -> (Watch, Result<Arc<Snapshot>, Error>) {
    let changed = watch.changed().await;
    (watch, changed)
}

impl<S, F: FnMut(&Endpoint) -> S + Unpin> Stream for Discovery<F> {
    type Item = Result<Change<EndpointKey, S>, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            // All that is old is told before something newer is looked at, so it cannot pile up.
            match this.untold.pop_front() {
                Some(News::Came(member)) => {
                    let service = (this.make)(member.endpoint());
                    return Poll::Ready(Some(Ok(Change::Insert(member.stats().key(), service))));
                }
                Some(News::Left(key)) => return Poll::Ready(Some(Ok(Change::Remove(key)))),
                None => {}
            }
            let (watch, changed) = ready!(this.next.as_mut().poll(cx));
            this.next = Box::pin(self::changed(watch));
            match changed {
                Ok(snapshot) => this.compare(&snapshot),
                // Asked again, it says so again.
                Err(_) => return Poll::Ready(None),
            }
        }
    }
}

impl<F> fmt::Debug for Discovery<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (there, untold) = (self.there.len(), self.untold.len());
        f.debug_struct("Discovery").field("there", &there).field("untold", &untold).finish_non_exhaustive()
    }
}

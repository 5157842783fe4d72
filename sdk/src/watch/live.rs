//! A value of the registry that is kept live: the newest state, a wait for the next, one task behind it.
//!
//! What the state is, and what an answer does to it, is the caller's to say (a key, a prefix, a config entry, who
//! leads). The task ends with the last handle or with the client.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::follow::{Follow, News};
use crate::error::Error;

/// Follows something in the registry. Clones follow the same; when the last one is dropped, it ends.
pub struct Live<S> {
    receiver: watch::Receiver<Arc<S>>,
    ended: CancellationToken,
    _end: Arc<DropGuard>,
}

impl<S: Send + Sync + 'static> Live<S> {
    /// Starts the task. `fold` returns the new state, if there is one.
    pub(crate) fn start<T: Send + 'static>(
        mut follow: Follow<T>,
        first: S,
        mut fold: impl FnMut(&Arc<S>, News<Option<T>>) -> Option<S> + Send + 'static,
        tracker: &TaskTracker,
        end: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (sender, receiver) = watch::channel(Arc::new(first));
        let ended = end.clone();
        tracker.spawn(async move {
            let following = async {
                loop {
                    let news = follow.next().await;
                    let old = Arc::clone(&sender.borrow());
                    if let Some(new) = fold(&old, news) {
                        sender.send_replace(Arc::new(new));
                    }
                }
            };
            end.run_until_cancelled(following).await;
            drop(permit);
        });
        Self { receiver, ended: ended.clone(), _end: Arc::new(ended.drop_guard()) }
    }

    /// Returns the newest state.
    #[must_use]
    pub fn current(&self) -> Arc<S> {
        Arc::clone(&self.receiver.borrow())
    }

    /// Waits for a state that this handle has not returned yet, and returns the newest. Those in between are skipped.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client was shut down.
    pub async fn changed(&mut self) -> Result<Arc<S>, Error> {
        match self.ended.run_until_cancelled(self.receiver.changed()).await {
            Some(Ok(())) => Ok(Arc::clone(&self.receiver.borrow_and_update())),
            Some(Err(_)) | None => Err(Error::Closed),
        }
    }

    /// Waits until the state is as wanted, and returns it.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client was shut down.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&S) -> bool) -> Result<Arc<S>, Error> {
        let waiting = async { self.receiver.wait_for(|state| wanted(state)).await.map(|state| Arc::clone(&state)) };
        match self.ended.run_until_cancelled(waiting).await {
            Some(Ok(state)) => Ok(state),
            Some(Err(_)) | None => Err(Error::Closed),
        }
    }
}

impl<S> Clone for Live<S> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone(), ended: self.ended.clone(), _end: Arc::clone(&self._end) }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Live<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Live").field(&**self.receiver.borrow()).finish()
    }
}

//! A thread with a small runtime of its own, on which registrations are kept up whatever the application's runtime does.
//!
//! A beat must not come late because the application computes on its runtime; that the application is stuck is told by
//! the beat (`pulse`), not by its absence. One thread per client, from its first registration until the client and all
//! its registrations are gone. It decides nothing.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Runs tasks on a thread of its own; dropping it lets those that run finish.
#[derive(Debug)]
pub(crate) struct BeatThread {
    handle: Handle,
    busy: TaskTracker,
    _end: DropGuard,
}

impl BeatThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread, or no means of I/O for its runtime.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (busy, end) = (TaskTracker::new(), CancellationToken::new());
        let (waiting, ending) = (busy.clone(), end.clone());
        std::thread::Builder::new().name("callboard-beat".into()).spawn(move || {
            runtime.block_on(async {
                ending.cancelled().await;
                waiting.close();
                waiting.wait().await;
            });
        })?;
        Ok(Self { handle, busy, _end: end.drop_guard() })
    }

    /// Runs a task there; `tracker` counts it too.
    pub(crate) fn spawn(&self, tracker: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
        tracker.spawn_on(self.busy.track_future(task), &self.handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_works_while_nobody_drives_another_runtime_and_finishes_what_it_has() {
        let (thread, tracker) = (BeatThread::start().unwrap(), TaskTracker::new());
        let (sender, receiver) = std::sync::mpsc::channel();
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        thread.spawn(&tracker, async move {
            sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
            gate.await.unwrap();
            sender.send(None).unwrap();
        });
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("callboard-beat"));
        drop(thread);
        open.send(()).unwrap();
        assert_eq!(receiver.recv().unwrap(), None);
    }
}

//! Gathers commands that arrive together into one entry of the log.
//!
//! A few entries are in flight at once; while they are being written to disk, the next batch gathers. So
//! a lone writer waits for one disk write, and a crowd shares one.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::router::Router;
use super::{Error, machine};
use crate::registry::{Command, Outcome};

/// The most commands in one entry.
const BATCH_MAX: usize = 512;
/// The most bytes in one entry of several commands; a command alone may take what the log takes.
const ENTRY_MAX: usize = 2 << 20;
/// The most entries in flight.
const IN_FLIGHT_MAX: usize = 4;
/// The most commands that wait to be gathered; a proposer waits beyond that.
pub(super) const QUEUE_MAX: usize = 4096;

/// A command, and where its answer goes.
pub(super) struct Proposal {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Outcome, Error>>,
}

/// Proposes what arrives, until every sender is gone.
pub(super) async fn run(router: Router, mut queue: mpsc::Receiver<Proposal>) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut gathered = Vec::with_capacity(BATCH_MAX);
    loop {
        // The place first: what arrives while all are taken joins the next batch.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        if queue.recv_many(&mut gathered, BATCH_MAX).await == 0 {
            return;
        }
        let (batch, answers): (Vec<_>, Vec<_>) =
            gathered.drain(..).map(|proposal| (proposal.command, proposal.answer)).unzip();
        let router = router.clone();
        tokio::spawn(async move {
            settle(&router, &batch, answers).await;
            drop(place);
        });
    }
}

/// Proposes a batch, as one entry if the log takes it, and answers everyone.
async fn settle(router: &Router, batch: &[Command], mut answers: Vec<oneshot::Sender<Result<Outcome, Error>>>) {
    let entry = machine::encode(batch).expect("commands are plain data and always encode");
    if entry.len() > ENTRY_MAX && batch.len() > 1 {
        // One after the other, so that they take effect in the order in which they came.
        let (first, second) = batch.split_at(batch.len() / 2);
        let later = answers.split_off(first.len());
        Box::pin(settle(router, first, answers)).await;
        return Box::pin(settle(router, second, later)).await;
    }
    match propose(router, entry).await {
        Ok(outcomes) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // A proposer that went away does not want to know.
                let _ = answer.send(Ok(outcome));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

async fn propose(router: &Router, entry: Vec<u8>) -> Result<Vec<Outcome>, Error> {
    let written = router.write(entry).await?;
    let outcomes = machine::decode_outcomes(&written.answer);
    outcomes.map_err(|error| Error::Forwarded(format!("the answer cannot be read: {error}").into()))
}

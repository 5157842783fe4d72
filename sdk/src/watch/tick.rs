//! The task that lets time pass for the balancers of one service: comparisons of endpoints, weights of zones.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handle::Shared;

/// How often balancers are told; what each of them does then has an interval of its own.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until the token is cancelled.
pub(crate) async fn tick(shared: Arc<Shared>, end: CancellationToken) {
    while end.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        shared.tick();
    }
}

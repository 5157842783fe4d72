//! Probe: a connection. Passing when it opens, with TLS on it if the check says so.

use callboard_proto::CheckStatus;
use callboard_proto::definition::Tls;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::dial::{Fault, open};
use super::probe::Answer;
use super::tls::{Alpn, TlsClients};

pub(crate) async fn run(
    clients: &TlsClients,
    address: &str,
    tls: Option<&Tls>,
    deadline: Instant,
) -> Result<Answer, Fault> {
    let what = if tls.is_some() { "TCP+TLS" } else { "TCP" };
    match open(clients, address, tls, Alpn::Any, deadline).await {
        Ok(mut stream) => {
            if tls.is_some() {
                // Only a farewell, so that the server has nothing to complain about.
                let _ = stream.shutdown().await;
            }
            Ok(Answer::new(CheckStatus::Passing, format!("{what} connect {address}: Success")))
        }
        Err(fault) => Err(Fault(format!("{what} connect {address}: {fault}"))),
    }
}

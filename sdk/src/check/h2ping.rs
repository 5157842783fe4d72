//! Probe: an HTTP/2 PING frame. Passing when the other side acknowledges it.

use callboard_proto::CheckStatus;
use callboard_proto::definition::Tls;
use h2::Ping;
use tokio::time::Instant;

use super::dial::{Fault, chain, open};
use super::grpc::{drive, handshake};
use super::probe::Answer;
use super::tls::{Alpn, TlsClients};

pub(crate) async fn run(
    clients: &TlsClients,
    address: &str,
    tls: Option<&Tls>,
    deadline: Instant,
) -> Result<Answer, Fault> {
    let stream = open(clients, address, tls, Alpn::H2, deadline).await.map_err(|fault| failed(&fault.0))?;
    // The sender must live as long as the ping: without it the connection would close itself.
    let (_sender, mut connection) = handshake(stream).await.map_err(|error| failed(&chain(&error)))?;
    let Some(mut pinger) = connection.ping_pong() else { return Err(failed("no ping on this connection")) };
    match drive(connection, pinger.ping(Ping::opaque())).await {
        Ok(_) => Ok(Answer::new(CheckStatus::Passing, "HTTP2 ping was successful".into())),
        Err(error) => Err(failed(&chain(&error))),
    }
}

/// The output of a ping that was not answered.
pub(crate) fn failed(why: &str) -> Fault {
    Fault(format!("HTTP2 ping failed: {why}"))
}

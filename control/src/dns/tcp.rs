//! Connections: each message with its length before it (RFC 1035 section 4.2.2).
//!
//! A client may send its next question before it has the reply to the last (RFC 7766 section 6.2.1.1); replies keep
//! the order of the questions. Connections are bounded in number and in silence.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::counters::add;
use super::recursor;
use super::respond::{Carrier, Responder, Step};
use super::{Shared, wire};

/// How long to wait for file descriptors to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the node stops.
pub(super) async fn accept(shared: Shared, listener: TcpListener, places: Arc<Semaphore>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(error = &error as &dyn Error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            // DNS has no word for "too many connections": closing is what RFC 7766 section 6.2.2 asks for.
            add(&shared.counters.connections_refused);
            continue;
        };
        let connection = shared.clone();
        shared.tasks.spawn(async move {
            let ended = tokio::select! {
                ended = connect(&connection, stream) => ended,
                () = connection.stop.cancelled() => Ok(()),
            };
            if let Err(error) = ended {
                debug!(error = &error as &dyn Error, "connection ended");
            }
            drop(place);
        });
    }
}

/// Answers the questions of one connection until the client closes it.
async fn connect(shared: &Shared, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?.ip();
    let idle_max = shared.options.connection_idle_max;
    let mut stream = BufReader::new(stream);
    let mut responder = Responder::new(shared);
    let (mut question, mut framed) = (Vec::new(), Vec::new());
    loop {
        if !timeout(idle_max, read_frame(&mut stream, &mut question)).await?? {
            return Ok(());
        }
        framed.clear();
        match responder.respond(&question, Carrier::Tcp, peer) {
            Step::Send => frame(responder.bytes(), &mut framed),
            Step::Ignore => return Ok(()),
            step @ (Step::Forward | Step::Resolve(_)) => {
                match recursor::finish(shared, &mut responder, &question, Carrier::Tcp, step).await {
                    Some(reply) => frame(&reply, &mut framed),
                    None => return Ok(()),
                }
            }
        }
        timeout(idle_max, stream.get_mut().write_all(&framed)).await??;
    }
}

/// Puts its length before a message, so that both leave in one segment.
pub(super) fn frame(message: &[u8], framed: &mut Vec<u8>) {
    // Replies are trimmed to what the length can say.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message[..usize::from(length)]);
}

/// Reads one message; false at the end of the stream.
pub(super) async fn read_frame(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    message: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let length = usize::from(u16::from_be_bytes(length));
    if length < wire::HEADER_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message shorter than its header"));
    }
    message.resize(length, 0);
    stream.read_exact(message).await?;
    Ok(true)
}

//! Datagrams in, datagrams out.
//!
//! A reader takes what has arrived, answers each question at once and only then waits again. A question that others
//! must be asked about gets a task of its own, so that it holds up nobody.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tracing::debug;

use super::Shared;
use super::counters::add;
use super::recursor;
use super::respond::{Carrier, Responder, Step};
use super::wire::{Read, read as read_message};

/// The longest question that is read; names are short and options few.
const QUESTION_BYTES_MAX: usize = 4096;
/// How many questions are answered before other tasks get their turn.
const BATCH_MAX: usize = 64;

/// Answers what comes through a socket until the node stops.
pub(super) async fn read(shared: Shared, socket: Arc<UdpSocket>) {
    let mut responder = Responder::new(&shared);
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        let ready = tokio::select! {
            ready = socket.readable() => ready,
            () = shared.stop.cancelled() => return,
        };
        if ready.is_err() {
            // The runtime is going down.
            return;
        }
        for _ in 0..BATCH_MAX {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, peer)) => answer(&shared, &socket, &mut responder, &buffer[..length], peer).await,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => debug!(error = &error as &dyn std::error::Error, "receiving a question failed"),
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn answer(shared: &Shared, socket: &Arc<UdpSocket>, responder: &mut Responder, message: &[u8], peer: SocketAddr) {
    match responder.respond(message, Carrier::Udp, peer.ip()) {
        Step::Send => send(socket, responder.bytes(), peer).await,
        Step::Ignore => {}
        step @ (Step::Forward | Step::Resolve(_)) => {
            let Ok(permit) = shared.waiting.clone().try_acquire_owned() else {
                add(&shared.counters.overloaded);
                if let Read::Request(request) = read_message(message) {
                    responder.fail(&request);
                    send(socket, responder.bytes(), peer).await;
                }
                return;
            };
            let (shared, socket, message) = (shared.clone(), socket.clone(), message.to_vec());
            shared.tasks.clone().spawn(async move {
                let mut responder = Responder::new(&shared);
                if let Some(reply) = recursor::finish(&shared, &mut responder, &message, Carrier::Udp, step).await {
                    send(&socket, &reply, peer).await;
                }
                drop(permit);
            });
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) {
    let sent = match socket.try_send_to(reply, peer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => socket.send_to(reply, peer).await,
        sent => sent,
    };
    if let Err(error) = sent {
        // The client is gone, or its address was forged.
        debug!(error = &error as &dyn std::error::Error, "sending a reply failed");
    }
}

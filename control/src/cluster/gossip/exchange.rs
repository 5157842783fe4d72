//! Whole member lists with the last user events, and orders to keyrings, from one node to another: over TCP on the gossip port.
//!
//! One question and one answer per connection, each a length and a message that is sealed as datagrams are. foca tells
//! a joiner about members in one packet per announcement; the list makes both sides know all of it at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::card::Card;
use super::keyring::Keyring;
use super::roll::Row;
use super::words::Spoken;

/// First byte of every message, so that a later format can be told apart.
const FORMAT: u8 = 2;
/// The longest message, in bytes: room for about 50,000 members.
const MESSAGE_MAX: usize = 16 << 20;
/// How long a question and its answer may take.
const TALK_MAX: Duration = Duration::from_secs(5);

/// What a node knows of all members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Knowledge {
    /// Who tells it.
    pub(super) me: Card,
    /// What foca knows.
    pub(super) members: Vec<foca::Member<Card>>,
    /// Those that left or failed among them.
    pub(super) rows: Vec<Row>,
    /// The highest Lamport time.
    pub(super) time: u64,
    /// The last user events, which the other may have missed.
    pub(super) events: Vec<Spoken>,
}

/// What is to be done to a keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAct {
    /// Tells the keys.
    List,
    /// Adds a key.
    Install,
    /// Seals with an installed key.
    Use,
    /// Removes a key.
    Remove,
}

/// What one node asks another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Here is what I know; what do you?
    Exchange(Box<Knowledge>),
    /// Do this to your keyring.
    Keys { act: KeyAct, key: String },
}

/// What the other answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// What it knows.
    Knowledge(Box<Knowledge>),
    /// The keys afterwards, the one in use first.
    Keys(Vec<String>),
    /// No, and why.
    Refused(String),
}

/// Asks a node.
pub(super) async fn ask(keyring: &Keyring, to: SocketAddr, ask: &Ask) -> io::Result<Answer> {
    let talk = async {
        let mut stream = TcpStream::connect(to).await?;
        write(keyring, &mut stream, ask).await?;
        read(keyring, &mut stream).await
    };
    bounded(talk).await
}

/// Answers one question.
pub(super) async fn answer<F: Future<Output = Answer>>(
    keyring: &Arc<Keyring>,
    mut stream: TcpStream,
    find: impl FnOnce(Ask) -> F,
) -> io::Result<()> {
    let talk = async {
        let ask = read(keyring, &mut stream).await?;
        let answer = find(ask).await;
        write(keyring, &mut stream, &answer).await?;
        stream.shutdown().await
    };
    bounded(talk).await
}

async fn bounded<T>(talk: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(TALK_MAX, talk).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {TALK_MAX:?}"))),
    }
}

async fn write(keyring: &Keyring, stream: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let plain = postcard::to_extend(message, vec![FORMAT]).map_err(io::Error::other)?;
    let sealed = keyring.seal(&plain);
    let length = u32::try_from(sealed.len()).ok().filter(|_| sealed.len() <= MESSAGE_MAX);
    let length = length.ok_or_else(|| io::Error::other(format!("a message of more than {MESSAGE_MAX} bytes")))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&sealed).await
}

async fn read<T: DeserializeOwned>(keyring: &Keyring, stream: &mut TcpStream) -> io::Result<T> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let length = stream.read_u32().await? as usize;
    if length > MESSAGE_MAX {
        return Err(invalid("the message is too long"));
    }
    // Memory grows with what arrives, not with what was announced.
    let mut sealed = Vec::new();
    stream.take(length as u64).read_to_end(&mut sealed).await?;
    if sealed.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let plain = keyring.open_sealed(&sealed).ok_or_else(|| {
        invalid("the message is not sealed with a key of this node; is `encrypt` the same on both sides?")
    })?;
    match plain.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| invalid("the message cannot be understood")),
        _ => Err(invalid("the message is of another version")),
    }
}

//! The load generator's HTTP/1.1 client: one kept-alive connection, one request at a time, next to no work.
//!
//! It reads what the control node sends (a status line, headers with a length, a body) and nothing else, so
//! that the figures are the server's and not the client's.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer that is understood.
const ANSWER_MAX: usize = 16 << 20;

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    /// The index header, 0 without one.
    pub(crate) index: u64,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Reply<'_>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        self.exchange(request.as_bytes()).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: &str) -> Result<Reply<'_>> {
        let request = format!("PUT {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.exchange(request.as_bytes()).await
    }

    /// Registers one instance of a service, with one check of this status, on one of the nodes of ten.
    pub(crate) async fn register(&mut self, service: &str, instance: usize, status: &str) -> Result<()> {
        let (node, port) = (instance / 10, 20_000 + instance);
        let body = format!(
            r#"{{"Node": "host-{service}-{node}", "Address": "10.0.{node}.1",
                "Service": {{"ID": "{service}-{instance}", "Service": "{service}", "Port": {port},
                             "Tags": ["v1", "primary"], "Meta": {{"version": "1.2.3"}}}},
                "Check": {{"Node": "host-{service}-{node}", "CheckID": "service:{service}-{instance}",
                           "Name": "Service '{service}' check", "Status": "{status}",
                           "ServiceID": "{service}-{instance}"}}}}"#
        );
        let reply = self.put("/v1/catalog/register", &body).await?;
        ensure!(reply.status == 200, "registering: {}", String::from_utf8_lossy(reply.body));
        Ok(())
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        self.stream.write_all(request).await?;
        self.answer().await
    }

    /// Sends a request whose answer is awaited later.
    pub(crate) async fn send(&mut self, path: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// Reads one whole answer.
    pub(crate) async fn answer(&mut self) -> Result<Reply<'_>> {
        // A buffer only while reading: thousands of waiting connections must not fill the client's memory.
        self.buffer.clear();
        self.stream.readable().await?;
        self.buffer.reserve(8192);
        let (status, index, begin, end) = loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
            ensure!(self.buffer.len() < ANSWER_MAX, "the answer is too long");
        };
        self.buffer.reserve(end.saturating_sub(self.buffer.len()));
        while self.buffer.len() < end {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        }
        Ok(Reply { status, index, body: &self.buffer[begin..end] })
    }

    /// Gives back the memory of the last answer.
    pub(crate) fn shrink(&mut self) {
        self.buffer = Vec::new();
    }
}

/// Status, index, and where the body begins and ends, once the head is complete.
fn head(bytes: &[u8]) -> Result<Option<(u16, u64, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end])?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
    let (mut index, mut length) = (0, None);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { bail!("a header without a colon: {line}") };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        } else if name.eq_ignore_ascii_case("x-consul-index") {
            index = value.trim().parse()?;
        }
    }
    let begin = end + 4;
    Ok(Some((status, index, begin, begin + length.context("an answer without a length")?)))
}

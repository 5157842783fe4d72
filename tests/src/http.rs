//! A small blocking HTTP/1.1 client. It sends what it is given, byte for byte, and reads any answer a server may
//! give (length, chunks, end of stream), so that suites can also speak badly. Called by every suite.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for one answer unless told otherwise; longer than any wait the suites ask for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes of one body; a larger one is an error of the server under test.
const BODY_MAX: u64 = 64 << 20;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header names as sent and their values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header, by name without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text, bad bytes replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {self:?} with text {}", self.text()))
    }

    /// `X-Consul-Index`.
    ///
    /// # Panics
    /// When it is missing, not a number, or 0, which the API forbids.
    #[must_use]
    pub fn index(&self) -> u64 {
        let index = self.header("X-Consul-Index").and_then(|value| value.parse().ok());
        let index = index.unwrap_or_else(|| panic!("no index in {self:?}"));
        assert!(index > 0, "an index is never 0");
        index
    }

    /// Itself, if the status is 200.
    ///
    /// # Panics
    /// With any other status.
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }
}

/// The address of a server, to be asked on a new connection each time.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Http {
    /// A client of `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Asks on a connection of its own.
    ///
    /// # Errors
    /// When the server cannot be reached or its answer cannot be read.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
        Connection::open(self.address)?.request(method, path, body)
    }

    /// The same with a token.
    ///
    /// # Errors
    /// When the server cannot be reached or its answer cannot be read.
    pub fn request_as(&self, token: Option<&str>, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
        let header = token.map(|token| ("X-Consul-Token", token));
        Connection::open(self.address)?.request_with(header.as_slice(), method, path, body)
    }

    /// GET.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, b"").unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// PUT.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.request("PUT", path, body.as_ref()).unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    /// DELETE.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path, b"").unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }

    /// PUT of a JSON value that must be answered 200.
    ///
    /// # Panics
    /// When it is not.
    pub fn put_json(&self, path: &str, body: &Value) -> Reply {
        self.put(path, body.to_string()).ok()
    }

    /// Sends `bytes` as they are, says that no more will come, and reads one answer.
    ///
    /// # Errors
    /// When the server answers nothing that is HTTP.
    pub fn raw(&self, bytes: &[u8], patience: Duration) -> io::Result<Reply> {
        let mut connection = Connection::open(self.address)?;
        connection.stream.get_ref().set_read_timeout(Some(patience))?;
        // The server may refuse, answer and close before all is sent; what counts is the answer.
        let _ = connection.stream.get_mut().write_all(bytes);
        let _ = connection.stream.get_ref().shutdown(std::net::Shutdown::Write);
        connection.reply("GET")
    }
}

/// A connection that is kept open between requests.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host: address })
    }

    /// Changes how long an answer may take.
    ///
    /// # Errors
    /// When the socket refuses the time.
    pub fn patience(self, limit: Duration) -> io::Result<Self> {
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        Ok(self)
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP; whether the server has acted is unknown then.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
        self.request_with(&[], method, path, body)
    }

    /// The same with more headers.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub fn request_with(
        &mut self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &[u8],
    ) -> io::Result<Reply> {
        let (host, length) = (self.host, body.len());
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut message =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{more}\r\n").into_bytes();
        message.extend_from_slice(body);
        self.send(&message)?;
        self.reply(method)
    }

    /// Sends `bytes` as they are; what answers them is read by [`Self::reply`].
    ///
    /// # Errors
    /// When the connection breaks; how much was sent is unknown then.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer to a request that `method` began.
    ///
    /// # Errors
    /// When the connection ends or times out first, or what comes is not HTTP.
    pub fn reply(&mut self, method: &str) -> io::Result<Reply> {
        loop {
            let reply = self.read_reply(method)?;
            // 100 Continue and its like precede the answer.
            if reply.status >= 200 || reply.status == 101 {
                return Ok(reply);
            }
        }
    }

    fn read_reply(&mut self, method: &str) -> io::Result<Reply> {
        let line = self.read_line()?;
        let status = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| bad(format!("not a status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(format!("not a header: {line:?}")))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(reply);
        }
        if reply.header("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            reply.body = self.read_chunks()?;
        } else if let Some(length) = reply.header("Content-Length") {
            let length: u64 = length.parse().map_err(|_| bad("Content-Length".to_owned()))?;
            if length > BODY_MAX {
                return Err(bad(format!("a body of {length} bytes")));
            }
            (&mut self.stream).take(length).read_to_end(&mut reply.body)?;
            if reply.body.len() as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else {
            (&mut self.stream).take(BODY_MAX).read_to_end(&mut reply.body)?;
        }
        Ok(reply)
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| bad(format!("not a chunk size: {line:?}")))?;
            if size > BODY_MAX || body.len() as u64 > BODY_MAX {
                return Err(bad("a body without end".to_owned()));
            }
            if size == 0 {
                while !self.read_line()?.is_empty() {}
                return Ok(body);
            }
            let before = body.len() as u64;
            (&mut self.stream).take(size).read_to_end(&mut body)?;
            if body.len() as u64 - before != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read_line()?;
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(64 * 1024).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| bad("a header that is not text".to_owned()))
    }
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

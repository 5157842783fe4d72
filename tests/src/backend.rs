//! A tiny HTTP server inside the test: something for a check to look at and for a scraper to scrape.
//! It answers every request with one status and body, both changeable while it runs, and counts what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running server. Dropping it closes its listener.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    status: AtomicU16,
    body: Mutex<String>,
    asked: AtomicU64,
    ended: AtomicBool,
}

impl Backend {
    /// Starts on a free port and answers 200 with `body`.
    ///
    /// # Panics
    /// When loopback gives no port.
    #[must_use]
    pub fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            status: AtomicU16::new(200),
            body: Mutex::new(body.to_owned()),
            asked: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let seen = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { address, shared }
    }

    /// The status of the next answers.
    pub fn set_status(&self, status: u16) {
        self.shared.status.store(status, Ordering::Release);
    }

    /// How many requests came.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Acquire)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // One more connection wakes the accept loop, which then sees that it is over.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// Answers requests of one connection until it ends; bodies of requests are not read.
fn serve(stream: TcpStream, shared: &Shared) {
    let Ok(mut out) = stream.try_clone() else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut begun = false;
        loop {
            line.clear();
            if !matches!(lines.read_line(&mut line), Ok(1..)) || shared.ended.load(Ordering::Acquire) {
                return;
            }
            if line.trim_end().is_empty() {
                break;
            }
            begun = true;
        }
        if !begun {
            continue;
        }
        shared.asked.fetch_add(1, Ordering::AcqRel);
        let status = shared.status.load(Ordering::Acquire);
        let body = shared.body.lock().expect("no thread panics while it reads the body").clone();
        let answer = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{body}",
            if status == 200 { "OK" } else { "Other" },
            body.len()
        );
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

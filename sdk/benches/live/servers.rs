//! The servers that are called: a child process that sleeps in queues, says its load, and ends with its parent.

use std::convert::Infallible;
use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::load::{LoadReporter, ReportLoadLayer, Responder};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_layer::Layer;

const SERVERS: usize = 20;
const SLOW: usize = 4;
const FACTOR: f64 = 3.0;
const WORKERS: usize = 4;
/// The mean time of work on a fast server, in seconds.
const WORK: f64 = 0.020;

/// Requests per second that all servers can do together.
pub(crate) fn capacity() -> f64 {
    ((SERVERS - SLOW) as f64 + SLOW as f64 / FACTOR) * WORKERS as f64 / WORK
}

/// The child process, and the ports of its servers: HTTP and probes.
pub(crate) struct Servers {
    child: Child,
    pub(crate) ports: Vec<(u16, u16)>,
}

/// Starts this program once more, as the servers.
pub(crate) fn start() -> Result<Servers, Box<dyn Error>> {
    let mut child =
        Command::new(std::env::current_exe()?).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the child has an output")?;
    let mut servers = Servers { child, ports: Vec::new() };
    for line in BufReader::new(output).lines().take(SERVERS) {
        let line = line?;
        let (http, probe) = line.split_once(' ').ok_or("a line names two ports")?;
        servers.ports.push((http.parse()?, probe.parse()?));
    }
    Ok(servers)
}

impl Drop for Servers {
    fn drop(&mut self) {
        // It would end by itself when its input closes; this only waits less.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until the input is closed.
pub(crate) async fn serve() -> Result<(), Box<dyn Error>> {
    let mut held = Vec::new();
    for number in 0..SERVERS {
        let reporter = LoadReporter::new();
        let responder = Responder::bind(reporter.clone(), "127.0.0.1:0").await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{} {}", listener.local_addr()?.port(), responder.port());
        let mean = if number < SLOW { WORK * FACTOR } else { WORK };
        tokio::spawn(accept(listener, reporter, mean));
        held.push(responder);
    }
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    closed.await??;
    Ok(())
}

async fn accept(listener: TcpListener, reporter: LoadReporter, mean: f64) {
    let workers = Arc::new(Semaphore::new(WORKERS));
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let workers = Arc::clone(&workers);
        let work = tower::service_fn(move |_: Request<Incoming>| {
            let workers = Arc::clone(&workers);
            async move {
                // Given out in the order in which they were asked for.
                let _worker = workers.acquire().await;
                let time = -mean * (1.0 - fastrand::f64()).ln();
                tokio::time::sleep(Duration::from_secs_f64(time)).await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
            }
        });
        let service = TowerToHyperService::new(ReportLoadLayer::new(reporter.clone()).layer(work));
        tokio::spawn(async move {
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

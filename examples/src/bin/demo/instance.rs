//! What this program is when it is one of the instances: a small HTTP service that signs itself in.
//!
//! Says one line of JSON once it is registered, and leaves in good order on SIGTERM or when its parent is gone.

use std::io::Write as _;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use callboard::{Client, Drain, Service};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::{Error, stage, told};

/// The header by which an instance says who it is.
pub(crate) const HEADER: &str = "x-instance";

/// How long a beat lasts. Shorter than the default, so that half a minute shows what a missing beat does.
const TTL: Duration = Duration::from_secs(3);

/// Serves until it is told to end.
pub(crate) async fn run(id: &str) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (name, text) = (id.to_owned(), format!("hello from {id}\n"));
    let app = Router::new().route("/", get(move || async move { ([(HEADER, name)], text) }));
    tokio::spawn(axum::serve(listener, app).into_future());

    let client = Client::from_env()?;
    let me = client
        .register(Service::new(stage::SERVICE).id(id).address("127.0.0.1").port(port).tags(["demo"]).ttl(TTL))
        .await?;
    let mut line = serde_json::json!({"id": id, "port": port}).to_string();
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes())?;

    let orphaned = async {
        let mut stdin = tokio::io::stdin();
        let mut part = [0; 64];
        while stdin.read(&mut part).await.is_ok_and(|count| count > 0) {}
    };
    tokio::select! {
        () = told() => {}
        () = orphaned => {}
    }
    // Nobody calls any more when the demo ends its instances, so there is nobody to wait for.
    let _ = me.drain(Drain { settle: Duration::ZERO, grace: Duration::from_secs(1) }).await;
    client.shutdown().await;
    // The read of standard input cannot be given up, and would keep the runtime from ending.
    std::process::exit(0);
}

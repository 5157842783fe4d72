//! Service registration, discovery and client-side load balancing.
//!
//! Works against a Callboard control node and, unchanged, against a Consul agent.
//!
//! ```no_run
//! use callboard::{Client, Drain, Service, balance::Policy, signal};
//! use http_body_util::Empty;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::from_env()?;
//! let me = client.register(Service::new("web").port(8080)).await?;
//! let users = client.http::<Empty<bytes::Bytes>>("users", Policy::default())?;
//! let answer = users.send(http::Request::get("/users/7").body(Empty::new())?).await?;
//! println!("{}", answer.status());
//! // … while the application serves on port 8080; then, at SIGTERM or Ctrl-C, without losing a call:
//! let _ = me.run_until_drained(signal::shutdown(), Drain::default()).await;
//! client.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Map, from the inside out:
//!
//! - [`endpoint`] is something that can be dialled, [`catalog`] the local copy of what the registry lists,
//!   [`balance`] chooses among it: no I/O;
//! - [`http`] holds connections; [`watch`] keeps the catalog live; [`registration`] keeps this process in the registry;
//! - [`load`] says how busy a server is, and asks servers;
//! - [`lock`] holds locks, elections and semaphores, each with a fencing token;
//! - [`call`] calls services over HTTP ([`tower`] is its `tower` side); [`client`] is the handle from which all of it is had;
//! - [`connect`] is for plain TCP, and `axum`, `hyper`, `reqwest`, `tonic` and more of [`tower`] (features of those names)
//!   for whoever has a client or a server already; `metrics` tells the facade of that name how it goes;
//! - [`route`] says what the registry's rules say of a call: no I/O;
//! - `check` (feature of that name) probes how well something is;
//! - `testing` (feature of that name) is a control node in memory, for the tests of applications.

#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

#[doc = include_str!("../docs/migrate.md")]
pub mod migrate {}

#[cfg(feature = "axum")]
pub mod axum;
pub mod backoff;
pub mod balance;
pub mod call;
pub mod catalog;
#[cfg(feature = "check")]
pub mod check;
pub mod client;
pub mod config;
pub mod connect;
#[cfg(any(feature = "hyper", feature = "reqwest"))]
pub mod directory;
pub mod endpoint;
mod environment;
pub mod error;
pub mod http;
#[cfg(feature = "hyper")]
pub mod hyper;
pub mod load;
pub mod lock;
#[cfg(feature = "metrics")]
pub mod metrics;
mod observe;
pub mod peers;
pub mod registration;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod resolve;
pub mod route;
pub mod signal;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tonic")]
pub mod tonic;
pub mod tower;
pub mod watch;

pub use client::Client;
pub use config::ClientBuilder;
pub use error::Error;
pub use registration::{Drain, Registered, Service};

//! Service registration, discovery and client-side load balancing.
//!
//! Works against a Callboard control node and, unchanged, against a Consul agent.
//!
//! ```no_run
//! use callboard::balance::Policy;
//! use callboard::{Client, Drain, Error, Service};
//! use http_body_util::Empty;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::from_env()?;
//! let me = client.register(Service::new("web").port(8080)).await?;
//! let users = client.http::<Empty<bytes::Bytes>>("users", Policy::default())?;
//! let answer = users.send(http::Request::get("/users/7").body(Empty::new())?).await?;
//! println!("{}", answer.status());
//! // … serve on port 8080 until it is time to leave, then:
//! let _ = me.drain(Drain::default()).await;
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
//! - [`client`] is the handle from which all of it is had; [`tower`] calls services over HTTP;
//! - `check` (feature of that name) probes how well something is.

#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

pub mod backoff;
pub mod balance;
pub mod catalog;
#[cfg(feature = "check")]
pub mod check;
pub mod client;
pub mod config;
pub mod endpoint;
pub mod error;
pub mod http;
pub mod load;
pub mod registration;
pub mod tower;
pub mod watch;

pub use client::Client;
pub use config::ClientBuilder;
pub use error::Error;
pub use registration::{Drain, Registered, Service};

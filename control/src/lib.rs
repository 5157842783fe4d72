//! The control node: it holds the registry and speaks Consul's HTTP API and DNS.
//!
//! The way through the house, from the outside in:
//!
//! - [`cli`] reads the command line, [`config`] the settings, [`listen`] binds, [`server`] builds everything once;
//! - [`http`] and [`dns`] answer clients, [`console`] serves the page; they read through one handle,
//! - [`cluster`]: propose, query, wait; it turns committed batches into
//! - [`registry`]: the pure, deterministic state, whose changes wake readers through
//! - [`watch`]: the hub; [`check`] keeps the checks of the node alive, [`session`] ends what is not renewed, and
//! - [`connect`] signs for the services of a mesh, [`tls`] says what the sockets show and whom they trust, [`event`]
//!   tells all nodes what need not be kept, [`exec`] runs programs for others where that is allowed, [`query`] knows what a prepared query finds,
//!   [`gateway`] which gateways carry a service, [`snapshot`] keeps a registry elsewhere;
//! - [`definitions`] keeps registered what files define, [`reload`] reads them again, [`monitor`] lets the log be heard.
//!
//! Nothing imports `server` or `cli`; no module below `server` sees [`config::Config`]; the registry
//! imports only the words of `callboard-proto`.

#[doc = include_str!("../docs/command-line.md")]
pub mod command_line {}

pub mod acl;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connect;
pub mod console;
mod deadlines;
pub mod definitions;
pub mod dns;
pub mod error;
pub mod event;
pub mod exec;
pub mod gateway;
pub mod host;
pub mod http;
pub mod identity;
pub mod listen;
mod log_file;
pub mod monitor;
mod program;
pub mod query;
pub mod registry;
pub mod reload;
pub mod server;
pub mod session;
mod settings;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod watch;

pub use error::Error;

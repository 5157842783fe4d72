//! The SDK as a process beside an application in any language.
//!
//! The application calls a local port; the sidecar knows who is there, picks, and passes the request
//! on. It also signs the application in and tells the registry when it is leaving. It is an
//! application of the SDK (`callboard`): discovery, balancing, pooling and retrying are there.
//!
//! Map, in the order of a request: `accept` (a worker, its listeners and connections), `io` (what
//! does the client speak?), `outbound` (which service? by `route`), `directory` and `upstream` (the
//! services followed), `forward` (through to an instance and back). Beside it: `register` (the local
//! application), `admin` (ready, live, metrics) and `events` (user events, for the application), `conn` (patience with connections), and `server`,
//! which builds everything once from a [`Config`] and takes it down in an order that loses nothing.

mod accept;
mod admin;
mod config;
mod conn;
mod directory;
mod error;
mod events;
mod forward;
mod io;
mod metrics;
mod outbound;
mod register;
mod route;
mod server;
mod upstream;

pub use config::{
    Config, ControlConfig, Flags, Hash, HashBy, OutboundConfig, Policy, Protocol, ServiceConfig, Timeouts,
    UpstreamConfig,
};
pub use directory::Source;
pub use error::Error;
pub use server::{Addresses, Server};

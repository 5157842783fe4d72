//! Health probes: how a check finds out how well something is, and when that is news.
//!
//! A [`Runner`] takes a definition and runs it until it is told to end; [`probe`] runs one once. The map:
//!
//! - pure: [`schedule`] (when, and how many results in a row count), [`limits`] (service quality),
//!   [`alias`], [`ttl`] (for whoever hears other checks or beats), [`output`], `redirect`;
//! - one file per kind: `http`, `tcp`, `udp`, `grpc`, `h2ping`, `script`, `closure`;
//! - beneath them: `dial` (addresses, connections), `tls`, [`process`] (memory and CPU).
//!
//! Knows neither the registry nor a client of it: control nodes, sidecars and applications each decide
//! what becomes of a verdict.

pub mod alias;
mod closure;
mod dial;
mod grpc;
mod h2ping;
mod http;
pub mod limits;
pub mod output;
mod probe;
pub mod process;
mod redirect;
mod runner;
pub mod schedule;
#[cfg(unix)]
mod script;
mod tcp;
mod tls;
pub mod ttl;
mod udp;

#[cfg(test)]
mod probe_tests;

pub use closure::Closure;
pub use probe::{Context, Report, probe, timeout};
pub use runner::{News, NotRun, Runner, Verdict};

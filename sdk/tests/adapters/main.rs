//! The adapters against real sockets: calls pass over a dead endpoint, and what is in flight comes back to none when an
//! answer is dropped half way. A file per adapter, compiled where its feature is on.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

#[cfg(feature = "axum")]
mod axum_server;
mod backend;
mod connect;
#[cfg(any(feature = "axum", feature = "metrics"))]
#[path = "../fake/mod.rs"]
mod fake;
#[cfg(feature = "hyper")]
mod hyper_client;
#[cfg(feature = "metrics")]
mod metrics_facade;
#[cfg(feature = "reqwest")]
mod reqwest_client;
#[cfg(feature = "tonic")]
mod tonic_channel;
#[cfg(feature = "tower")]
mod tower_layers;

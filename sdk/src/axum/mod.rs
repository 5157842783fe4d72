//! A server on axum that signs in where it listens and leaves without losing a call.
//!
//! [`serve`] begins to serve, registers on the address that was bound, answers `/live` and `/ready`, counts requests in
//! flight, and at the end goes in this order: critical in the registry while it still serves, callers are asked
//! to close, it stops accepting, what is in flight finishes, it deregisters. What the service does is the router's.

mod probes;
mod serve;

pub use serve::{Registering, Serve, Serving, serve};

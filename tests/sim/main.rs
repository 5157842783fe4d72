//! The SDK's policies on simulated fleets: deterministic, without sockets, in virtual time.

mod bounded;
mod policies;
mod world;

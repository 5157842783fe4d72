//! Stories with the real programs: a control node, sidecars, the examples; what a user does and sees.
//!
//! `examples` runs each example as a process. `sidecar` tells of applications that know nothing of Callboard.
//! `cold_start` is about processes that start while the registry is gone.
//! `mesh` is about proxies, their certificates and who may call whom, `tls` about the certificates of agents.
//! `cluster` is about more than one node, `default_ports` about three on the default ports, `events` about what is said to
//! all of them, `coordinates` about how far they are apart.
//! `configuration` is about files, signals and bounds that the operator sets.
//! `operation` is the control node's own life: start, signals, forgetting everything.

mod cluster;
mod cold_start;
mod configuration;
mod coordinates;
mod default_ports;
mod events;
mod examples;
mod member;
mod mesh;
mod operation;
mod sidecar;
mod tls;

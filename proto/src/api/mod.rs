//! Consul's HTTP interface as types: what is asked, in which words it is answered.
//!
//! One file per family of paths; [`decode`] reads bodies the way clients write them, [`query`] reads
//! and writes query strings, [`meta`] the answer's headers.

pub mod acl;
pub mod agent;
pub mod catalog;
pub mod check;
mod check_rules;
pub mod config;
pub mod connect;
pub mod coordinate;
pub mod decode;
pub mod discovery_chain;
pub mod event;
pub mod gateway;
pub mod health;
pub mod intention;
pub mod kv;
pub mod meta;
pub mod operator;
pub mod prepared;
pub mod proxy;
pub mod query;
pub mod session;
pub mod sidecar;
pub mod txn;
pub mod valid;

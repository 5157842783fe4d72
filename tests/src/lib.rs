//! The harness that every suite here shares: real binaries, real sockets, nothing pretended.
//!
//! | Module | Holds |
//! | --- | --- |
//! | `binaries` | builds the two programs once and says where they are |
//! | `process` | a child that is ended by its own id when the value goes |
//! | `node` | a control node on free ports: start, kill, start again |
//! | `http` | a small blocking HTTP/1.1 client that can also say the wrong thing |
//! | `conformance` | the pages that say what a run found |
//! | `description` | what the server says of its own interface |
//! | `dns` | a question over UDP or TCP and its decoded answer |
//! | `wait` | waiting for a state, with a deadline |
//! | `length` | how long a suite goes on |
//! | `namespace` | a network of a suite's own |
//! | `network` | the same with a cable to it that can be pulled |
//! | `backend` | a tiny HTTP server for checks and scrapes to look at |
//! | `needs` | what a suite needs from outside, and what to do when it is missing |
//!
//! Everything is blocking and of the standard library: a suite must be able to read a socket byte by byte.

pub mod backend;
pub mod binaries;
pub mod conformance;
pub mod description;
pub mod dns;
pub mod http;
pub mod length;
pub mod namespace;
pub mod needs;
pub mod network;
pub mod node;
pub mod process;
pub mod wait;

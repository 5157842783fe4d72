//! A connector for hyper's own client: the host of a URI is a service, the connection goes to one of its endpoints.
//!
//! Balances connections, not requests: hyper keeps a pool per host and uses a connection again for as long as it can.
//! A connection counts as one in flight while it is open, so least request spreads connections. To balance every request
//! use [`crate::tower::HttpService`]. TLS goes around it, in a connector that wraps connectors.

mod connector;

pub use connector::{Connector, HttpStream};

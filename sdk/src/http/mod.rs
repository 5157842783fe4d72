//! HTTP as a client: connections, the one pool of the project, and the transport to the control nodes.
//!
//! [`Pool`] and [`Payload`] also carry the data path (`call`, and through it the sidecar);
//! [`Transport`] is for control calls only: small bodies, several servers, failover.

mod address;
mod connect;
mod discard;
mod exchange;
mod lease;
mod payload;
mod pool;
mod question;
mod rank;
mod servers;
mod speech;
mod stream;
mod streamed;
mod tls;
mod transport;

pub use address::Address;
pub use connect::ConnectError;
pub(crate) use connect::open;
pub use discard::discard;
pub use lease::{Lease, Unsent};
pub use payload::{Payload, Piece};
pub use pool::{Bounds, Pool, PoolSettings, Protocol};
pub use question::Answer;
pub(crate) use question::Repeat;
pub(crate) use stream::Stream;
pub use stream::{Dialer, Memory, MemoryListener, memory};
pub use streamed::Streamed;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use tls::TlsOptions;
#[cfg(feature = "check")]
pub(crate) use tls::{AnyCertificate, versions};
pub use transport::{Transport, TransportSettings};

//! gRPC clients over the catalog: a channel that balances every call, not every connection.
//!
//! One HTTP/2 connection per endpoint carries all calls to it; each call picks anew, so that a channel that lives for
//! weeks still spreads its load. An answer is judged by its gRPC status, in the head or in the trailers, and a stream
//! counts in flight to its end. Clear text only. Made for the clients that `tonic-build` generates.

mod channel;

pub use channel::Channel;

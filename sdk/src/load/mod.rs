//! How busy a server is: measured where it serves, said to whoever asks, asked by whoever balances.
//!
//! A [`LoadReporter`] counts what a server has in flight and knows how long requests take at that load. It says so in two
//! ways: in a header of each response (`callboard-load`), and over UDP to [`Responder`]'s port, which instances
//! advertise in their meta data (`callboard-probe`). A [`Prober`] asks endpoints of one service as often as its
//! calls need it, and feeds the replies to the pool that [`crate::balance::Policy::Prequal`] chooses by.
//! A caller that goes by a bound ([`crate::balance::Policy::bounded`]) says it with the request (`callboard-bound`), and the
//! layer refuses what would exceed it before the application sees it.
//! Formats and schedules are pure; sockets are in `responder` and `prober` alone.

mod bound;
mod header;
mod layer;
mod packet;
mod prober;
mod reporter;
mod responder;
mod samples;
mod schedule;

pub use bound::{BOUND_HEADER, admits, is_refusal, read_bound};
pub use header::{LOAD_HEADER, read, write};
pub use layer::{ReportLoad, ReportLoadLayer, ReportedBody};
pub use packet::{PACKET_LEN, Packet};
pub use prober::{Prober, ProberSettings};
pub use reporter::{LoadReporter, Serving};
pub use responder::Responder;
pub use schedule::{ProbeBudget, Schedule};

/// The meta key of an instance that names the UDP port on which it answers probes.
pub const PROBE_META: &str = "callboard-probe";

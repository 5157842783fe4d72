//! What goes over the wire, compared with what a real Consul answered and with the contract's own test vectors.
//!
//! `replay` asks a fresh node what the recording asked, in the same order. `compare` finds every difference in status,
//! headers and JSON after indexes, ids, ports and times are made alike. `differences` lists the ones that are meant,
//! each with the line of the contract that asks for it. `vectors` is the contract's table.

mod compare;
mod differences;
mod replay;
mod vectors;

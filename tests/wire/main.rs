//! What goes over the wire, compared with what a real Consul answered and with the contract's own test vectors.
//!
//! `recorded` replays what was recorded; `replay` asks a node what a recording asked, in the same order, and `names` does
//! so for DNS. `table` makes the page of conformance of what they find. `compare` finds every difference in status,
//! headers and JSON after indexes, ids, ports and times are made alike. `differences` lists the ones that are meant,
//! each with the line of the contract that asks for it; `acl_differences` does so for
//! the recording of a node with access control. `vectors` is the contract's table, and `reads` asks what is in neither.

mod acl_differences;
mod compare;
mod differences;
mod names;
mod reads;
mod recorded;
mod replay;
mod table;
mod vectors;

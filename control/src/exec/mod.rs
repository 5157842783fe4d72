//! Programs that are run for somebody elsewhere, in Consul's manner.
//!
//! Whoever asks opens a session, writes a job below `PREFIX/SESSION/`, and fires an internal event that names both. Each
//! node that the event is for, and that allows it, reads the job, and says below `PREFIX/SESSION/NODE/` that it took it, what
//! the program says, and how it ended. All of these keys belong to the session: they go with it, and so do the programs
//! that still run. What a program left in the background when it ended by itself is nobody's any more.
//!
//! `words` (PURE) are the protocol, used by both sides: this room is the node's side, the command line's `exec` the other.
//! `output` (PURE) cuts what a program says into bounded pieces, `desk` reads and writes keys by the right of the node's own
//! token, `run` runs one program, `listen` takes what is asked for. Who calls it: `server`, where the settings allow it.

mod desk;
mod listen;
mod output;
mod run;
mod words;

pub use listen::{Exec, listen};
pub use words::{Call, Job, PREFIX, Part, Place, WordError};

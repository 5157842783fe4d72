//! What is told is kept. `kills` ends the node with SIGKILL under writers, again and again, and looks at what is left;
//! `disk` takes its disk away. Both keep a ledger of what was asked and what was answered.

mod disk;
mod kills;
mod ledger;

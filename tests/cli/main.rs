//! The command line against a control node that runs: what is printed, and the exit code, as lines of data.

mod basics;
mod codes;
mod locks;
mod moving;
mod operators;
mod run;
mod watches;

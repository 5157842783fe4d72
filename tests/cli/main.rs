//! The command line against a control node that runs: what is printed, and the exit code, as lines of data.

mod access;
mod basics;
mod codes;
mod locks;
mod mesh;
mod moving;
mod nodes;
mod operators;
mod page;
mod remote;
mod run;
mod watches;

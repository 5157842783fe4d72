//! Tidy checks are ordinary tests: who may know whom, what may stand in a source file, what may come into the tree.
//! They read sources, `cargo metadata` and `deny.toml`; they run nothing.

mod dependencies;
mod directions;
mod sources;

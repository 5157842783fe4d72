//! Tidy checks are ordinary tests: who may know whom, what may stand in a source file.
//! They read sources and `cargo metadata`; what may come into the tree is `cargo deny`'s to say.

mod directions;
mod sources;

//! Access control on a whole node: who may do what on every path (`matrix`, by the table in
//! `rows`), and that nothing seeps through waiting
//! reads, shared answers, DNS or numbers (`leaks`). `world` is a node with rows, and callers with each kind of right.

mod leaks;
mod life;
mod matrix;
mod rows;
mod world;

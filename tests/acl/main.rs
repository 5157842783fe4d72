//! Access control on a whole node: who may do what on every path (`matrix`, by the table in `rows`), and that nothing
//! seeps through waiting reads, shared answers, DNS or numbers (`leaks`). `life` is what becomes of tokens, `lists` are
//! lists under a filter. `world` is a node with rows, and callers with each kind of right.

mod leaks;
mod life;
mod lists;
mod matrix;
mod rows;
mod world;

//! Keys, check-and-set, locks and sessions behave as if every request took effect at one moment between its sending
//! and its answer (Herlihy and Wing, 1990), also while the node is killed under its clients.
//!
//! `checker` decides that for any model and any history, and `soundness` shows that it does; `register` and `lock` say
//! what one key may answer; `live` makes the histories with a real node.

mod checker;
mod live;
mod lock;
mod register;
mod soundness;

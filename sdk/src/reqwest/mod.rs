//! reqwest over the catalog: `http://users/7` reaches an instance of `users`.
//!
//! [`Balance`] is a middleware of `reqwest-middleware`: it balances every request, retries within the budget, records
//! outcomes and counts a call to the end of its body. [`Resolver`] answers reqwest's question for addresses, balances
//! connections only and hears of no outcome: it is for `https://` and for clients that cannot take a middleware.
//! Both leave hosts alone that mean no service.

mod balance;
mod resolver;

pub use balance::Balance;
pub use resolver::Resolver;

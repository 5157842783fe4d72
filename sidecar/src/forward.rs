//! Moving what a client sent to an instance, and what it answered back.
//!
//! `http` turns a request around (`headers` cleans it, `upload` goes there, `body` comes back), `tcp` pumps bytes,
//! `answer` says in one place what a failure looks like to the client. Nothing here picks, pools or
//! retries requests: that is the SDK's.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod headers;
pub(crate) mod http;
pub(crate) mod tcp;
pub(crate) mod upload;

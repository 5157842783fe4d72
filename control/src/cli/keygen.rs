//! `keygen`: a key that seals what nodes say to one another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::rand::{GetRandomFlags, getrandom};

use super::Ended;
use super::failure::{Failure, Kind};
use super::talk::say;

/// Prints 32 random bytes of the system's in base64.
pub(super) fn run() -> Ended {
    let mut key = [0u8; 32];
    let taken = getrandom(&mut key[..], GetRandomFlags::empty());
    let taken = taken.map_err(|error| Failure::because(Kind::Failed, "asking the system for random bytes", &error))?;
    if taken != key.len() {
        return Err(Failure::new(Kind::Failed, "the system gave too few random bytes"));
    }
    say(STANDARD.encode(key))?;
    Ok(0)
}

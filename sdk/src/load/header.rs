//! The header by which a response says how busy its server is: `callboard-load: <in flight>;<latency in µs>`.
//!
//! Written by a server's layer, read and taken away by the caller's side before the application sees the response.

use std::fmt::Write;

use http::{HeaderName, HeaderValue};

use crate::endpoint::Load;

/// The header's name.
pub const LOAD_HEADER: HeaderName = HeaderName::from_static("callboard-load");

/// Writes a load as the header's value.
#[must_use]
pub fn write(load: Load) -> HeaderValue {
    let mut text = String::with_capacity(21);
    // Writing to a string cannot fail, and digits may stand in any header.
    let _ = write!(text, "{};{}", load.in_flight, load.latency);
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0;0"))
}

/// Reads the header's value; none when it is something else.
#[must_use]
pub fn read(value: &HeaderValue) -> Option<Load> {
    let (in_flight, latency) = value.to_str().ok()?.split_once(';')?;
    Some(Load { in_flight: digits(in_flight)?, latency: digits(latency)? })
}

/// Reads a number of digits alone, without a sign.
pub(super) fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_load_is_none() {
        for text in ["", ";", "1", "1;", ";1", "1;2;3", "-1;2", "+1;2", "1; 2", "4294967296;1", "a;b"] {
            assert_eq!(read(&HeaderValue::from_static(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_load_comes_back(in_flight in any::<u32>(), latency in any::<u32>()) {
            let load = Load { in_flight, latency };
            prop_assert_eq!(read(&write(load)), Some(load));
        }
    }
}

//! The header by which a caller says how many requests the server may have in flight: `callboard-bound: <most>`.
//!
//! What a caller knows of one server's requests is as old as its last response; how many all servers have together changes
//! slowly. So the caller says what the bound is, and the server, which has the exact count, whether it is reached. The rule is
//! [`admits`]; `layer` goes by it, and so does the simulation of a fleet. Written and understood by `call`.

use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::header::{LOAD_HEADER, digits};

/// The header's name: in a request the bound, in an answer that the request was refused by it.
pub const BOUND_HEADER: HeaderName = HeaderName::from_static("callboard-bound");

/// Says whether a server with so many requests in flight takes one more, when the caller allows it `bound` in all. One
/// that has none takes any.
#[inline]
#[must_use]
pub const fn admits(in_flight: u32, bound: u32) -> bool {
    in_flight == 0 || in_flight < bound
}

/// Reads the header's value; none when it is something else.
#[must_use]
pub fn read_bound(value: &HeaderValue) -> Option<u32> {
    digits(value.to_str().ok()?)
}

/// Says whether an answer, to a request that carried a bound, is the refusal by that bound: no application saw the request.
#[must_use]
pub fn is_refusal<B>(answer: &Response<B>) -> bool {
    answer.status() == StatusCode::SERVICE_UNAVAILABLE
        && answer.headers().contains_key(BOUND_HEADER)
        && answer.headers().contains_key(LOAD_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_counts_the_request_itself() {
        assert!(admits(0, 1) && !admits(1, 1) && admits(24, 25) && !admits(25, 25) && !admits(26, 25));
        assert!(admits(0, 0), "nobody is full who has nothing to do");
    }

    #[test]
    fn what_is_no_bound_is_none() {
        for (text, bound) in [("25", Some(25)), ("", None), ("-1", None), ("+1", None), ("4294967296", None)] {
            assert_eq!(read_bound(&HeaderValue::from_static(text)), bound, "{text}");
        }
        assert_eq!(read_bound(&HeaderValue::from(7u32)), Some(7));
    }

    #[test]
    fn a_refusal_has_both_headers() {
        let answer = |status: u16, headers: &[&HeaderName]| {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            headers.iter().for_each(|name| drop(answer.headers_mut().insert(*name, HeaderValue::from(1u32))));
            answer
        };
        assert!(is_refusal(&answer(503, &[&BOUND_HEADER, &LOAD_HEADER])));
        assert!(!is_refusal(&answer(503, &[&LOAD_HEADER])), "the application's own");
        assert!(!is_refusal(&answer(200, &[&BOUND_HEADER, &LOAD_HEADER])));
    }
}

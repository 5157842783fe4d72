//! What a response says about the endpoint that gave it.
//!
//! HTTP tells it in the head; gRPC in the head only when there is nothing else, and otherwise in the trailers. Called
//! by [`super::HttpService`] at the head and by the response's body at its end. Pure.

use http::{HeaderMap, Response, StatusCode};

use crate::endpoint::Outcome;

/// The header, or trailer, that carries the status of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";

/// Names whose rules tell success from failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Judge {
    /// 502, 503 and 504 speak against the endpoint; a 500 may be the fault of one request.
    #[default]
    Http,
    /// As HTTP, and of the gRPC statuses: unknown (2), deadline exceeded (4), resource exhausted (8), internal (13),
    /// unavailable (14) and data loss (15), and a stream that ends without a status.
    Grpc,
}

impl Judge {
    /// Judges a response by its head; none when that is to be told at its end.
    #[must_use]
    pub fn head<B>(self, response: &Response<B>) -> Option<Outcome> {
        let refused = matches!(
            response.status(),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        match self {
            _ if refused => Some(Outcome::Failed),
            Judge::Http => Some(Outcome::Success),
            Judge::Grpc => grpc(response.headers()),
        }
    }

    /// Judges a response at its end by its trailers, of which there may be none; none when the head said it all.
    #[must_use]
    pub fn end(self, trailers: Option<&HeaderMap>) -> Option<Outcome> {
        match self {
            Judge::Http => None,
            Judge::Grpc => trailers.and_then(grpc).or(Some(Outcome::Failed)),
        }
    }
}

fn grpc(headers: &HeaderMap) -> Option<Outcome> {
    let status = headers.get(GRPC_STATUS)?;
    // Compared as text: a status that is no number is as bad as an unknown one.
    Some(match status.as_bytes() {
        b"0" | b"1" | b"3" | b"5" | b"6" | b"7" | b"9" | b"10" | b"11" | b"12" | b"16" => Outcome::Success,
        _ => Outcome::Failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, grpc: Option<&'static str>) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(grpc) = grpc {
            response.headers_mut().insert(GRPC_STATUS, grpc.parse().unwrap());
        }
        response
    }

    #[test]
    fn http_says_it_in_the_head() {
        for (status, outcome) in [(200, Outcome::Success), (500, Outcome::Success), (503, Outcome::Failed)] {
            assert_eq!(Judge::Http.head(&answer(status, None)), Some(outcome), "{status}");
        }
        assert_eq!(Judge::Http.end(None), None);
    }

    #[test]
    fn grpc_says_it_where_it_has_a_status() {
        assert_eq!(Judge::Grpc.head(&answer(200, None)), None, "wait for the end");
        assert_eq!(Judge::Grpc.head(&answer(503, None)), Some(Outcome::Failed));
        assert_eq!(Judge::Grpc.end(None), Some(Outcome::Failed), "an end without a status");
        let failures = ["2", "4", "8", "13", "14", "15", "x", "17"];
        for status in (0..=16).map(|status: u8| status.to_string()).chain(["x".into(), "17".into()]) {
            let outcome = if failures.contains(&status.as_str()) { Outcome::Failed } else { Outcome::Success };
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
            assert_eq!(Judge::Grpc.end(Some(&trailers)), Some(outcome), "{status}");
        }
        assert_eq!(Judge::Grpc.head(&answer(200, Some("14"))), Some(Outcome::Failed), "trailers only");
    }
}

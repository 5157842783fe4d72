//! What a failure looks like to the client: one status, one header with a word for machines, one
//! sentence for people. The only place that chooses a status.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::Body;

/// Names the kind of failure when an answer is the sidecar's own.
pub(crate) const ERROR_HEADER: HeaderName = HeaderName::from_static("x-callboard-error");

/// Kinds of failure; the order is the order of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request cannot be passed on as it is.
    BadRequest,
    /// The host is not a name of the catalog.
    NoRoute,
    /// Too many services are followed already.
    TooManyServices,
    /// There is no instance to call.
    NoEndpoint,
    /// No instance could be connected to.
    Connect,
    /// The connection ended before there was an answer.
    Reset,
    /// The answer did not begin in time.
    Timeout,
    /// The sidecar is about to end.
    Closing,
    /// As much is under way as may be.
    Overloaded,
}

impl Failure {
    /// Every kind, in the order of the counters.
    pub(crate) const ALL: [Failure; 9] = [
        Failure::BadRequest,
        Failure::NoRoute,
        Failure::TooManyServices,
        Failure::NoEndpoint,
        Failure::Connect,
        Failure::Reset,
        Failure::Timeout,
        Failure::Closing,
        Failure::Overloaded,
    ];

    /// The word in the header and in the metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Failure::BadRequest => "bad-request",
            Failure::NoRoute => "no-route",
            Failure::TooManyServices => "too-many-services",
            Failure::NoEndpoint => "no-endpoint",
            Failure::Connect => "connect",
            Failure::Reset => "reset",
            Failure::Timeout => "timeout",
            Failure::Closing => "closing",
            Failure::Overloaded => "overloaded",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Failure::BadRequest => StatusCode::BAD_REQUEST,
            Failure::NoRoute => StatusCode::NOT_FOUND,
            Failure::TooManyServices | Failure::NoEndpoint | Failure::Closing | Failure::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Failure::Connect | Failure::Reset => StatusCode::BAD_GATEWAY,
            Failure::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Builds the answer.
    pub(crate) fn answer(self, text: impl std::fmt::Display) -> Response<Body> {
        let text = format!("{text}\n");
        let length = text.len();
        let mut response = Response::new(Body::text(Bytes::from(text)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(ERROR_HEADER, HeaderValue::from_static(self.word()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_an_error_and_has_a_counter() {
        for (position, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, position);
            let response = failure.answer("why");
            assert!(response.status().is_client_error() || response.status().is_server_error());
            assert_eq!(response.headers()[ERROR_HEADER], failure.word());
        }
    }
}

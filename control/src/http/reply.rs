//! Answers: bodies, headers, and the one place where an error becomes a status.

use bytes::Bytes;
use callboard_proto::acl::Fallback;
use callboard_proto::api::decode::DecodeError;
use callboard_proto::api::meta;
use callboard_proto::api::query::QueryError;
use callboard_proto::api::valid::InvalidRequest;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION, VARY};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use super::payload::Payload;
use crate::acl::{Denial, UnknownToken};
use crate::check::BeatError;
use crate::cluster;
use crate::event::FireError;
use crate::registry::{AclRefusal, Refusal};

/// A finished answer.
pub(super) type Response = http::Response<Payload>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const LEFT_OUT: HeaderName = HeaderName::from_static(meta::FILTERED_BY_ACLS);
const POLICY: HeaderName = HeaderName::from_static(meta::DEFAULT_ACL_POLICY);

/// Why a request has no answer of its own. The text is the whole body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Understood, and wrong.
    #[error("{0}")]
    BadRequest(String),
    /// Not there.
    #[error("{0}")]
    NotFound(String),
    /// The path is known, the method is not.
    #[error("method {method} not allowed")]
    Method { method: http::Method, allowed: HeaderValue },
    /// A bound of the server.
    #[error("{0}")]
    TooLarge(String),
    /// The client stopped sending in the middle.
    #[error("the request body did not arrive: {0}")]
    Incomplete(String),
    /// The caller may not do it.
    #[error("{0}")]
    Denied(Denial),
    /// The caller may not do it, for a reason of its own.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody has the caller's token.
    #[error(transparent)]
    UnknownToken(#[from] UnknownToken),
    /// There is no access control here, so there is nothing to be asked about it.
    #[error("ACL support disabled")]
    NoAccessControl,
    /// Another datacenter than ours.
    #[error("No path to datacenter")]
    Datacenter,
    /// Understood, and refused in the words that clients know, as a server error.
    #[error("{0}")]
    Refused(String),
    /// The registry could not be written or read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

impl From<InvalidRequest> for Failure {
    fn from(error: InvalidRequest) -> Failure {
        Failure::BadRequest(error.0)
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Failure {
        Failure::Denied(denial)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Failure {
        Failure::BadRequest(error.to_string())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        Failure::BadRequest(error.to_string())
    }
}

impl From<callboard_proto::filter::Error> for Failure {
    fn from(error: callboard_proto::filter::Error) -> Failure {
        Failure::BadRequest(error.to_string())
    }
}

impl From<FireError> for Failure {
    fn from(error: FireError) -> Failure {
        Failure::Refused(error.to_string())
    }
}

impl From<BeatError> for Failure {
    fn from(error: BeatError) -> Failure {
        match error {
            BeatError::NotTtl(_) => Failure::Refused(error.to_string()),
            BeatError::Cluster(error) => Failure::Cluster(error),
        }
    }
}

impl Failure {
    /// The status of each failure.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Failure::BadRequest(_) => StatusCode::BAD_REQUEST,
            Failure::NotFound(_) => StatusCode::NOT_FOUND,
            Failure::Denied(_) | Failure::Forbidden(_) | Failure::UnknownToken(_) => StatusCode::FORBIDDEN,
            Failure::NoAccessControl => StatusCode::UNAUTHORIZED,
            Failure::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Incomplete(_) => StatusCode::REQUEST_TIMEOUT,
            Failure::Datacenter | Failure::Refused(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Failure::Cluster(error) => match error {
                cluster::Error::Refused(
                    Refusal::UnknownInstance(_)
                    | Refusal::UnknownCheck(_)
                    | Refusal::NoSuchInstance(_)
                    | Refusal::UnknownQuery,
                ) => StatusCode::NOT_FOUND,
                cluster::Error::Refused(Refusal::Acl(AclRefusal::Bootstrapped(_) | AclRefusal::NoToken)) => {
                    StatusCode::FORBIDDEN
                }
                cluster::Error::Refused(_)
                | cluster::Error::NoLeader
                | cluster::Error::Propose(_)
                | cluster::Error::Forwarded(_)
                | cluster::Error::Behind
                | cluster::Error::Stopping => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = text(self.status(), self.to_string());
        if let Failure::Method { allowed, .. } = self {
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

/// An answer without a body.
pub(super) fn empty() -> Response {
    Response::new(Payload::default())
}

/// A text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Payload::Whole(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}

/// A JSON document that is already encoded.
pub(super) fn json_bytes(body: Bytes) -> Response {
    let mut response = Response::new(Payload::Whole(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Bytes of whatever kind the caller says.
pub(super) fn bytes(body: Bytes) -> Response {
    Response::new(Payload::Whole(body))
}

/// A JSON document.
pub(super) fn json<T: Serialize + ?Sized>(value: &T, pretty: bool) -> Response {
    json_bytes(encode(value, pretty))
}

/// The methods of a path.
pub(super) fn options(allowed: HeaderValue) -> Response {
    let mut response = empty();
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// Another place to ask.
pub(super) fn moved(location: &str) -> Response {
    let mut response = empty();
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Adds what every answer below `/v1/` carries.
pub(super) fn seal(mut response: Response, fallback: Fallback) -> Response {
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(POLICY, HeaderValue::from_static(fallback.as_str()));
    response
}

/// Tells that rows are missing which the caller may not see.
pub(super) fn tell_left_out(response: &mut Response) {
    response.headers_mut().insert(LEFT_OUT, HeaderValue::from_static("true"));
}

/// Encodes for machines, or for people: four spaces and a newline at the end.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, pretty: bool) -> Bytes {
    let mut body = Vec::with_capacity(256);
    let result = if pretty {
        let mut serializer = serde_json::Serializer::with_formatter(&mut body, PrettyFormatter::with_indent(b"    "));
        value.serialize(&mut serializer).map(|()| body.push(b'\n'))
    } else {
        serde_json::to_writer(&mut body, value)
    };
    result.expect("answers are maps with text keys and always encode");
    body.into()
}

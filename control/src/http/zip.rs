//! Compression of answers (RFC 1952), for those who accept it and where it is worth it.
//!
//! Answers that many readers share are compressed once: what was compressed last is remembered by the bytes that it
//! was made of. A large body is compressed beside the threads that wake readers.

use std::collections::VecDeque;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use super::payload::Payload;
use super::reply::Response;

/// Below this many bytes an answer fits into one packet anyway.
const BODY_MIN: usize = 1400;
/// From this many bytes on, compressing takes longer than a thread that wakes readers may be held up.
const BODY_LARGE: usize = 256 * 1024;
/// How many answers are remembered, and how many bytes of them together.
const KEPT_MAX: usize = 64;
const KEPT_BYTES_MAX: usize = 16 << 20;

/// What was compressed last.
#[derive(Debug, Default)]
pub(super) struct Zipped {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The bytes themselves are held, so that no others can lie at their place.
    bodies: VecDeque<(Bytes, Bytes)>,
    bytes: usize,
}

/// Whether a client accepts gzip (RFC 9110, section 12.5.3).
pub(super) fn accepts(headers: &HeaderMap) -> bool {
    headers.get_all(http::header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
    })
}

impl Zipped {
    /// Compresses an answer, if that is worth it.
    pub(super) async fn zip(&self, mut response: Response) -> Response {
        let Payload::Whole(body) = response.body() else { return response };
        let headers = response.headers();
        let binary = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-gzip"));
        if body.len() < BODY_MIN || binary || headers.contains_key(CONTENT_ENCODING) {
            return response;
        }
        let body = body.clone();
        let zipped = match self.find(&body) {
            Some(zipped) => zipped,
            None => {
                let zipped = if body.len() < BODY_LARGE {
                    compress(&body)
                } else {
                    let body = body.clone();
                    match tokio::task::spawn_blocking(move || compress(&body)).await {
                        Ok(zipped) => zipped,
                        Err(error) => Err(std::io::Error::other(error)),
                    }
                };
                match zipped {
                    Ok(zipped) => {
                        self.keep(body, zipped.clone());
                        zipped
                    }
                    Err(error) => {
                        // The answer is as good without.
                        tracing::warn!(error = &error as &dyn std::error::Error, "compressing an answer failed");
                        return response;
                    }
                }
            }
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.remove(CONTENT_LENGTH);
        *response.body_mut() = Payload::Whole(zipped);
        response
    }

    fn find(&self, body: &Bytes) -> Option<Bytes> {
        let kept = self.kept.lock();
        let same = |held: &Bytes| held.as_ptr() == body.as_ptr() && held.len() == body.len();
        kept.bodies.iter().find(|(held, _)| same(held)).map(|(_, zipped)| zipped.clone())
    }

    fn keep(&self, body: Bytes, zipped: Bytes) {
        let mut kept = self.kept.lock();
        let more = body.len() + zipped.len();
        if more > KEPT_BYTES_MAX / 4 {
            return;
        }
        kept.bytes += more;
        kept.bodies.push_back((body, zipped));
        while kept.bodies.len() > KEPT_MAX || kept.bytes > KEPT_BYTES_MAX {
            let Some((body, zipped)) = kept.bodies.pop_front() else { break };
            kept.bytes -= body.len() + zipped.len();
        }
    }
}

fn compress(body: &Bytes) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::reply;
    use super::*;

    #[test]
    fn who_accepts_it() {
        let check = |value: &str, expect: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
            assert_eq!(accepts(&headers), expect, "{value}");
        };
        check("gzip", true);
        check("deflate, GZIP;q=0.5", true);
        check("gzip;q=0, identity", false);
        check("gzip; q=0.0", false);
        check("identity", false);
        check("xgzip", false);
        assert!(!accepts(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn shared_bytes_are_compressed_once_and_come_back_whole() {
        let zipped = Zipped::default();
        let body = Bytes::from("abc".repeat(1000));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let response = zipped.zip(reply::json_bytes(body.clone())).await;
            assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
            let Payload::Whole(small) = response.into_body() else { panic!("a whole body stays whole") };
            let mut text = String::new();
            flate2::read::GzDecoder::new(&small[..]).read_to_string(&mut text).unwrap();
            assert_eq!(text.as_bytes(), &body[..]);
            seen.push(small.as_ptr());
        }
        assert_eq!(seen[0], seen[1]);
        let tiny = zipped.zip(reply::json_bytes(Bytes::from_static(b"[]"))).await;
        assert!(!tiny.headers().contains_key(CONTENT_ENCODING));
        for number in 0..1000 {
            let response = zipped.zip(reply::json_bytes(Bytes::from(format!("{number}").repeat(2000)))).await;
            assert!(response.headers().contains_key(CONTENT_ENCODING));
        }
        assert!(zipped.kept.lock().bodies.len() <= KEPT_MAX);
    }
}

//! Requests that are never sent whole, and bytes that are no HTTP: the connection is answered with a 4xx or closed, and
//! nothing of it stays.

use std::time::Duration;

use callboard_tests::http::Http;

/// How many are sent.
pub(crate) const COUNT: usize = CUTS + GARBAGE.len();

/// Places at which a good request is cut.
const CUTS: usize = 60;

const GOOD: &[u8] = b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{\"Name\":\"half\",\"Port\":80,\"Tags\":[\"a\"]   }";

const GARBAGE: [&[u8]; 14] = [
    b"\r\n\r\n",
    b"GARBAGE\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /v1/kv/a HTTP/1.1\r\nHost localhost\r\n\r\n",
    b"GET /v1/kv/a HTTP/1.1\r\n: empty\r\n\r\n",
    b"GET /v1/kv/\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\nx",
    b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx",
    b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
    b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: odd\r\n\r\nx",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// What is wrong with the answers, if anything.
pub(crate) fn verdicts(http: &Http) -> Vec<String> {
    let mut wrong = Vec::new();
    let cuts = (0..CUTS).map(|number| &GOOD[..1 + number * (GOOD.len() - 1) / CUTS]);
    for bytes in cuts.chain(GARBAGE) {
        // No answer is a closed connection, which is all that half a request can ask for.
        if let Ok(reply) = http.raw(bytes, Duration::from_secs(5))
            && !(400..500).contains(&reply.status)
        {
            let said = String::from_utf8_lossy(bytes);
            wrong.push(format!("{said:?}: answered {} {}", reply.status, reply.text()));
        }
    }
    let found = http.get("/v1/agent/services").ok().json();
    if found.get("half").is_some() {
        wrong.push("half a registration was taken in".to_owned());
    }
    wrong
}

//! Probe: an HTTP request. 2xx passes, 429 warns, anything else is critical.
//!
//! Decides what is asked and what of the answer is kept. Connections are never reused: opening one is
//! part of what is checked. Where redirects lead is decided in `redirect`.

use ::http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, LOCATION};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use callboard_proto::CheckStatus;
use callboard_proto::definition::HttpProbe;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::dial::{Fault, chain, open};
use super::grpc::drive;
use super::probe::{Answer, USER_AGENT};
use super::redirect::{self, REDIRECTS_MAX};
use super::tls::{Alpn, TlsClients};

/// The largest head of an answer that is read, in bytes.
const HEAD_MAX: usize = 64 * 1024;

pub(crate) async fn run(
    clients: &TlsClients,
    probe: &HttpProbe,
    output_max: usize,
    deadline: Instant,
) -> Result<Answer, Fault> {
    let named = |fault: Fault| Fault(format!("HTTP {} {}: {fault}", probe.method, probe.url));
    let mut hop = Hop::first(probe).map_err(named)?;
    for _ in 0..=REDIRECTS_MAX {
        match hop.go(clients, probe, output_max, deadline).await.map_err(named)? {
            Next::Done { status, line, body } => {
                let output = format!("HTTP {} {}: {line} Output: {body}", probe.method, probe.url);
                return Ok(Answer::new(grade(status), output));
            }
            Next::Follow(next) => hop = *next,
        }
    }
    Err(named(Fault(format!("stopped after {REDIRECTS_MAX} redirects"))))
}

fn grade(status: StatusCode) -> CheckStatus {
    match status {
        StatusCode::TOO_MANY_REQUESTS => CheckStatus::Warning,
        status if status.is_success() => CheckStatus::Passing,
        _ => CheckStatus::Critical,
    }
}

/// One request of a chain of redirects.
struct Hop {
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

enum Next {
    Done { status: StatusCode, line: String, body: String },
    Follow(Box<Hop>),
}

impl Hop {
    fn first(probe: &HttpProbe) -> Result<Hop, Fault> {
        let uri: Uri = probe.url.parse().map_err(|error| Fault(format!("not a URL: {error}")))?;
        let method = Method::from_bytes(probe.method.as_bytes()).map_err(|error| Fault(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &probe.header {
            let pair = (HeaderName::try_from(&**name).ok()).zip(HeaderValue::try_from(&**value).ok());
            let (name, value) = pair.ok_or_else(|| Fault(format!("not a header: {name:?}")))?;
            headers.append(name, value);
        }
        let default = |headers: &mut HeaderMap, name, value| {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        };
        default(&mut headers, header::USER_AGENT, USER_AGENT);
        default(&mut headers, ACCEPT, "text/plain, text/*, */*");
        // Asked for in every request, whatever the definition says: the connection will not be used again.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(login) = login(&uri) {
            headers.entry(AUTHORIZATION).or_insert(login);
        }
        Ok(Hop { uri, method, headers, body: Bytes::copy_from_slice(probe.body.as_bytes()) })
    }

    async fn go(
        self,
        clients: &TlsClients,
        probe: &HttpProbe,
        output_max: usize,
        deadline: Instant,
    ) -> Result<Next, Fault> {
        let host = self.uri.host().ok_or_else(|| Fault::new("the URL has no host"))?;
        let (tls, port) = match self.uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(&probe.tls), 443),
            _ => return Err(Fault::new("the URL is neither http nor https")),
        };
        let address = format!("{host}:{}", self.uri.port_u16().unwrap_or(port));
        let stream = open(clients, &address, tls, Alpn::Http1, deadline).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| Fault(chain(&error)))?;
        let request = self.request(host)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| Fault(chain(&error)))?;
            if probe.follow_redirects
                && redirect::is_redirect(response.status())
                && let Some(location) = response.headers().get(LOCATION)
            {
                let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
                return Ok((response.status(), Err(location)));
            }
            let line = status_line(&response);
            Ok((response.status(), Ok((line, read(response.into_body(), output_max).await))))
        };
        match drive(connection, exchange).await? {
            (status, Ok((line, body))) => Ok(Next::Done { status, line, body }),
            (status, Err(location)) => self.follow(status, &location).map(|hop| Next::Follow(Box::new(hop))),
        }
    }

    fn request(&self, host: &str) -> Result<Request<Full<Bytes>>, Fault> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.uri_mut() = path.parse().map_err(|error| Fault(format!("not a path: {error}")))?;
        request.method_mut().clone_from(&self.method);
        request.headers_mut().clone_from(&self.headers);
        if !self.headers.contains_key(HOST) {
            let host = self.uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            let host = HeaderValue::try_from(host).map_err(|error| Fault(error.to_string()))?;
            request.headers_mut().insert(HOST, host);
        }
        Ok(request)
    }

    fn follow(mut self, status: StatusCode, location: &str) -> Result<Hop, Fault> {
        let next = redirect::resolve(&self.uri, location)
            .ok_or_else(|| Fault(format!("redirected to {location:?}, which is no URL")))?;
        if let Some(method) = redirect::method_after(status, &self.method) {
            self.method = method;
            self.body = Bytes::new();
        }
        if next.host() != self.uri.host() {
            // `Host` named the first server, and secrets were meant for it.
            self.headers.remove(HOST);
            let secrets: Vec<HeaderName> =
                self.headers.keys().filter(|name| redirect::is_secret(name.as_str())).cloned().collect();
            secrets.iter().for_each(|name| drop(self.headers.remove(name)));
        }
        self.uri = next;
        Ok(self)
    }
}

/// The name and password in a URL, as the header that says them (RFC 7617).
fn login(uri: &Uri) -> Option<HeaderValue> {
    let (login, _) = uri.authority()?.as_str().rsplit_once('@')?;
    let login: Vec<u8> = percent_encoding::percent_decode_str(login).collect();
    let has_password = login.contains(&b':');
    let login = if has_password { login } else { [login, b":".to_vec()].concat() };
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(login))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `200 OK`, with the server's own words if it has some.
fn status_line(response: &Response<Incoming>) -> String {
    let status = response.status();
    let own = response.extensions().get::<ReasonPhrase>();
    let words = own.map(|words| String::from_utf8_lossy(words.as_bytes()).into_owned());
    let words = words.or_else(|| status.canonical_reason().map(str::to_owned)).unwrap_or_default();
    format!("{} {words}", status.as_u16()).trim_end().to_owned()
}

/// The beginning of a body. One that breaks off still had a status, which is what counts.
async fn read(mut body: Incoming, max: usize) -> String {
    let mut kept = Vec::new();
    while kept.len() < max {
        let Some(Ok(frame)) = body.frame().await else { break };
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(max - kept.len())]);
        }
    }
    // A character that was cut through at the end is left out; odd bytes elsewhere are shown as such.
    if let Err(error) = std::str::from_utf8(&kept)
        && error.error_len().is_none()
    {
        kept.truncate(error.valid_up_to());
    }
    String::from_utf8_lossy(&kept).into_owned()
}

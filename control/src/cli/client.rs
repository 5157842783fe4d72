//! The way to an agent: the flags and the environment that say where it is, and requests to it.
//!
//! Everything goes through the SDK's client and asks what `curl` could ask. A flag comes before `CALLBOARD_…`, and that
//! before `CONSUL_…`. Decides what is added to each request; what an answer means is the command's.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use callboard::Client;
use callboard::config::{ClientBuilder, SERVER_DEFAULT};
use callboard::http::{Answer, TlsOptions};
use callboard_proto::api::query::{escape, parse_bool};
use clap::Args;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::{Failure, Kind};

/// How long an answer may take that does not wait for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A text that is never shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Says where the agent is and who asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ClientFlags {
    /// The agent: HOST:PORT, http://…, https://… or unix:///PATH [env: CONSUL_HTTP_ADDR] [default: 127.0.0.1:8500]
    #[arg(long, value_name = "ADDRESS")]
    http_addr: Option<String>,
    /// The ACL token [env: CONSUL_HTTP_TOKEN]
    #[arg(long)]
    token: Option<Secret>,
    /// A file that holds the ACL token [env: CONSUL_HTTP_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The datacenter that is asked [default: the agent's]
    #[arg(long, value_name = "NAME")]
    datacenter: Option<String>,
    /// Let any server answer, not only the leader
    #[arg(long)]
    stale: bool,
    /// Trusted certificates, PEM [env: CONSUL_CACERT]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A folder of trusted certificates [env: CONSUL_CAPATH]
    #[arg(long, value_name = "FOLDER")]
    ca_path: Option<PathBuf>,
    /// The client's certificate, PEM [env: CONSUL_CLIENT_CERT]
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The key of the client's certificate, PEM [env: CONSUL_CLIENT_KEY]
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// The name that the agent's certificate must have [env: CONSUL_TLS_SERVER_NAME]
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// There are no namespaces: taken and not used
    #[arg(long, hide = true)]
    namespace: Option<String>,
    /// There are no partitions: taken and not used
    #[arg(long, hide = true)]
    partition: Option<String>,
}

/// The settings of a connection, once flags and environment are put together.
#[derive(Debug, Default)]
pub(super) struct Settings {
    address: String,
    token: Option<Secret>,
    authorization: Option<Secret>,
    tls: TlsOptions,
}

impl ClientFlags {
    /// Puts flags and environment together. Pure but for the token file.
    fn settings(&self, read: impl Fn(&str) -> Option<String>) -> Result<Settings, Failure> {
        let either = |name: &str| {
            let filled = |prefix: &str| read(&format!("{prefix}_{name}")).filter(|text| !text.is_empty());
            filled("CALLBOARD").or_else(|| filled("CONSUL"))
        };
        let on = |name: &str| {
            let Some(text) = either(name) else { return Ok(None) };
            let wrong = || Failure::usage(format!("{name} in the environment is {text:?}; true or false is accepted"));
            parse_bool(&text).map(Some).ok_or_else(wrong)
        };
        let mut address =
            self.http_addr.clone().or_else(|| either("HTTP_ADDR")).unwrap_or_else(|| SERVER_DEFAULT.to_owned());
        if on("HTTP_SSL")? == Some(true) && !address.starts_with("unix:") {
            let bare = address.strip_prefix("http://").unwrap_or(&address);
            if !bare.starts_with("https://") {
                address = format!("https://{bare}");
            }
        }
        let file = |path: &PathBuf| {
            let read = std::fs::read_to_string(path);
            let wrong =
                |error| Failure::because(Kind::Usage, format!("reading the token from {}", path.display()), &error);
            read.map(|text| Some(Secret(text.trim().to_owned()))).map_err(wrong)
        };
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => file(path)?,
            (None, None) => match (either("HTTP_TOKEN"), either("HTTP_TOKEN_FILE")) {
                (Some(token), _) => Some(Secret(token)),
                (None, Some(path)) => file(&PathBuf::from(path))?,
                (None, None) => None,
            },
        };
        let authorization = either("HTTP_AUTH").map(|auth| {
            let auth = if auth.contains(':') { auth } else { format!("{auth}:") };
            Secret(format!("Basic {}", STANDARD.encode(auth)))
        });
        let path = |flag: &Option<PathBuf>, name: &str| flag.clone().or_else(|| either(name).map(PathBuf::from));
        let tls = TlsOptions {
            ca_file: path(&self.ca_file, "CACERT"),
            ca_path: path(&self.ca_path, "CAPATH"),
            client_cert: path(&self.client_cert, "CLIENT_CERT"),
            client_key: path(&self.client_key, "CLIENT_KEY"),
            server_name: self.tls_server_name.clone().or_else(|| either("TLS_SERVER_NAME")),
            verify: on("HTTP_SSL_VERIFY")? != Some(false),
        };
        Ok(Settings { address, token, authorization, tls })
    }

    /// Builds the way to the agent. Connects to nobody yet.
    pub(super) fn api(&self) -> Result<Api, Failure> {
        let settings = self.settings(|name| std::env::var(name).ok())?;
        Ok(Api { client: settings.client()?, datacenter: self.datacenter.clone(), stale: self.stale })
    }
}

impl Settings {
    /// Builds the settings of an agent elsewhere.
    pub(super) fn at(address: &str, token: Option<Secret>) -> Self {
        Self { address: address.to_owned(), token, ..Self::default() }
    }

    /// Builds the client.
    pub(super) fn client(self) -> Result<Client, Failure> {
        let mut builder = ClientBuilder::default()
            .servers(self.address.split(',').map(str::trim).filter(|text| !text.is_empty()))
            .stale_reads(false)
            .request_timeout(PATIENCE)
            .tls(self.tls);
        if let Some(Secret(token)) = self.token.filter(|token| !token.0.is_empty()) {
            builder = builder.token(token);
        }
        if let Some(Secret(value)) = self.authorization {
            builder = builder.authorization(value);
        }
        Ok(builder.build()?)
    }
}

/// Asks an agent.
#[derive(Debug, Clone)]
pub(super) struct Api {
    /// The client, for what it does better than single requests: locks, sessions.
    pub(super) client: Client,
    datacenter: Option<String>,
    stale: bool,
}

/// A path with its query.
#[derive(Debug, Clone)]
pub(super) struct Target(String);

impl Target {
    /// Begins with a path.
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// Begins with a path whose last part is any text.
    pub(super) fn of(path: &str, rest: &str) -> Self {
        // Dots alone would be taken for a step in the path.
        match rest {
            "." => Self(format!("{path}%2e")),
            ".." => Self(format!("{path}%2e%2e")),
            rest => Self(format!("{path}{}", escape(rest))),
        }
    }

    /// Adds a parameter without a value, if it is wanted.
    pub(super) fn flag(mut self, name: &str, wanted: bool) -> Self {
        if wanted {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
        }
        self
    }

    /// Adds a parameter.
    pub(super) fn pair(self, name: &str, value: impl fmt::Display) -> Self {
        self.flag(&format!("{name}={}", escape(&value.to_string())), true)
    }

    /// Adds a parameter if it is wanted.
    pub(super) fn pair_if(self, name: &str, value: &str, wanted: bool) -> Self {
        if wanted { self.pair(name, value) } else { self }
    }

    /// Adds a parameter that may be missing.
    pub(super) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) if !value.is_empty() => self.pair(name, value),
            _ => self,
        }
    }
}

impl Api {
    /// Builds the way to an agent elsewhere.
    pub(super) fn at(address: &str, token: Option<Secret>) -> Result<Self, Failure> {
        Ok(Self { client: Settings::at(address, token).client()?, datacenter: None, stale: false })
    }

    /// Writes a target with what the flags add to each.
    pub(super) fn full(&self, target: Target, reads: bool) -> String {
        target.maybe("dc", self.datacenter.as_deref()).flag("stale", reads && self.stale).0
    }

    /// Sends a request; the answer may have any status.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: Target,
        body: impl Into<Bytes>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let target = self.full(target, method == Method::GET);
        Ok(self.client.request_within(method, &target, body, patience).await?)
    }

    /// Reads; anything but a 2xx is a failure.
    pub(super) async fn get(&self, doing: &str, target: Target) -> Result<Answer, Failure> {
        success(doing, self.ask(Method::GET, target, Bytes::new(), PATIENCE).await?)
    }

    /// Reads JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, doing: &str, target: Target) -> Result<T, Failure> {
        decode(doing, &self.get(doing, target).await?)
    }

    /// Reads JSON that may not be there.
    pub(super) async fn json_if<T: DeserializeOwned>(&self, doing: &str, target: Target) -> Result<Option<T>, Failure> {
        let answer = self.ask(Method::GET, target, Bytes::new(), PATIENCE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        decode(doing, &success(doing, answer)?).map(Some)
    }

    /// Writes; anything but a 2xx is a failure.
    pub(super) async fn put(&self, doing: &str, target: Target, body: impl Into<Bytes>) -> Result<Answer, Failure> {
        self.send(doing, Method::PUT, target, body).await
    }

    /// Writes JSON.
    pub(super) async fn put_json(&self, doing: &str, target: Target, body: &Value) -> Result<Answer, Failure> {
        self.send(doing, Method::PUT, target, body.to_string()).await
    }

    /// Deletes; anything but a 2xx is a failure.
    pub(super) async fn delete(&self, doing: &str, target: Target) -> Result<Answer, Failure> {
        self.send(doing, Method::DELETE, target, Bytes::new()).await
    }

    /// Sends any request; anything but a 2xx is a failure.
    pub(super) async fn send(
        &self,
        doing: &str,
        method: Method,
        target: Target,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        success(doing, self.ask(method, target, body, PATIENCE).await?)
    }
}

/// Takes a 2xx.
pub(super) fn success(doing: &str, answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() { Ok(answer) } else { Err(Failure::answered(doing, &answer)) }
}

/// Reads an answer as JSON.
pub(super) fn decode<T: DeserializeOwned>(doing: &str, answer: &Answer) -> Result<T, Failure> {
    let wrong = |error| Failure::because(Kind::Failed, format!("{doing}: the answer cannot be used"), &error);
    serde_json::from_slice(&answer.body).map_err(wrong)
}

/// Returns the rows of a JSON list; null is none.
pub(super) fn rows(value: Value) -> Vec<Value> {
    match value {
        Value::Array(rows) => rows,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &ClientFlags, variables: &[(&str, &str)]) -> Settings {
        let read =
            |name: &str| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
        flags.settings(read).unwrap()
    }

    #[test]
    fn flags_come_before_the_environment_and_ours_before_consuls() {
        let none = ClientFlags::default();
        let both = [("CALLBOARD_HTTP_ADDR", "a:1"), ("CONSUL_HTTP_ADDR", "b:2"), ("CONSUL_HTTP_TOKEN", "t")];
        assert_eq!(settings(&none, &both).address, "a:1");
        assert_eq!(settings(&none, &both[1..]).address, "b:2");
        assert_eq!(settings(&none, &both).token.unwrap().0, "t");
        let flags = ClientFlags { http_addr: Some("c:3".into()), token: Some(Secret("u".into())), ..none };
        let set = settings(&flags, &both);
        assert_eq!((set.address.as_str(), set.token.as_ref().map(|token| token.0.as_str())), ("c:3", Some("u")));
        assert_eq!(format!("{:?}", flags.token), "Some(Secret)");
    }

    #[test]
    fn the_environment_of_a_proxy_and_of_tls() {
        let none = ClientFlags::default();
        let auth = |text: &str| settings(&none, &[("CONSUL_HTTP_AUTH", text)]).authorization.unwrap().0;
        assert_eq!(auth("user:pass"), "Basic dXNlcjpwYXNz");
        assert_eq!(auth("user"), "Basic dXNlcjo=");
        let ssl = |address: &str| settings(&none, &[("CONSUL_HTTP_SSL", "1"), ("CONSUL_HTTP_ADDR", address)]).address;
        assert_eq!(ssl("a:1"), "https://a:1");
        assert_eq!(ssl("http://a:1"), "https://a:1");
        assert_eq!(ssl("unix:///s"), "unix:///s");
        assert!(!settings(&none, &[("CONSUL_HTTP_SSL_VERIFY", "false")]).tls.verify);
        let wrong = none.settings(|name| (name == "CONSUL_HTTP_SSL").then(|| "maybe".to_owned()));
        assert!(wrong.unwrap_err().text.contains("true or false"));
        let set = settings(&none, &[("CONSUL_CACERT", "ca.pem")]);
        assert_eq!(set.tls.ca_file.as_deref(), Some(std::path::Path::new("ca.pem")));
    }

    #[test]
    fn targets_are_escaped() {
        let check = |target: Target, expect: &str| assert_eq!(target.0, expect);
        check(Target::of("/v1/kv/", "a/b c").flag("recurse", true), "/v1/kv/a%2Fb%20c?recurse");
        check(Target::of("/v1/kv/", ".."), "/v1/kv/%2e%2e");
        check(Target::new("/a").flag("x", false).pair("b", "c&d").maybe("e", None).pair("f", 1), "/a?b=c%26d&f=1");
    }
}

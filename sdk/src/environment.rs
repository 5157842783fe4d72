//! What the environment says about a client: the variables that Consul's clients read, and ours before them.

use std::path::PathBuf;

use callboard_proto::api::query::parse_bool;

use crate::config::{ClientBuilder, SERVER_DEFAULT};
use crate::http::TlsOptions;

impl ClientBuilder {
    /// Builds settings from the environment: `CALLBOARD_HTTP_ADDR`, then `CONSUL_HTTP_ADDR` (several
    /// addresses are parted by commas), and likewise `…_HTTP_TOKEN`, `…_HTTP_SSL` (addresses without a scheme are
    /// `https://`), `…_HTTP_SSL_VERIFY`, `…_CACERT`, `…_CAPATH`, `…_CLIENT_CERT`, `…_CLIENT_KEY` and
    /// `…_TLS_SERVER_NAME`.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(read: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let filled = |prefix: &str| read(&format!("{prefix}_{name}")).filter(|text| !text.is_empty());
            filled("CALLBOARD").or_else(|| filled("CONSUL"))
        };
        let mut builder = Self::default();
        let flag = |name: &str| match either(name).as_deref().map(|text| (parse_bool(text), text.to_owned())) {
            None => Ok(None),
            Some((Some(flag), _)) => Ok(Some(flag)),
            Some((None, text)) => Err(format!("…_{name} is {text:?}; expected true or false")),
        };
        let mut wrong = |flag: Result<Option<bool>, String>| {
            flag.unwrap_or_else(|reason| {
                builder.environment = Some(reason);
                None
            })
        };
        let encrypted = wrong(flag("HTTP_SSL")) == Some(true);
        let verify = wrong(flag("HTTP_SSL_VERIFY")) != Some(false);
        let servers = either("HTTP_ADDR").or_else(|| encrypted.then(|| SERVER_DEFAULT["http://".len()..].to_owned()));
        if let Some(servers) = servers {
            let scheme = |text: &str| match encrypted && !text.contains("://") {
                true => format!("https://{text}"),
                false => text.to_owned(),
            };
            builder = builder.servers(servers.split(',').map(str::trim).filter(|text| !text.is_empty()).map(scheme));
        }
        let path = |name: &str| either(name).map(PathBuf::from);
        builder = builder.tls(TlsOptions {
            ca_file: path("CACERT"),
            ca_path: path("CAPATH"),
            client_cert: path("CLIENT_CERT"),
            client_key: path("CLIENT_KEY"),
            server_name: either("TLS_SERVER_NAME"),
            verify,
        });
        if let Some(token) = either("HTTP_TOKEN") {
            builder = builder.token(token);
        }
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> ClientBuilder {
        ClientBuilder::from_variables(|name| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn our_variables_come_before_consuls() {
        let builder =
            from(&[("CALLBOARD_HTTP_ADDR", "a:1, b:2"), ("CONSUL_HTTP_ADDR", "c:3"), ("CONSUL_HTTP_TOKEN", "t")]);
        assert_eq!(builder.servers, ["a:1", "b:2"]);
        assert_eq!(builder.token.as_deref(), Some("t"));
        assert_eq!(from(&[("CONSUL_HTTP_ADDR", "c:3")]).servers, ["c:3"]);
        assert!(!format!("{builder:?}").contains("\"t\""), "the token is not shown");
    }

    #[test]
    fn tls_is_read_from_the_environment() {
        let builder = from(&[
            ("CONSUL_HTTP_ADDR", "a:1,https://b:2"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_HTTP_SSL_VERIFY", "false"),
            ("CONSUL_CACERT", "ca.pem"),
            ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
        ]);
        assert_eq!(builder.servers, ["https://a:1", "https://b:2"]);
        assert_eq!(builder.tls.ca_file.as_deref(), Some(std::path::Path::new("ca.pem")));
        assert_eq!((builder.tls.verify, builder.tls.server_name.as_deref()), (false, Some("server.dc1.consul")));
        assert_eq!(from(&[("CONSUL_HTTP_SSL", "1")]).servers, ["https://127.0.0.1:8500"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let text = from(&[("CONSUL_HTTP_SSL", "perhaps")]).check().unwrap_err().to_string();
        assert!(text.contains("HTTP_SSL"), "{text}");
    }
}

//! Reads a settings file, TOML or JSON by its name, into a layer; an unknown key is refused with the
//! nearest known one.

use std::path::Path;

use super::layer::Layer;
use crate::error::Error;

/// How a settings file is written.
#[derive(Clone, Copy)]
pub(super) enum Format {
    Toml,
    Json,
}

/// Reads the file; `.json` is JSON, everything else TOML.
pub(super) fn read(path: &Path) -> Result<Layer, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile { path: path.to_owned(), source })?;
    let format = match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("json") => Format::Json,
        _ => Format::Toml,
    };
    parse(&text, format).map_err(|error| match error {
        Error::Usage { message, hint } => Error::Usage { message: format!("{}: {message}", path.display()), hint },
        other => other,
    })
}

/// Reads the text of a settings file.
pub(super) fn parse(text: &str, format: Format) -> Result<Layer, Error> {
    let read = match format {
        Format::Toml => toml::from_str(text).map_err(|error| error.to_string()),
        Format::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
    };
    read.map_err(|message| Error::Usage { hint: nearest(&message), message })
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`" and finds the name nearest to `x`.
fn nearest(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2);
    let (distance, name) =
        known.map(|name| (strsim::osa_distance(unknown, name), name)).min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + unknown.len() / 3).then(|| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Hash, HashBy, Policy, Protocol};

    const TOML: &str = r#"
        control = ["http://10.0.0.1:8500", "http://10.0.0.2:8500"]
        outbound = "127.0.0.1:9100"
        threads = 2
        upstreams = [
            "payments=127.0.0.1:9101",
            { service = "ads", listen = "0", protocol = "grpc", policy = "ring-hash:path", start_empty = true },
        ]
        [service]
        name = "web"
        port = 8080
        tags = ["v1"]
        meta = { version = "1.2" }
        check_http = "/health"
        ttl = "15s"
        [timeouts]
        connect = "250ms"
    "#;

    #[test]
    fn toml_and_json_say_the_same() {
        let json = r#"{"control":["http://10.0.0.1:8500","http://10.0.0.2:8500"],"outbound":"127.0.0.1:9100","threads":2,
            "upstreams":["payments=127.0.0.1:9101",
              {"service":"ads","listen":"0","protocol":"grpc","policy":"ring-hash:path","start_empty":true}],
            "service":{"name":"web","port":8080,"tags":["v1"],"meta":{"version":"1.2"},"check_http":"/health","ttl":"15s"},
            "timeouts":{"connect":"250ms"}}"#;
        for layer in [parse(TOML, Format::Toml), parse(json, Format::Json)] {
            let config = layer.and_then(Layer::finish).unwrap();
            assert_eq!(config.control.servers.len(), 2);
            assert_eq!(config.outbound.unwrap().domain, "consul");
            assert_eq!(config.upstreams[1].protocol, Protocol::Http2);
            assert_eq!(config.upstreams[1].policy, Policy::Hash(Hash::Ring, HashBy::Path));
            assert_eq!(config.timeouts.connect, Duration::from_millis(250));
            let service = config.service.unwrap();
            assert_eq!((service.name.as_str(), service.port, service.ttl), ("web", 8080, Duration::from_secs(15)));
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        for (text, hint) in [
            ("outbond = \"1\"", Some("did you mean `outbound`?")),
            ("[service]\nname = \"web\"\nprot = 1", Some("did you mean `port`?")),
            ("[timeouts]\nconect = \"1s\"", Some("did you mean `connect`?")),
            ("zzzzzzzz = 1", None),
        ] {
            let error = parse(text, Format::Toml).unwrap_err();
            assert_eq!(error.hint(), hint, "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("", "nothing to do"),
            ("[service]\nname = \"web\"", "port"),
            ("[service]\nport = 80", "no service name"),
            ("outbound = \"x\"", "\"x\""),
            ("outbound = \"1\"\nthreads = 0", "threads"),
            ("outbound = \"1\"\n[timeouts]\nidle = \"0s\"", "timeouts.idle"),
            ("outbound = \"1\"\n[timeouts]\nidle = \"soon\"", "\"soon\""),
            ("outbound = \"1\"\n[timeouts]\nidle = \"-1s\"", "negative"),
            ("upstreams = [\"a=1\", \"a=2\"]", "twice"),
            ("token_file = \"/nonexistent/token\"\noutbound = \"1\"", "/nonexistent/token"),
            ("[service]\nname = \"web\"\nport = 80\ncheck_http = \"health\"", "check_http"),
        ] {
            let error = parse(text, Format::Toml).and_then(Layer::finish).unwrap_err();
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }
}

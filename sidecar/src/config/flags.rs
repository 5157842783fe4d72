//! The command line, and the environment variables that stand for its flags.
//!
//! Every flag is optional: what is not said here is left to the file and the defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;

use super::layer::{Layer, Listen, Parsed, ServiceLayer, Time, TimeoutsLayer, UpstreamLayer};
use super::upstream::{Policy, UpstreamConfig};
use crate::error::Error;

/// Runs beside an application: signs it in, and gives it a local port for every service it calls.
#[derive(Debug, Default, Parser)]
#[command(name = "callboard-sidecar", version, about, max_term_width = 100)]
pub struct Flags {
    /// Settings file, TOML or (by its name) JSON; flags and environment win over it
    #[arg(long, value_name = "FILE", env = "CALLBOARD_SIDECAR_CONFIG")]
    pub config: Option<PathBuf>,

    /// Control node to talk to, repeatable [env also: CONSUL_HTTP_ADDR] [default: http://127.0.0.1:8500]
    #[arg(long, value_name = "URL", env = "CALLBOARD_HTTP_ADDR", value_delimiter = ',')]
    control: Vec<String>,

    /// File with the token for the control node [env also: CALLBOARD_HTTP_TOKEN, CONSUL_HTTP_TOKEN]
    #[arg(long, value_name = "FILE", env = "CALLBOARD_HTTP_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Datacenter to ask
    #[arg(long, value_name = "NAME", env = "CALLBOARD_SIDECAR_DATACENTER")]
    datacenter: Option<String>,

    /// Folder for the last good catalog, so that a start without a control node can serve
    #[arg(long, value_name = "DIR", env = "CALLBOARD_SIDECAR_CACHE_DIR")]
    cache_dir: Option<PathBuf>,

    /// Name to sign the local application in under
    #[arg(long, value_name = "NAME", env = "CALLBOARD_SIDECAR_SERVICE", help_heading = "Local application")]
    service: Option<String>,

    /// Port the local application listens on
    #[arg(long, value_name = "PORT", env = "CALLBOARD_SIDECAR_PORT", help_heading = "Local application")]
    port: Option<u16>,

    /// Instance id
    #[arg(long, value_name = "ID", env = "CALLBOARD_SIDECAR_ID", help_heading = "Local application")]
    id: Option<String>,

    /// Address others reach the application by
    #[arg(long, value_name = "ADDRESS", env = "CALLBOARD_SIDECAR_ADDRESS", help_heading = "Local application")]
    address: Option<String>,

    /// Tag, repeatable
    #[arg(
        long = "tag",
        value_name = "TAG",
        env = "CALLBOARD_SIDECAR_TAGS",
        value_delimiter = ',',
        help_heading = "Local application"
    )]
    tags: Vec<String>,

    /// Metadata, repeatable
    #[arg(
        long,
        value_name = "KEY=VALUE",
        env = "CALLBOARD_SIDECAR_META",
        value_delimiter = ',',
        help_heading = "Local application"
    )]
    meta: Vec<String>,

    /// Path of the application that must answer 2xx
    #[arg(long, value_name = "PATH", env = "CALLBOARD_SIDECAR_CHECK_HTTP", help_heading = "Local application")]
    check_http: Option<String>,

    /// The application's port must accept connections
    #[arg(long, help_heading = "Local application")]
    check_tcp: bool,

    /// Time between two runs of a check [default: 2s]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_CHECK_INTERVAL", help_heading = "Local application")]
    check_interval: Option<Time>,

    /// How long the registration stays good without a beat [default: 10s]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_TTL", help_heading = "Local application")]
    ttl: Option<Time>,

    /// Node the application runs on
    #[arg(long, value_name = "NAME", env = "CALLBOARD_SIDECAR_NODE", help_heading = "Local application")]
    node: Option<String>,

    /// Address of that node
    #[arg(long, value_name = "ADDRESS", env = "CALLBOARD_SIDECAR_NODE_ADDRESS", help_heading = "Local application")]
    node_address: Option<String>,

    /// Local port for a service, repeatable:
    /// NAME=ADDRESS:PORT[,protocol=http|http1|http2|grpc|tcp][,policy=POLICY][,start-empty] where POLICY is
    /// round-robin, weighted, random, least-request, peak-ewma, prequal, or hash, ring-hash or maglev with
    /// :header=NAME|:path|:source
    #[arg(long = "upstream", value_name = "UPSTREAM", env = "CALLBOARD_SIDECAR_UPSTREAMS", value_delimiter = ';')]
    upstreams: Vec<UpstreamConfig>,

    /// Shared port that routes by Host header; use it as http_proxy
    #[arg(long, value_name = "ADDRESS:PORT", env = "CALLBOARD_SIDECAR_OUTBOUND")]
    outbound: Option<Listen>,

    /// Policy for services met on the shared port [default: prequal]
    #[arg(long, value_name = "POLICY", env = "CALLBOARD_SIDECAR_OUTBOUND_POLICY")]
    outbound_policy: Option<Policy>,

    /// Domain of the names on the shared port [default: consul]
    #[arg(long, value_name = "DOMAIN", env = "CALLBOARD_SIDECAR_DOMAIN")]
    domain: Option<String>,

    /// Where /ready, /live and /metrics are served [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS:PORT", env = "CALLBOARD_SIDECAR_ADMIN")]
    admin: Option<Listen>,

    /// Worker threads [default: 1]
    #[arg(long, value_name = "COUNT", env = "CALLBOARD_SIDECAR_THREADS")]
    threads: Option<usize>,

    /// Time to establish a connection to an instance [default: 2s]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_CONNECT_TIMEOUT", help_heading = "Timeouts")]
    connect_timeout: Option<Time>,

    /// Time for an instance to begin its answer [default: 1m]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_RESPONSE_TIMEOUT", help_heading = "Timeouts")]
    response_timeout: Option<Time>,

    /// Time for one try; a request that may be sent twice goes to another instance then [default: no bound]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_TRY_TIMEOUT", help_heading = "Timeouts")]
    try_timeout: Option<Time>,

    /// Time a client connection may sit unused [default: 10m]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_IDLE_TIMEOUT", help_heading = "Timeouts")]
    idle_timeout: Option<Time>,

    /// At the end: time between saying critical and closing the listeners [default: 2s]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_SETTLE", help_heading = "Timeouts")]
    settle: Option<Time>,

    /// At the end: longest wait for requests in flight [default: 30s]
    #[arg(long, value_name = "TIME", env = "CALLBOARD_SIDECAR_DRAIN", help_heading = "Timeouts")]
    drain: Option<Time>,
}

impl Flags {
    /// Turns what was said into the uppermost layer.
    pub(super) fn into_layer(self) -> Result<Layer, Error> {
        let mut meta = BTreeMap::new();
        for pair in self.meta {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Error::usage(format!("--meta {pair:?}: expected KEY=VALUE")));
            };
            meta.insert(key.to_owned(), value.to_owned());
        }
        Ok(Layer {
            control: self.control,
            token: None,
            token_file: self.token_file,
            datacenter: self.datacenter,
            cache_dir: self.cache_dir,
            service: ServiceLayer {
                name: self.service,
                port: self.port,
                id: self.id,
                address: self.address,
                tags: self.tags,
                meta,
                check_http: self.check_http,
                check_tcp: self.check_tcp.then_some(true),
                check_interval: self.check_interval,
                check_timeout: None,
                ttl: self.ttl,
                node: self.node,
                node_address: self.node_address,
            },
            upstreams: self.upstreams.into_iter().map(|upstream| UpstreamLayer::Short(Parsed(upstream))).collect(),
            outbound: self.outbound,
            outbound_policy: self.outbound_policy.map(Parsed),
            outbound_services_max: None,
            domain: self.domain,
            admin: self.admin,
            threads: self.threads,
            connections_max: None,
            timeouts: TimeoutsLayer {
                connect: self.connect_timeout,
                request_header: None,
                response_header: self.response_timeout,
                per_try: self.try_timeout,
                idle: self.idle_timeout,
                discover: None,
                settle: self.settle,
                drain: self.drain,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(args: &[&str]) -> Result<Config, Error> {
        let flags = Flags::try_parse_from([&["callboard-sidecar"], args].concat()).expect("flags are well formed");
        Config::load(flags)
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sidecar.json");
        std::fs::write(
            &path,
            r#"{"threads": 3, "domain": "mesh.", "outbound": "9100", "service": {"name": "a", "port": 1}}"#,
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let config = load(&["--config", path, "--threads", "2", "--port", "8080", "--settle", "0s"]).unwrap();
        assert_eq!(config.threads, 2);
        assert_eq!(config.outbound.unwrap().domain, "mesh");
        assert_eq!(config.service.unwrap().port, 8080);
        assert!(config.timeouts.settle.is_zero());
    }

    #[test]
    fn a_bad_value_is_a_usage_error() {
        let error = load(&["--service", "web", "--port", "80", "--meta", "novalue"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(Flags::try_parse_from(["callboard-sidecar", "--upstream", "nothing"]).is_err());
        let error = load(&["--config", "/nonexistent/sidecar.toml"]).unwrap_err();
        assert_eq!(error.exit_code(), 1);
    }
}

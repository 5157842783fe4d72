//! What clients may ask for: sizes, rates, connections, paths, and headers that every answer carries.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_proto::duration::GoDuration;
use callboard_proto::kv::VALUE_MAX;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::file::FileConfig;
use super::keys::keys;
use super::{ConfigError, invalid};

const NO_RPC: &str = "clients speak HTTP, which limits.request_limits bounds";
/// The largest value or transaction that may be allowed, in bytes: a command must fit into one entry of the log.
const BODY_MAX: u64 = 2 * 1024 * 1024;
/// The largest list of headers that may be allowed, in bytes.
const HEADERS_MAX: u64 = 4 * 1024 * 1024;
/// The longest that a reader may be let wait.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

keys! {
    pub(super) struct LimitKeys {
        pub(super) http_max_conns_per_client: Option<u64>,
        pub(super) kv_max_value_size: Option<u64>,
        pub(super) txn_max_req_len: Option<u64>,
        pub(super) request_limits: RequestKeys,
    }
    unneeded {
        https_handshake_timeout: "a handshake has the time that headers have",
        rpc_client_timeout: NO_RPC,
        rpc_handshake_timeout: NO_RPC,
        rpc_max_burst: NO_RPC,
        rpc_max_conns_per_client: NO_RPC,
        rpc_rate: NO_RPC,
    }
}

keys! {
    pub(super) struct RequestKeys {
        pub(super) mode: Option<String>,
        pub(super) read_rate: Option<f64>,
        pub(super) write_rate: Option<f64>,
    }
}

keys! {
    pub(super) struct HttpKeys {
        pub(super) response_headers: BTreeMap<String, String>,
        pub(super) block_endpoints: Vec<String>,
        pub(super) allow_write_http_from: Vec<String>,
        pub(super) max_header_bytes: Option<u64>,
    }
    unneeded {
        use_cache: "every read is answered from this node's own copy",
    }
}

/// What becomes of requests beyond the rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RateMode {
    /// Nothing is counted.
    #[default]
    Disabled,
    /// They are logged, and answered.
    Permissive,
    /// They are refused with 429.
    Enforcing,
}

/// How many requests are answered in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestRates {
    /// What becomes of more.
    pub mode: RateMode,
    /// Reads a second; none is without bound.
    pub read: Option<f64>,
    /// Writes a second; none is without bound.
    pub write: Option<f64>,
}

/// Bounds on what clients ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitSettings {
    /// The most HTTP connections from one address.
    pub connections_per_client: usize,
    /// The largest value of a key, in bytes.
    pub kv_value_max: usize,
    /// The largest body of a transaction, in bytes.
    pub txn_body_max: usize,
    /// How many requests are answered in a second.
    pub requests: RequestRates,
    /// The most bytes of one request's headers.
    pub header_bytes_max: usize,
}

/// What is answered, and with which headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpSettings {
    /// Headers of every answer.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Beginnings of paths that are answered 403.
    pub block_endpoints: Vec<String>,
    /// From where anything but GET is answered; empty: from everywhere.
    pub allow_write_from: Vec<IpNet>,
    /// Whether paths with control characters are let through.
    pub unprintable_paths: bool,
    /// Whether answers say that addresses are translated for other datacenters.
    pub translate_addresses: bool,
}

/// How long readers wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuerySettings {
    /// How long a blocking read waits that does not say.
    pub wait_default: Duration,
    /// How long it may wait at most.
    pub wait_max: Duration,
}

impl LimitSettings {
    pub(super) fn resolve(file: &FileConfig) -> Result<LimitSettings, ConfigError> {
        let keys = &file.limits;
        let size = |key: &str, given: Option<u64>, max: u64, default: usize| match given {
            None | Some(0) => Ok(default),
            Some(size) if size <= max => Ok(usize::try_from(size).unwrap_or(default)),
            Some(size) => Err(invalid(key, format!("{size} is too large; at most {max} is accepted"))),
        };
        Ok(LimitSettings {
            connections_per_client: match keys.http_max_conns_per_client {
                None => 200,
                // As with Consul: without bound.
                Some(0) => usize::MAX,
                Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
            },
            kv_value_max: size("limits.kv_max_value_size", keys.kv_max_value_size, BODY_MAX, VALUE_MAX)?,
            txn_body_max: size("limits.txn_max_req_len", keys.txn_max_req_len, BODY_MAX, VALUE_MAX)?,
            requests: rates(&keys.request_limits)?,
            header_bytes_max: size(
                "http_config.max_header_bytes",
                file.http_config.max_header_bytes,
                HEADERS_MAX,
                400 * 1024,
            )?
            .max(8 * 1024),
        })
    }
}

fn rates(keys: &RequestKeys) -> Result<RequestRates, ConfigError> {
    let rate = |key: &str, given: Option<f64>| match given {
        None => Ok(None),
        // Minus one stands for infinity.
        Some(rate) if rate < 0.0 => Ok(None),
        Some(rate) if rate > 0.0 && rate.is_finite() => Ok(Some(rate)),
        Some(_) => Err(invalid(key, "must be more than 0 a second, or -1 for no bound")),
    };
    Ok(RequestRates {
        mode: match keys.mode.as_deref() {
            None | Some("disabled" | "") => RateMode::Disabled,
            Some("permissive") => RateMode::Permissive,
            Some("enforcing") => RateMode::Enforcing,
            Some(other) => {
                let reason = format!("{other:?} is none of disabled, permissive, enforcing");
                return Err(invalid("limits.request_limits.mode", reason));
            }
        },
        read: rate("limits.request_limits.read_rate", keys.read_rate)?,
        write: rate("limits.request_limits.write_rate", keys.write_rate)?,
    })
}

impl HttpSettings {
    pub(super) fn resolve(file: &FileConfig) -> Result<HttpSettings, ConfigError> {
        let keys = &file.http_config;
        let headers = keys.response_headers.iter().map(|(name, value)| {
            let key = format!("http_config.response_headers.{name}");
            let field = HeaderName::try_from(name.as_str()).map_err(|_| invalid(&key, "is no name of a header"))?;
            let value = HeaderValue::try_from(value.as_str())
                .map_err(|_| invalid(&key, "a header holds printable characters only"))?;
            Ok((field, value))
        });
        let networks = keys.allow_write_http_from.iter().map(|text| {
            let network = text.trim();
            network.parse::<IpNet>().or_else(|_| network.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(|_| {
                let reason = format!("{network:?} is no network such as \"10.0.0.0/8\"");
                invalid("http_config.allow_write_http_from", reason)
            })
        });
        if let Some(path) = keys.block_endpoints.iter().find(|path| !path.starts_with('/')) {
            let reason = format!("{path:?} must begin with a slash, as in \"/v1/kv\"");
            return Err(invalid("http_config.block_endpoints", reason));
        }
        Ok(HttpSettings {
            response_headers: headers.collect::<Result<_, _>>()?,
            block_endpoints: keys.block_endpoints.clone(),
            allow_write_from: networks.collect::<Result<_, _>>()?,
            unprintable_paths: file.disable_http_unprintable_char_filter.unwrap_or(false),
            translate_addresses: file.translate_wan_addrs.unwrap_or(false),
        })
    }
}

impl QuerySettings {
    pub(super) fn resolve(file: &FileConfig) -> Result<QuerySettings, ConfigError> {
        let time = |key: &str, given: Option<GoDuration>, default| match given.and_then(GoDuration::positive) {
            None => Ok(Duration::from_secs(default)),
            Some(time) if time <= WAIT_MAX => Ok(time),
            Some(_) => Err(invalid(key, "must be at most 24h")),
        };
        let wait_max = time("max_query_time", file.max_query_time, 600)?;
        Ok(QuerySettings {
            wait_default: time("default_query_time", file.default_query_time, 300)?.min(wait_max),
            wait_max,
        })
    }
}

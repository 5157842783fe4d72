//! From the settings of the node to those of its parts that can change while it runs, and to what it shows of them.
//!
//! Pure. `server` calls it when the node starts and when the configuration is read again.

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::config::{Config, RateMode};
use crate::http::{self as interface, HttpRules, Rate};
use crate::telemetry::Naming;

/// What the HTTP interface lets in.
pub(crate) fn http_rules(config: &Config) -> HttpRules {
    let (limits, http) = (&config.limits, &config.http);
    let mut response_headers = http.response_headers.clone();
    if http.translate_addresses {
        let name = HeaderName::from_static("x-consul-translate-addresses");
        response_headers.push((name, HeaderValue::from_static("true")));
    }
    let limited = limits.requests.mode != RateMode::Disabled;
    let rate = |rate: Option<f64>| rate.filter(|_| limited).map(Rate::new);
    HttpRules {
        connections_per_client: limits.connections_per_client,
        kv_value_max: limits.kv_value_max,
        txn_body_max: limits.txn_body_max,
        header_bytes_max: limits.header_bytes_max,
        wait_default: config.queries.wait_default,
        wait_max: config.queries.wait_max,
        response_headers,
        block_endpoints: http.block_endpoints.clone(),
        allow_write_from: http.allow_write_from.clone(),
        unprintable_paths: http.unprintable_paths,
        rate_mode: match limits.requests.mode {
            RateMode::Enforcing => interface::RateMode::Enforcing,
            RateMode::Permissive | RateMode::Disabled => interface::RateMode::Permissive,
        },
        reads: rate(limits.requests.read),
        writes: rate(limits.requests.write),
    }
}

/// How the node's numbers are named.
pub(crate) fn naming(config: &Config) -> Naming {
    let telemetry = &config.telemetry;
    Naming {
        prefix: telemetry.prefix.clone(),
        host: (!telemetry.disable_hostname).then(|| config.node_name.to_string()),
        prometheus: !telemetry.prometheus_retention.is_zero(),
    }
}

/// What the node shows of its settings. No secret is among them.
pub(crate) fn shown(config: &Config) -> Value {
    let (net, cluster, tls) = (&config.net, &config.cluster, &config.tls);
    let texts = |list: &[crate::config::Address]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let client: Vec<String> = net.client.iter().map(ToString::to_string).collect();
    let recursors: Vec<String> = config.recursors.iter().map(ToString::to_string).collect();
    let dns: Vec<String> = net.dns.iter().map(ToString::to_string).collect();
    let interface = |own: &crate::config::TlsInterface| {
        json!({
            "CAFile": own.ca_file, "CAPath": own.ca_path, "CertFile": own.cert_file,
            "VerifyIncoming": own.verify_incoming, "VerifyOutgoing": own.verify_outgoing,
            "VerifyServerHostname": own.verify_server_hostname,
        })
    };
    let mut shown = json!({
        "ServerMode": cluster.server, "DevMode": config.dev, "Bootstrap": cluster.bootstrap,
        "BootstrapExpect": cluster.bootstrap_expect.unwrap_or(0), "ClientAddrs": client,
        "HTTPAddrs": texts(&net.http), "HTTPSAddrs": texts(&net.https), "DNSAddrs": dns,
        "AdvertiseAddrWAN": net.advertise_wan.to_string(), "GRPCPort": -1, "GRPCTLSPort": -1,
        "ConnectEnabled": config.connect.enabled, "DNSAltDomain": config.alt_domain, "DNSRecursors": recursors,
        "EnableRemoteScriptChecks": config.scripts, "EnableLocalScriptChecks": config.scripts_local,
        "DisableRemoteExec": !config.remote_exec,
        "DataDir": config.data_dir, "PidFile": config.pid_file, "LeaveOnTerm": cluster.leave_on_terminate,
        "SkipLeaveOnInt": cluster.skip_leave_on_interrupt, "EncryptVerifyIncoming": cluster.encrypt_verify_incoming,
        "EncryptVerifyOutgoing": cluster.encrypt_verify_outgoing,
        "UIConfig": {"Enabled": config.console},
    });
    let more = json!({
        "Logging": {
            "LogLevel": config.log.level.to_uppercase(), "LogJSON": config.log.json,
            "LogFilePath": config.log.file.as_ref().map(|file| &file.path),
        },
        "LogLevel": config.log.level.to_uppercase(), "RetryJoinLAN": cluster.retry_join, "StartJoinAddrsLAN": cluster.join,
        "TLS": {"HTTPS": interface(&tls.https), "InternalRPC": interface(&tls.internal_rpc)},
        "HTTPMaxConnsPerClient": config.limits.connections_per_client,
        "KVMaxValueSize": config.limits.kv_value_max, "TxnMaxReqLen": config.limits.txn_body_max,
        "SessionTTLMin": format!("{:?}", config.session_ttl_min),
        "CheckUpdateInterval": format!("{:?}", config.check_update_interval),
        "CheckOutputMaxSize": config.check_output_max, "TranslateWANAddrs": config.http.translate_addresses,
        "Services": config.definitions.len(), "ACLTokenPersistence": config.acl.token_persistence,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

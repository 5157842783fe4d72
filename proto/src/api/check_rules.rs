//! What is wrong with a check, and what a right one becomes.

use std::time::Duration;

use super::check::{CheckRequest, LimitRequest, NewCheck};
use super::valid::InvalidRequest;
use crate::check::{Check, CheckOwner, CheckStatus};
use crate::definition::{
    CheckDefinition, HttpProbe, INTERVAL_MIN, LatencyLimit, Limit, Limits, OUTPUT_MAX, Probe, REAP_AFTER_MIN,
    Thresholds, Tls,
};
use crate::duration::GoDuration;
use crate::name::{CheckId, InstanceId, NodeName};
use crate::text::Text;

/// The longest free text (notes, output, body, arguments) in a definition, in bytes.
const TEXT_MAX: usize = 64 * 1024;

fn invalid(message: impl Into<String>) -> InvalidRequest {
    InvalidRequest(message.into())
}

fn bounded(field: &str, text: &str, max: usize) -> Result<Text, InvalidRequest> {
    if text.len() > max {
        return Err(invalid(format!(
            "Invalid check: {field} is {} bytes long; at most {max} are accepted",
            text.len()
        )));
    }
    Ok(text.into())
}

fn positive(duration: GoDuration, field: &str) -> Result<Duration, InvalidRequest> {
    if duration.0 < 0 {
        return Err(invalid(format!("Invalid check: {field} must not be negative, it is {duration}")));
    }
    Ok(duration.to_std())
}

fn host_port(field: &str, text: &str) -> Result<Text, InvalidRequest> {
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !valid {
        return Err(invalid(format!("Invalid check: {field} {text:?} is not host:port")));
    }
    bounded(field, text, 1024)
}

impl CheckRequest {
    /// Turns the request into a row, or says what is wrong with it.
    ///
    /// `default_id` and `default_name` hold for a check inside a service.
    ///
    /// # Errors
    /// Names the field and what would be accepted.
    pub fn validate(
        self,
        node: &NodeName,
        instance: InstanceId,
        default_id: Option<&str>,
        default_name: Option<&str>,
    ) -> Result<NewCheck, InvalidRequest> {
        let name = if self.name.is_empty() { default_name.unwrap_or("") } else { &self.name };
        if name.is_empty() {
            return Err(invalid("Missing check name"));
        }
        let name = bounded("Name", name, crate::name::NAME_MAX)?;
        let id = match (self.id.as_str(), default_id) {
            ("", Some(id)) => id,
            ("", None) => &name,
            (id, _) => id,
        };
        let id = CheckId::parse(id).map_err(|error| invalid(format!("Invalid check: {error}")))?;
        let status = match self.status.as_str() {
            "" => None,
            text => Some(text.parse::<CheckStatus>().map_err(|_| {
                invalid(if default_id.is_some() {
                    format!("Status for checks must 'passing', 'warning', 'critical', not {:?}", clip(text))
                } else {
                    format!("Bad check status: Status must be 'passing', 'warning' or 'critical', not {:?}", clip(text))
                })
            })?),
        };
        let notes = bounded("Notes", &self.notes, TEXT_MAX)?;
        let definition = self.definition()?;
        Ok(NewCheck {
            status_given: status.is_some(),
            check: Check {
                node: node.clone(),
                id,
                name,
                status: status.unwrap_or(CheckStatus::Critical),
                notes,
                output: Text::default(),
                instance,
                service: crate::ServiceName::none(),
                service_tags: crate::text::Tags::default(),
                kind: definition.probe.kind().into(),
                definition: Some(Box::new(definition)),
                shown_definition: Text::default(),
                owner: CheckOwner::Agent,
                created: crate::Index::ZERO,
                modified: crate::Index::ZERO,
            },
        })
    }

    /// The definition alone.
    ///
    /// # Errors
    /// Names the field and what would be accepted.
    pub fn definition(&self) -> Result<CheckDefinition, InvalidRequest> {
        if !self.docker_container_id.is_empty() {
            return Err(invalid("Invalid check: DockerContainerID checks are not supported; use HTTP, TCP or TTL"));
        }
        if !self.os_service.is_empty() {
            return Err(invalid("Invalid check: OSService checks are not supported; use Args, HTTP, TCP or TTL"));
        }
        let interval = positive(self.interval, "Interval")?;
        let ttl = positive(self.ttl, "TTL")?;
        let probe = self.probe(ttl)?;
        let periodic = !matches!(probe, Probe::Ttl { .. } | Probe::Alias { .. });
        if !interval.is_zero() && !ttl.is_zero() {
            return Err(invalid("Invalid check: Interval and TTL cannot both be specified"));
        }
        if periodic && interval.is_zero() {
            return Err(invalid(
                "Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP, GRPC or OSService checks",
            ));
        }
        if matches!(probe, Probe::Alias { .. }) && !(interval.is_zero() && ttl.is_zero()) {
            return Err(invalid("Invalid check: Interval and TTL cannot be set for Alias checks"));
        }
        let critical = self.failures_before_critical;
        let warning = if self.failures_before_warning == 0 { critical } else { self.failures_before_warning };
        if warning > critical {
            return Err(invalid("Invalid check: FailuresBeforeWarning can't be higher than FailuresBeforeCritical"));
        }
        if self.output_max_size < 0 {
            return Err(invalid("Invalid check: OutputMaxSize must not be negative"));
        }
        let output_max = match usize::try_from(self.output_max_size).unwrap_or(OUTPUT_MAX) {
            0 => OUTPUT_MAX,
            size => size.min(OUTPUT_MAX),
        };
        let reap_after = positive(self.deregister_critical_service_after, "DeregisterCriticalServiceAfter")?;
        Ok(CheckDefinition {
            probe,
            interval: if periodic { interval.max(INTERVAL_MIN) } else { Duration::ZERO },
            timeout: positive(self.timeout, "Timeout")?,
            thresholds: Thresholds { passing: self.success_before_passing, warning, critical },
            reap_after: (!reap_after.is_zero()).then(|| reap_after.max(REAP_AFTER_MIN)),
            output_max,
            limits: self.limits()?,
        })
    }

    fn probe(&self, ttl: Duration) -> Result<Probe, InvalidRequest> {
        let tls = |wanted: bool| {
            wanted.then(|| Tls { server_name: self.tls_server_name.as_str().into(), skip_verify: self.tls_skip_verify })
        };
        bounded("TLSServerName", &self.tls_server_name, 255)?;
        if !ttl.is_zero() {
            return Ok(Probe::Ttl { ttl });
        }
        if !self.http.is_empty() {
            return self.http_probe().map(Probe::Http);
        }
        if !self.tcp.is_empty() {
            return Ok(Probe::Tcp { address: host_port("TCP", &self.tcp)?, tls: tls(self.tcp_use_tls) });
        }
        if !self.udp.is_empty() {
            return Ok(Probe::Udp { address: host_port("UDP", &self.udp)? });
        }
        if !self.grpc.is_empty() {
            let (address, service) = self.grpc.split_once('/').unwrap_or((&self.grpc, ""));
            return Ok(Probe::Grpc {
                address: host_port("GRPC", address)?,
                service: bounded("GRPC", service, 1024)?,
                tls: tls(self.grpc_use_tls),
            });
        }
        if !self.args.is_empty() {
            if self.args.len() > 256 {
                return Err(invalid(format!(
                    "Invalid check: Args has {} items; at most 256 are accepted",
                    self.args.len()
                )));
            }
            let args = self.args.iter().map(|arg| bounded("Args", arg, TEXT_MAX)).collect::<Result<_, _>>()?;
            return Ok(Probe::Script { args });
        }
        if !self.h2ping.is_empty() {
            let tls = tls(self.h2ping_use_tls.unwrap_or(true));
            return Ok(Probe::H2Ping { address: host_port("H2PING", &self.h2ping)?, tls });
        }
        if !self.alias_service.is_empty() || !self.alias_node.is_empty() {
            let node = match self.alias_node.as_str() {
                "" => NodeName::none(),
                text => NodeName::parse(text).map_err(|error| invalid(format!("Invalid check: AliasNode: {error}")))?,
            };
            let instance = match self.alias_service.as_str() {
                "" => InstanceId::none(),
                text => {
                    InstanceId::parse(text).map_err(|error| invalid(format!("Invalid check: AliasService: {error}")))?
                }
            };
            return Ok(Probe::Alias { node, instance });
        }
        Err(invalid(
            "Invalid check: TTL must be > 0 for TTL checks; a check needs one of TTL, HTTP, TCP, UDP, GRPC, H2PING, Args, \
             AliasService or AliasNode",
        ))
    }

    fn http_probe(&self) -> Result<HttpProbe, InvalidRequest> {
        let url = bounded("HTTP", &self.http, 8 * 1024)?;
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || url.contains(char::is_whitespace) {
            return Err(invalid(format!("Invalid check: HTTP {:?} is not a http:// or https:// URL", clip(&url))));
        }
        let method = if self.method.is_empty() { "GET".to_owned() } else { self.method.to_ascii_uppercase() };
        if method.len() > 32 || !method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-') {
            return Err(invalid(format!("Invalid check: Method {:?} is not an HTTP method", clip(&self.method))));
        }
        let mut header = Vec::new();
        for (name, values) in &self.header {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(invalid(format!("Invalid check: Header {:?} is not a header name", clip(name))));
            }
            for value in values {
                if value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 127) {
                    return Err(invalid(format!("Invalid check: Header {name:?} has a value with control characters")));
                }
                header.push((bounded("Header", name, 1024)?, bounded("Header", value, 8 * 1024)?));
            }
        }
        Ok(HttpProbe {
            url,
            method: method.into(),
            header,
            body: bounded("Body", &self.body, TEXT_MAX)?,
            follow_redirects: !self.disable_redirects,
            tls: Tls { server_name: self.tls_server_name.as_str().into(), skip_verify: self.tls_skip_verify },
        })
    }

    fn limits(&self) -> Result<Limits, InvalidRequest> {
        let limit = |field: &str, request: Option<LimitRequest>, max: f64| -> Result<Option<Limit>, InvalidRequest> {
            let Some(LimitRequest { warning, critical }) = request else { return Ok(None) };
            for figure in [warning, critical].into_iter().flatten() {
                if !(0.0..=max).contains(&figure) {
                    return Err(invalid(format!("Invalid check: {field} must be between 0 and {max}, not {figure}")));
                }
            }
            if warning.is_none() && critical.is_none() {
                return Err(invalid(format!("Invalid check: {field} needs Warning, Critical or both")));
            }
            Ok(Some(Limit { warning, critical }))
        };
        let latency = match self.max_latency {
            None => None,
            Some(request) => {
                let percentile = request.percentile.unwrap_or(99.0);
                let window = request.window.unwrap_or(20);
                if !(percentile > 0.0 && percentile <= 100.0) {
                    return Err(invalid("Invalid check: MaxLatency.Percentile must be above 0 and at most 100"));
                }
                if !(1..=1000).contains(&window) {
                    return Err(invalid("Invalid check: MaxLatency.Window must be 1 to 1000 runs"));
                }
                let seconds = |duration: GoDuration| duration.positive().map(|duration| duration.as_secs_f64());
                let limit = Limit { warning: seconds(request.warning), critical: seconds(request.critical) };
                if limit == Limit::default() {
                    return Err(invalid(
                        "Invalid check: MaxLatency needs Warning, Critical or both, as durations above 0",
                    ));
                }
                Some(LatencyLimit { percentile, window, limit })
            }
        };
        Ok(Limits {
            latency,
            memory: limit("MaxMemory", self.max_memory, 1e18)?,
            cpu: limit("MaxCPU", self.max_cpu, 1e6)?,
            throughput_min: limit("MinThroughput", self.min_throughput, 1e12)?,
            error_rate: limit("MaxErrorRate", self.max_error_rate, 1.0)?,
            pid: self.pid,
        })
    }
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::check::LatencyRequest;
    use crate::api::decode::{Unknown, from_slice};

    fn read(body: &str) -> Result<NewCheck, String> {
        let request: CheckRequest = from_slice(body.as_bytes(), Unknown::Refuse).map_err(|error| error.to_string())?;
        let node = NodeName::parse("n1").unwrap();
        request.validate(&node, InstanceId::none(), None, None).map_err(|error| error.to_string())
    }

    #[test]
    fn kinds_are_told_apart() {
        let check = |body: &str, kind: &str| {
            assert_eq!(&*read(body).unwrap().check.kind, kind, "{body}");
        };
        check(r#"{"name":"a","ttl":"10s"}"#, "ttl");
        check(r#"{"name":"a","http":"http://localhost:80/","interval":"10s","header":{"A":["b"]}}"#, "http");
        check(r#"{"name":"a","tcp":"localhost:80","interval":"10s"}"#, "tcp");
        check(r#"{"name":"a","udp":"localhost:80","interval":"10s"}"#, "udp");
        check(r#"{"name":"a","grpc":"localhost:80/svc","interval":"10s"}"#, "grpc");
        check(r#"{"name":"a","H2Ping":"localhost:80","interval":"10s"}"#, "h2ping");
        check(r#"{"name":"a","args":["true"],"interval":10}"#, "script");
        check(r#"{"name":"a","alias_service":"web"}"#, "alias");
    }

    #[test]
    fn ten_nanoseconds_become_a_second() {
        let new = read(r#"{"name":"s","args":["sh","-c","/bin/true"],"interval":10}"#).unwrap();
        assert_eq!(new.check.definition.unwrap().interval, Duration::from_secs(1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |body: &str, part: &str| {
            let error = read(body).unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        };
        check(r#"{"ttl":"10s"}"#, "Missing check name");
        check(r#"{"name":"a"}"#, "TTL must be > 0 for TTL checks");
        check(r#"{"name":"a","ttl":"1s","interval":"1s"}"#, "Interval and TTL cannot both be specified");
        check(r#"{"name":"a","http":"http://x"}"#, "Interval must be > 0");
        check(r#"{"name":"a","http":"ftp://x","interval":"1s"}"#, "HTTP");
        check(r#"{"name":"a","tcp":"x","interval":"1s"}"#, "host:port");
        check(r#"{"name":"a","ttl":"1s","status":"good"}"#, "Bad check status");
        check(r#"{"name":"a","script":"x"}"#, "unknown field \"script\"");
        check(
            r#"{"name":"a","tcp":"x:1","interval":"1s","failures_before_warning":3,"failures_before_critical":2}"#,
            "FailuresBeforeWarning",
        );
        check(r#"{"name":"a","tcp":"x:1","interval":"1s","output_max_size":-1}"#, "OutputMaxSize");
        check(r#"{"name":"a","tcp":"x:1","interval":"1s","max_error_rate":{"critical":3}}"#, "MaxErrorRate");
        check(
            r#"{"name":"a","tcp":"x:1","interval":"1s","max_latency":{"percentile":0,"critical":"1s"}}"#,
            "MaxLatency.Percentile",
        );
        check(r#"{"name":"a","tcp":"x:1","interval":"1s","max_memory":{}}"#, "MaxMemory");
        check(r#"{"name":"a","docker_container_id":"x","args":["x"],"interval":"1s"}"#, "DockerContainerID");
    }

    #[test]
    fn what_is_sent_is_understood() {
        let request = CheckRequest {
            id: "a".into(),
            name: "b".into(),
            http: "https://x/y".into(),
            interval: GoDuration(5_000_000_000),
            tls_skip_verify: true,
            max_latency: Some(LatencyRequest { critical: GoDuration(1_000), ..LatencyRequest::default() }),
            ..CheckRequest::default()
        };
        let body = serde_json::to_vec(&request).unwrap();
        assert_eq!(from_slice::<CheckRequest>(&body, Unknown::Refuse), Ok(request));
    }
}

//! This node's numbers under Consul's names: as its JSON, and as the text that Prometheus scrapes.
//!
//! Gauges are of now; samples and counters are of the last ten seconds, as with Consul, and since the start for
//! Prometheus.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Telemetry;
use super::window::{SLICE_SECONDS, Sample};
use crate::cluster::Cluster;

/// How numbers are named.
#[derive(Debug, Clone)]
pub struct Naming {
    /// What every name begins with.
    pub prefix: String,
    /// The node's name, which gauges carry; none leaves it out.
    pub host: Option<String>,
    /// Whether the text for Prometheus is given.
    pub prometheus: bool,
}

impl Default for Naming {
    fn default() -> Naming {
        Naming { prefix: "consul".to_owned(), host: None, prometheus: false }
    }
}

/// A number over time.
struct Series {
    name: &'static str,
    path: Option<&'static str>,
    last: Sample,
    total: Sample,
}

impl Series {
    fn json(&self, naming: &Naming) -> Value {
        let Sample { count, sum, min, max, .. } = self.last;
        let labels = self.path.map_or_else(|| json!({}), |path| json!({"path": label(path)}));
        json!({
            "Name": format!("{}.{}", naming.prefix, self.name), "Count": count, "Rate": sum / SLICE_SECONDS as f64,
            "Sum": sum, "Min": min, "Max": max, "Mean": self.last.mean(), "Stddev": self.last.deviation(),
            "Labels": labels,
        })
    }
}

impl Telemetry {
    fn gauges(&self, cluster: &Cluster) -> Vec<(&'static str, f64)> {
        let registry = cluster.registry();
        let status = cluster.status();
        let resident = callboard::check::process::read(std::process::id()).map_or(0.0, |own| own.memory);
        let instances: usize = registry.services().map(|row| registry.members(row).count()).sum();
        vec![
            ("catalog.index", registry.index().0 as f64),
            ("http.connections", self.connections.get() as f64),
            ("http.waiters", self.state.waiters.get() as f64),
            ("raft.applied_index", status.applied as f64),
            ("raft.commit_index", status.committed as f64),
            ("raft.last_index", status.last_log as f64),
            ("raft.peers", status.voters.len() as f64),
            ("raft.term", status.term as f64),
            ("runtime.alloc_bytes", resident),
            ("runtime.sys_bytes", resident),
            ("server.isLeader", f64::from(u8::from(status.ready))),
            ("session_ttl.active", registry.sessions().count() as f64),
            ("state.kv_entries", registry.kv_under("").count() as f64),
            ("state.nodes", registry.nodes().count() as f64),
            ("state.service_instances", instances as f64),
            ("state.services", registry.services().count() as f64),
        ]
    }

    /// Samples, then counters.
    fn series(&self) -> (Vec<Series>, Vec<Series>) {
        let slice = self.slice();
        let mut calls = (Sample::default(), Sample::default());
        let mut samples = Vec::new();
        for route in &self.routes {
            let (last, total) = {
                let mut window = route.window.lock();
                (window.last(slice), window.total())
            };
            if is_of_the_registry(route.name) {
                calls.0 = counted(calls.0.count + last.count);
                calls.1 = counted(calls.1.count + total.count);
            }
            if total.count > 0 {
                samples.push(Series { name: "api.http", path: Some(route.name), last, total });
            }
        }
        let calls = Series { name: "client.rpc", path: None, last: calls.0, total: calls.1 };
        (samples, vec![calls])
    }

    /// The numbers as Consul's JSON.
    #[must_use]
    pub fn consul(&self, cluster: &Cluster, now: SystemTime) -> Value {
        let naming = &self.naming;
        let name = |name: &str| match &naming.host {
            Some(host) => format!("{}.{host}.{name}", naming.prefix),
            None => format!("{}.{name}", naming.prefix),
        };
        let gauges = self.gauges(cluster).into_iter();
        let gauges: Vec<Value> =
            gauges.map(|(gauge, value)| json!({"Name": name(gauge), "Value": value, "Labels": {}})).collect();
        let (samples, counters) = self.series();
        let shown = |series: &[Series]| series.iter().map(|series| series.json(naming)).collect::<Vec<_>>();
        json!({
            "Timestamp": timestamp(now), "Gauges": gauges, "Points": [], "Counters": shown(&counters),
            "Samples": shown(&samples),
        })
    }

    /// The same numbers for Prometheus; none when the operator did not ask for it.
    #[must_use]
    pub fn consul_prometheus(&self, cluster: &Cluster) -> Option<String> {
        if !self.naming.prometheus {
            return None;
        }
        let plain = |name: &str| format!("{}_{name}", self.naming.prefix).replace(['.', '-'], "_");
        let mut text = String::with_capacity(8 * 1024);
        // Writing to a String cannot fail.
        for (name, value) in self.gauges(cluster) {
            let name = plain(name);
            let _ = writeln!(text, "# HELP {name} {name}\n# TYPE {name} gauge\n{name} {value}");
        }
        let (samples, counters) = self.series();
        if !samples.is_empty() {
            let name = plain("api.http");
            let _ = writeln!(text, "# HELP {name} {name}\n# TYPE {name} summary");
            for series in &samples {
                let path = label(series.path.unwrap_or("other"));
                let _ = writeln!(text, "{name}_sum{{path=\"{path}\"}} {}", series.total.sum);
                let _ = writeln!(text, "{name}_count{{path=\"{path}\"}} {}", series.total.count);
            }
        }
        for series in counters {
            let name = plain(series.name);
            let _ = writeln!(text, "# HELP {name} {name}\n# TYPE {name} counter\n{name} {}", series.total.count);
        }
        Some(text)
    }
}

/// So many events that have no size of their own.
fn counted(count: u64) -> Sample {
    let one = if count == 0 { 0.0 } else { 1.0 };
    Sample::of(count, count as f64, one, one)
}

/// Whether a route asks the registry, not the node about itself.
fn is_of_the_registry(route: &str) -> bool {
    route.starts_with("/v1/") && !route.starts_with("/v1/agent/") && !route.starts_with("/v1/status/")
}

/// A path as Consul labels it: `v1.kv._` for `/v1/kv/`.
fn label(path: &str) -> String {
    let plain = path.trim_start_matches('/').replace('/', ".");
    if plain.ends_with('.') { format!("{plain}_") } else { plain }
}

/// The beginning of the slice that is shown, as Go prints times.
fn timestamp(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = seconds - seconds % SLICE_SECONDS;
    let (year, month, day) = civil(i64::try_from(seconds / 86_400).unwrap_or(0));
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// The date of a day counted from 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let check = |seconds: u64, expect: &str| {
            assert_eq!(timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), expect);
        };
        check(0, "1970-01-01 00:00:00 +0000 UTC");
        check(951_782_409, "2000-02-29 00:00:00 +0000 UTC");
        check(1_704_067_199, "2023-12-31 23:59:50 +0000 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn paths_become_labels() {
        assert_eq!(label("/v1/kv/"), "v1.kv._");
        assert_eq!(label("/v1/agent/self"), "v1.agent.self");
        assert_eq!(label("other"), "other");
    }
}

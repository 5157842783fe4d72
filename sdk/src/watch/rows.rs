//! From rows of the wire to endpoints that can be dialled.

use std::collections::BTreeMap;

use callboard_proto::CheckStatus;
use callboard_proto::api::health::ServiceEntry;
use callboard_proto::check::AggregatedStatus;

use crate::endpoint::{Endpoint, Health};
use crate::load::PROBE_META;

/// The meta key, of the instance or else of its node, that names the zone.
const ZONE: &str = "zone";
/// The meta key of an instance that says when its process started, in seconds since 1970.
pub(crate) const STARTED: &str = "callboard-started";

/// Reads the answer of `GET /v1/health/service/:name`.
///
/// # Errors
/// When it is not what the interface says.
pub fn endpoints(body: &[u8]) -> Result<Vec<Endpoint>, serde_json::Error> {
    let entries: Vec<ServiceEntry> = serde_json::from_slice(body)?;
    Ok(entries.iter().map(endpoint).collect())
}

fn endpoint(entry: &ServiceEntry) -> Endpoint {
    let (node, service) = (&entry.node, &entry.service);
    let host = if service.address.is_empty() { &node.address } else { &service.address };
    let status = entry.status();
    // Somebody took it out on purpose, which is no opinion that could be doubted: drained.
    let in_use = u32::from(status != AggregatedStatus::Maintenance);
    let health = match status {
        AggregatedStatus::Status(CheckStatus::Passing) => Health::Passing,
        AggregatedStatus::Status(CheckStatus::Warning) => Health::Warning,
        AggregatedStatus::Status(CheckStatus::Critical) | AggregatedStatus::Maintenance => Health::Critical,
    };
    let meta: BTreeMap<String, String> =
        service.meta.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let zone = service.meta.get(ZONE).or_else(|| node.meta.get(ZONE)).map_or("", |zone| &**zone);
    let started = service.meta.get(STARTED).and_then(|seconds| seconds.parse().ok());
    let probe = service.meta.get(PROBE_META).and_then(|port| port.parse().ok()).unwrap_or(0);
    let endpoint = Endpoint::new(service.id.as_str(), host, service.port)
        .on_node(node.node.as_str())
        .weighted(in_use * u32::from(service.weights.passing), in_use * u32::from(service.weights.warning))
        .with_health(health)
        .in_zone(zone)
        .probed_on(probe)
        .tagged(service.tags.iter().map(ToString::to_string).collect())
        .with_meta(meta);
    match started {
        Some(seconds) => endpoint.started_at(seconds),
        None => endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_an_endpoint() {
        let body = br#"[{"Node":{"ID":"","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,
            "Meta":{"zone":"a"},"CreateIndex":1,"ModifyIndex":2},"Service":{"ID":"web-1","Service":"web","Tags":["v1"],
            "Address":"","Meta":{"callboard-started":"1700000000","callboard-probe":"4001"},"Port":80,"Weights":{"Passing":3,"Warning":1},"EnableTagOverride":false},
            "Checks":[{"Node":"n1","CheckID":"c","Name":"c","Status":"warning"}]},
            {"Node":{"Node":"n2","Address":"10.0.0.2"},"Service":{"ID":"web-2","Service":"web","Address":"10.1.1.1","Port":81},
            "Checks":[{"Node":"n2","CheckID":"_node_maintenance","Name":"m","Status":"critical"}]}]"#;
        let rows = endpoints(body).unwrap();
        assert_eq!((rows[0].authority(), rows[0].weight_effective(), rows[0].zone()), ("10.0.0.1:80", 1, Some("a")));
        assert_eq!((rows[0].identity(), rows[0].tags()), (("web-1", "n1"), &["v1".to_owned()][..]));
        assert_eq!((rows[1].authority(), rows[1].health()), ("10.1.1.1:81", Health::Critical));
        assert_eq!(
            (rows[0].weight(), rows[1].weight()),
            (3, 0),
            "who is in maintenance is not called whatever happens"
        );
        assert_eq!((rows[0].started(), rows[1].started()), (Some(1_700_000_000), None));
        assert_eq!((rows[0].probe_port(), rows[1].probe_port()), (Some(4001), None));
        assert!(endpoints(b"{}").is_err());
    }
}

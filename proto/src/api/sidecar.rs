//! `connect.sidecar_service`: a proxy that is registered along with a service, with what is not said filled in. PURE.
//!
//! It decides the proxy's names, its port and its checks; the rows are made from its request as from any other. Called by
//! the agent routes, which also take the proxy away with its service.

use std::collections::BTreeSet;

use serde_json::Value;

use super::agent::ServiceRequest;
use super::check::CheckRequest;
use super::decode::{Unknown, from_value};
use super::proxy::ProxyRequest;
use super::valid::InvalidRequest;
use crate::duration::GoDuration;

/// What follows the id and the name of a service in those of its proxy.
const SUFFIX: &str = "-sidecar-proxy";

fn invalid<T>(text: impl std::fmt::Display) -> Result<T, InvalidRequest> {
    Err(InvalidRequest(format!("Invalid SidecarService: {text}")))
}

/// The id of the proxy of an instance.
#[must_use]
pub fn sidecar_id(id: &str) -> String {
    format!("{id}{SUFFIX}")
}

/// The first free port of a range, or the one that the proxy has already.
#[must_use]
pub fn free_port(range: (u16, u16), taken: &BTreeSet<u16>, present: Option<u16>) -> Option<u16> {
    let inside = |port: &u16| (range.0..=range.1).contains(port);
    present.filter(inside).or_else(|| (range.0..=range.1).find(|port| !taken.contains(port)))
}

/// A proxy that is to be registered along.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    request: ServiceRequest,
}

impl Sidecar {
    /// Takes the proxy out of a service's request, if one is asked for.
    ///
    /// # Errors
    /// Names the field that cannot be read or used.
    pub fn take(service: &mut ServiceRequest) -> Result<Option<Sidecar>, InvalidRequest> {
        let Some(connect) = &mut service.connect else { return Ok(None) };
        let Some(value) = connect.sidecar_service.take().filter(|value| !value.is_null()) else { return Ok(None) };
        let read: Result<ServiceRequest, _> = from_value(value, Unknown::Refuse);
        let mut request =
            read.map_err(|error| InvalidRequest(format!("Invalid SidecarService: {}", error.detail())))?;
        if request.connect.as_ref().is_some_and(|connect| connect.sidecar_service.is_some()) {
            return invalid("a sidecar cannot have a nested sidecar");
        }
        if connect.native {
            return invalid("a service that is Connect Native needs no sidecar");
        }
        let id = if service.id.is_empty() { &service.name } else { &service.id };
        if !request.id.is_empty() && request.id != sidecar_id(id) {
            return invalid(format_args!("ID must be {:?} or empty: it goes with its service", sidecar_id(id)));
        }
        request.id = sidecar_id(id);
        if request.name.is_empty() {
            request.name = format!("{}{SUFFIX}", service.name);
        }
        if request.kind.is_empty() {
            "connect-proxy".clone_into(&mut request.kind);
        }
        if request.tags.is_empty() {
            request.tags.clone_from(&service.tags);
        }
        if request.meta.is_empty() {
            request.meta.clone_from(&service.meta);
        }
        let mut proxy = match &request.proxy {
            None | Some(Value::Null) => ProxyRequest::default(),
            Some(value) => ProxyRequest::read(value, Unknown::Refuse)?,
        };
        if proxy.destination_service_name.is_empty() {
            proxy.destination_service_name.clone_from(&service.name);
        }
        if proxy.destination_service_id.is_empty() {
            proxy.destination_service_id.clone_from(id);
        }
        if proxy.local_service_socket_path.is_empty() {
            if proxy.local_service_address.is_empty() {
                "127.0.0.1".clone_into(&mut proxy.local_service_address);
            }
            if proxy.local_service_port == 0 {
                proxy.local_service_port = service.port;
            }
        }
        let proxy = serde_json::to_value(&proxy);
        request.proxy = Some(proxy.map_err(|error| InvalidRequest(format!("Invalid SidecarService: {error}")))?);
        Ok(Some(Sidecar { request }))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.request.id
    }

    /// Its port, if it says one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        (self.request.port != 0).then_some(self.request.port)
    }

    /// Its request, with a port, and checks if it says none: whether it listens, and how the service is.
    #[must_use]
    pub fn at(mut self, port: u16) -> ServiceRequest {
        self.request.port = port;
        if self.request.check.is_none() && self.request.checks.is_empty() {
            let of = self.request.id.strip_suffix(SUFFIX).unwrap_or_default().to_owned();
            let address = if self.request.address.is_empty() { "127.0.0.1" } else { &self.request.address };
            let address = match address.contains(':') && !address.starts_with('[') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            };
            self.request.checks = vec![
                CheckRequest {
                    name: "Connect Sidecar Listening".to_owned(),
                    tcp: address,
                    interval: GoDuration(10_000_000_000),
                    ..CheckRequest::default()
                },
                CheckRequest {
                    name: format!("Connect Sidecar Aliasing {of}"),
                    alias_service: of,
                    ..CheckRequest::default()
                },
            ];
        }
        self.request
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::decode::from_value;
    use super::*;

    fn service(sidecar: Value) -> ServiceRequest {
        let body = json!({"Name": "web", "ID": "web1", "Port": 80, "Meta": {"a": "b"}, "connect": {"sidecar_service": sidecar}});
        from_value(body, Unknown::Refuse).unwrap()
    }

    #[test]
    fn what_is_not_said_is_filled_in() {
        let mut request = service(json!({}));
        let sidecar = Sidecar::take(&mut request).unwrap().unwrap();
        assert_eq!((sidecar.id(), sidecar.port()), ("web1-sidecar-proxy", None));
        assert_eq!(Sidecar::take(&mut request), Ok(None), "it is taken once");
        let request = sidecar.at(21000);
        assert_eq!((request.name.as_str(), request.kind.as_str()), ("web-sidecar-proxy", "connect-proxy"));
        assert_eq!(request.meta["a"], "b");
        let proxy = request.proxy.unwrap();
        assert_eq!((&proxy["DestinationServiceID"], &proxy["LocalServicePort"]), (&json!("web1"), &json!(80)));
        let checks: Vec<_> =
            request.checks.iter().map(|check| (check.tcp.as_str(), check.alias_service.as_str())).collect();
        assert_eq!(checks, [("127.0.0.1:21000", ""), ("", "web1")]);
    }

    #[test]
    fn what_is_said_stays() {
        let said = json!({"port": 9000, "tags": ["x"], "check": {"ttl": "1m"}, "proxy": {"local_service_port": 1}});
        let sidecar = Sidecar::take(&mut service(said)).unwrap().unwrap();
        assert_eq!(sidecar.port(), Some(9000));
        let request = sidecar.at(9000);
        assert_eq!((request.tags.as_slice(), request.checks.len()), (&["x".to_owned()][..], 0));
        assert_eq!(request.proxy.unwrap()["LocalServicePort"], 1);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (sidecar, part) in [
            (json!({"Connect": {"SidecarService": {}}}), "nested"),
            (json!({"Nope": 1}), "Nope"),
            (json!({"ID": "other"}), "web1-sidecar-proxy"),
        ] {
            let error = Sidecar::take(&mut service(sidecar)).unwrap_err().to_string();
            assert!(error.starts_with("Invalid SidecarService: ") && error.contains(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_free_port_is_inside_and_nobody_elses(taken in proptest::collection::btree_set(10u16..20, 0..10), present in proptest::option::of(5u16..25)) {
            match free_port((10, 19), &taken, present) {
                Some(port) => {
                    prop_assert!((10..=19).contains(&port));
                    prop_assert!(present == Some(port) || !taken.contains(&port));
                }
                None => prop_assert_eq!(taken.len(), 10),
            }
        }
    }
}

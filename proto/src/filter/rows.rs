//! The rows that a filter can judge, and the names of their fields: spelt as in the JSON that the row is written as.
//!
//! One table per row type of `api`; name, kind and value of a field stand on one line so that they cannot drift
//! apart.

use super::schema::{Field, Fields, Item, Kind, Leaf, Schema, Value};
use crate::api::agent::AgentService;
use crate::api::catalog::{CatalogService, NodeService, NodeShown};
use crate::api::coordinate::CoordinateShown;
use crate::api::health::{HealthCheck, ServiceEntry};
use crate::api::intention::IntentionShown;
use crate::instance::{ServiceAddress, Weights};

const TEXT: Kind = Kind::Leaf(Leaf::Text);
const NUMBER: Kind = Kind::Leaf(Leaf::Number);
const BOOL: Kind = Kind::Leaf(Leaf::Bool);
const LIST: Kind = Kind::Leaf(Leaf::List);

macro_rules! fields {
    ($row:ident: $type:ty { $($name:literal $kind:expr => $value:expr,)* }) => {
        impl Fields for $type {
            fn schema() -> &'static Schema {
                static SCHEMA: Schema = Schema { fields: &[$(Field { name: $name, kind: $kind }),*] };
                &SCHEMA
            }

            fn get(&self, field: usize) -> Value<'_> {
                let $row = self;
                let mut place = 0..;
                $(if place.next() == Some(field) {
                    return $value;
                })*
                Value::Missing
            }
        }
    };
}

fields!(row: NodeShown {
    "ID" TEXT => Value::Text(&row.id),
    "Node" TEXT => Value::Text(row.node.as_str()),
    "Address" TEXT => Value::Text(&row.address),
    "Datacenter" TEXT => Value::Text(&row.datacenter),
    "TaggedAddresses" Kind::Map => Value::Keyed(&row.tagged_addresses),
    "Meta" Kind::Map => Value::Keyed(&row.meta),
    "PeerName" TEXT => Value::Text(""),
});

fields!(row: CoordinateShown {
    "Node" TEXT => Value::Text(row.node.as_str()),
    "Segment" TEXT => Value::Text(&row.segment),
});

fields!(row: IntentionShown {
    "ID" TEXT => Value::Text(&row.id),
    "Description" TEXT => Value::Text(&row.description),
    "SourceNS" TEXT => Value::Text(&row.source_ns),
    "SourceName" TEXT => Value::Text(&row.source_name),
    "DestinationNS" TEXT => Value::Text(&row.destination_ns),
    "DestinationName" TEXT => Value::Text(&row.destination_name),
    "SourceType" TEXT => Value::Text(&row.source_type),
    "Action" TEXT => Value::Text(&row.action),
    "Meta" Kind::Map => Value::Keyed(&row.meta),
    "Precedence" NUMBER => Value::Number(row.precedence.into()),
});

fields!(row: ServiceAddress {
    "Address" TEXT => Value::Text(&row.address),
    "Port" NUMBER => Value::Number(row.port.into()),
});

fields!(row: Weights {
    "Passing" NUMBER => Value::Number(row.passing.into()),
    "Warning" NUMBER => Value::Number(row.warning.into()),
});

fields!(row: NodeService {
    "Kind" TEXT => Value::Text(&row.kind),
    "ID" TEXT => Value::Text(row.id.as_str()),
    "Service" TEXT => Value::Text(row.service.as_str()),
    "Tags" LIST => Value::Many(&row.tags),
    "Address" TEXT => Value::Text(&row.address),
    "TaggedAddresses" Kind::ObjectMap(ServiceAddress::schema) => Value::Keyed(&row.tagged_addresses),
    "Meta" Kind::Map => Value::Keyed(&row.meta),
    "Port" NUMBER => Value::Number(row.port.into()),
    "SocketPath" TEXT => Value::Text(&row.socket_path),
    "Weights" Kind::Object(Weights::schema) => row.weights.value(),
    "EnableTagOverride" BOOL => Value::Bool(row.enable_tag_override),
    "Proxy" Kind::Object(proxy) => Value::Json(&row.proxy),
    "Connect" Kind::Object(connect) => Value::Json(&row.connect),
    "PeerName" TEXT => Value::Text(&row.peer_name),
});

fields!(row: AgentService {
    "Kind" TEXT => Value::Text(&row.kind),
    "ID" TEXT => Value::Text(row.id.as_str()),
    "Service" TEXT => Value::Text(row.service.as_str()),
    "Tags" LIST => Value::Many(&row.tags),
    "Meta" Kind::Map => Value::Keyed(&row.meta),
    "Port" NUMBER => Value::Number(row.port.into()),
    "Address" TEXT => Value::Text(&row.address),
    "SocketPath" TEXT => Value::Text(&row.socket_path),
    "TaggedAddresses" Kind::ObjectMap(ServiceAddress::schema) => Value::Keyed(&row.tagged_addresses),
    "Weights" Kind::Object(Weights::schema) => row.weights.value(),
    "EnableTagOverride" BOOL => Value::Bool(row.enable_tag_override),
    "Datacenter" TEXT => Value::Text(&row.datacenter),
    "Proxy" Kind::Object(proxy) => json(row.proxy.as_ref()),
    "Connect" Kind::Object(connect) => json(row.connect.as_ref()),
    "PeerName" TEXT => Value::Text(""),
});

fields!(row: CatalogService {
    "ID" TEXT => Value::Text(&row.id),
    "Node" TEXT => Value::Text(row.node.as_str()),
    "Address" TEXT => Value::Text(&row.address),
    "Datacenter" TEXT => Value::Text(&row.datacenter),
    "TaggedAddresses" Kind::Map => Value::Keyed(&row.tagged_addresses),
    "NodeMeta" Kind::Map => Value::Keyed(&row.node_meta),
    "ServiceKind" TEXT => Value::Text(&row.service_kind),
    "ServiceID" TEXT => Value::Text(row.service_id.as_str()),
    "ServiceName" TEXT => Value::Text(row.service_name.as_str()),
    "ServiceTags" LIST => Value::Many(&row.service_tags),
    "ServiceAddress" TEXT => Value::Text(&row.service_address),
    "ServiceTaggedAddresses" Kind::ObjectMap(ServiceAddress::schema) => Value::Keyed(&row.service_tagged_addresses),
    "ServiceWeights" Kind::Object(Weights::schema) => row.service_weights.value(),
    "ServiceMeta" Kind::Map => Value::Keyed(&row.service_meta),
    "ServicePort" NUMBER => Value::Number(row.service_port.into()),
    "ServiceSocketPath" TEXT => Value::Text(&row.service_socket_path),
    "ServiceEnableTagOverride" BOOL => Value::Bool(row.service_enable_tag_override),
    "ServiceProxy" Kind::Object(proxy) => Value::Json(&row.service_proxy),
    "ServiceConnect" Kind::Object(connect) => Value::Json(&row.service_connect),
    "PeerName" TEXT => Value::Text(""),
});

fields!(row: HealthCheck {
    "Node" TEXT => Value::Text(row.node.as_str()),
    "CheckID" TEXT => Value::Text(row.id.as_str()),
    "Name" TEXT => Value::Text(&row.name),
    "Status" TEXT => Value::Text(row.status.as_str()),
    "Notes" TEXT => Value::Text(&row.notes),
    "Output" TEXT => Value::Text(&row.output),
    "ServiceID" TEXT => Value::Text(row.instance.as_str()),
    "ServiceName" TEXT => Value::Text(row.service.as_str()),
    "ServiceTags" LIST => Value::Many(&row.service_tags),
    "Type" TEXT => Value::Text(&row.kind),
    "Interval" TEXT => Value::Text(&row.interval),
    "Timeout" TEXT => Value::Text(&row.timeout),
    "ExposedPort" NUMBER => Value::Number(row.exposed_port.into()),
    "PeerName" TEXT => Value::Text(""),
});

fields!(row: ServiceEntry {
    "Node" Kind::Object(NodeShown::schema) => row.node.value(),
    "Service" Kind::Object(NodeService::schema) => row.service.value(),
    "Checks" Kind::Objects(HealthCheck::schema) => Value::Many(&row.checks),
});

fn json(json: Option<&serde_json::Value>) -> Value<'_> {
    Value::Json(json.unwrap_or(&serde_json::Value::Null))
}

macro_rules! json_schema {
    ($name:ident { $($field:literal $kind:expr,)* }) => {
        fn $name() -> &'static Schema {
            static SCHEMA: Schema = Schema { fields: &[$(Field { name: $field, kind: $kind }),*] };
            &SCHEMA
        }
    };
}

json_schema!(connect {
    "Native" BOOL,
});

json_schema!(proxy {
    "DestinationServiceName" TEXT,
    "DestinationServiceID" TEXT,
    "LocalServiceAddress" TEXT,
    "LocalServicePort" NUMBER,
    "LocalServiceSocketPath" TEXT,
    "Mode" TEXT,
    "Upstreams" Kind::Objects(upstream),
    "MeshGateway" Kind::Object(mesh_gateway),
    "Expose" Kind::Object(expose),
    "TransparentProxy" Kind::Object(transparent_proxy),
});

json_schema!(upstream {
    "DestinationType" TEXT,
    "DestinationName" TEXT,
    "DestinationNamespace" TEXT,
    "DestinationPartition" TEXT,
    "DestinationPeer" TEXT,
    "Datacenter" TEXT,
    "LocalBindAddress" TEXT,
    "LocalBindPort" NUMBER,
    "LocalBindSocketPath" TEXT,
    "LocalBindSocketMode" TEXT,
    "MeshGateway" Kind::Object(mesh_gateway),
    "CentrallyConfigured" BOOL,
});

json_schema!(mesh_gateway {
    "Mode" TEXT,
});

json_schema!(expose {
    "Checks" BOOL,
    "Paths" Kind::Objects(expose_path),
});

json_schema!(expose_path {
    "Path" TEXT,
    "LocalPathPort" NUMBER,
    "ListenerPort" NUMBER,
    "Protocol" TEXT,
});

json_schema!(transparent_proxy {
    "OutboundListenerPort" NUMBER,
    "DialedDirectly" BOOL,
});

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value as Json, json};

    use super::super::Filter;
    use super::*;

    #[track_caller]
    fn check<R: Fields + DeserializeOwned>(row: &Json, table: &[(&str, bool)]) {
        let row: R = serde_json::from_value(row.clone()).unwrap();
        for (text, expect) in table {
            let filter = Filter::<R>::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.matches(&row), *expect, "{text}");
        }
    }

    fn node() -> Json {
        json!({"ID": "068648c0", "Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "127.0.0.1", "wan": "1.2.3.4"},
            "Meta": {"os": "linux", "consul-version": "1.22.0"},
            "CreateIndex": 1, "ModifyIndex": 2})
    }

    fn service() -> Json {
        json!({"ID": "foo:1", "Service": "web", "Tags": ["tag:foo:1", "v1"], "Address": "10.0.0.1", "Port": 8080,
            "Meta": {"env": "prod", "version": "1.2", "consul-version": "1.22.0"},
            "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 80}},
            "Weights": {"Passing": 10, "Warning": 1}, "EnableTagOverride": true, "Datacenter": "dc1",
            "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "Connect": {}, "PeerName": "",
            "CreateIndex": 1, "ModifyIndex": 2})
    }

    fn health_check(id: &str, status: &str) -> Json {
        json!({"Node": "n1", "CheckID": id, "Name": "a check", "Status": status, "Notes": "", "Output": "",
            "ServiceID": "foo:1", "ServiceName": "web", "ServiceTags": ["v1"], "Type": "ttl", "Interval": "", "Timeout": "",
            "ExposedPort": 0, "Definition": {}, "CreateIndex": 1, "ModifyIndex": 2})
    }

    #[test]
    fn nodes() {
        check::<NodeShown>(
            &node(),
            &[
                ("Node == n1", true),
                ("Node == \"n1\"", true),
                ("ID matches `^0686`", true),
                ("Address == \"127.0.0.1\"", true),
                ("Datacenter != dc1", false),
                ("Meta.os == linux", true),
                ("Meta is empty", false),
                ("wan in TaggedAddresses", true),
                ("TaggedAddresses.lan == \"127.0.0.1\"", true),
                ("PeerName == ``", true),
            ],
        );
    }

    #[test]
    fn services_of_a_node_and_of_an_agent() {
        let table = [
            ("Service == \"web\"", true),
            ("ID == \"foo:1\"", true),
            ("\"tag:foo:1\" in Tags", true),
            ("Meta.env == prod and not (Tags contains canary)", true),
            ("Meta.version == 1.2", true),
            ("Port == 8080", true),
            ("Port != 8080", false),
            ("Kind is empty", true),
            ("EnableTagOverride == true", true),
            ("Weights.Passing == 10 and Weights.Warning == 1", true),
            ("TaggedAddresses.wan.Port == 80", true),
            ("TaggedAddresses.lan.Address is empty", true),
            ("Connect.Native == false", true),
            ("Connect.Native == true", false),
            ("Proxy.DestinationServiceName == web", false),
            ("Proxy.Upstreams is empty", true),
            ("Proxy.MeshGateway.Mode is empty", true),
            ("SocketPath is empty", true),
        ];
        check::<NodeService>(&service(), &table);
        check::<AgentService>(&service(), &table);
        check::<AgentService>(&service(), &[("Datacenter == dc1", true)]);
    }

    #[test]
    fn proxies() {
        let mut row = service();
        row["Connect"] = json!({"Native": true});
        row["Proxy"] = json!({"DestinationServiceName": "web", "LocalServicePort": 9, "Expose": {"Checks": true},
            "Upstreams": [{"DestinationName": "db", "LocalBindPort": 1}, {"DestinationName": "cache"}]});
        let table = [
            ("Proxy.DestinationServiceName == web", true),
            ("Proxy.LocalServicePort == 9", true),
            ("Proxy.Upstreams.DestinationName == cache", true),
            ("Proxy.Upstreams.LocalBindPort == 1", true),
            ("Proxy.Upstreams.DestinationName != db", false),
            ("Proxy.Upstreams.DestinationName matches `^q`", false),
            ("Proxy.Upstreams is empty", false),
            ("Proxy.Expose.Checks == true", true),
            ("Proxy.Expose.Paths.Path == `/`", false),
            ("Connect.Native == true", true),
        ];
        check::<NodeService>(&row, &table);
        check::<AgentService>(&row, &table);
    }

    #[test]
    fn services_of_the_catalog() {
        let row = json!({"ID": "068648c0", "Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "127.0.0.1"}, "NodeMeta": {"os": "linux"}, "ServiceKind": "",
            "ServiceID": "foo:1", "ServiceName": "web", "ServiceTags": ["prod"], "ServiceAddress": "",
            "ServiceTaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 80}},
            "ServiceWeights": {"Passing": 10, "Warning": 1}, "ServiceMeta": {"zone": "a"}, "ServicePort": 80,
            "ServiceSocketPath": "", "ServiceEnableTagOverride": false, "ServiceProxy": {}, "ServiceConnect": {},
            "ServiceLocality": null, "CreateIndex": 1, "ModifyIndex": 2});
        check::<CatalogService>(
            &row,
            &[
                ("\"prod\" in ServiceTags", true),
                ("ServiceID == \"foo:1\"", true),
                ("ServiceName == web", true),
                ("NodeMeta.os == linux", true),
                ("ServiceMeta.zone == a", true),
                ("ServicePort == 80", true),
                ("ServiceTaggedAddresses.wan.Address == \"1.2.3.4\"", true),
                ("ServiceWeights.Passing == 10", true),
                ("ServiceConnect.Native != true", true),
                ("ServiceProxy.Mode == ``", true),
                ("ServiceAddress is not empty", false),
            ],
        );
    }

    #[test]
    fn checks() {
        check::<HealthCheck>(
            &health_check("service:foobar", "critical"),
            &[
                ("CheckID == \"service:foobar\"", true),
                ("Status == critical", true),
                ("Status != critical", false),
                ("ServiceName == web", true),
                ("v1 in ServiceTags", true),
                ("Type == ttl", true),
                ("Interval is empty", true),
                ("Output is not empty", false),
            ],
        );
    }

    #[test]
    fn entries_of_health() {
        let row = json!({"Node": node(), "Service": service(),
            "Checks": [health_check("serfHealth", "passing"), health_check("tcp", "critical")]});
        check::<ServiceEntry>(
            &row,
            &[
                ("\"tag:foo:1\" in Service.Tags", true),
                ("Node.Node != `` ", true),
                ("Service.Meta[\"consul-version\"] matches \"^1\\\\.\"", true),
                ("Service.Meta.version == \"1.2\"", true),
                ("\"v1\" in Service.Tags", true),
                ("Checks.Status == passing", true),
                ("Checks.Status == critical", true),
                ("Checks.Status != critical", false),
                ("Checks.Status == warning", false),
                ("Checks.CheckID == serfHealth", true),
                ("Service.Port != 8080", false),
                ("Node.Meta is empty", false),
                ("Node.Meta.os == linux", true),
                ("Service.Meta is not empty and not Service.ID == \"web-2\"", true),
                ("Service.Weights.Passing == 10", true),
            ],
        );
        let refused = [
            ("Service.Bogus == 1", "Selector \"Service.Bogus\" is not valid"),
            ("Service.Port == abc", "Failed to coerce value \"abc\" for selector \"Service.Port\""),
        ];
        for (text, expect) in refused {
            let error = Filter::<ServiceEntry>::parse(text).unwrap_err().to_string();
            let expect = format!("Failed to create boolean expression evaluator: {expect}");
            assert!(error.starts_with(&expect), "{error}");
        }
    }
}

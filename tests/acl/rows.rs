//! The table of rights: every path with what it needs. `matrix` asks each of them in this order, as every caller.

/// What a path asks of its caller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needs {
    /// Nothing, and no token is looked at.
    Nothing,
    /// Any token that is one, or none.
    AnyToken,
    /// A right to read, or else 403 that names it.
    Read(&'static str),
    /// A right to write, or else 403 that names it.
    Write(&'static str),
    /// A right to read, or else 403 that names it; whoever has it is told something else that is wrong.
    ReadPast(&'static str),
    /// The same with a right to write.
    WritePast(&'static str),
    /// A right that a transaction needs: whoever lacks it gets 409 with its name.
    Tells(&'static str),
    /// A right that only those ask for who lack it: the answer would have no end, or the node would.
    Refused(&'static str),
    /// The answer shows the first text to readers and writers, and the second to nobody who may not.
    Shows(&'static str, &'static str),
}

impl Needs {
    /// What the page says of it.
    pub(crate) fn words(self) -> String {
        match self {
            Nothing => "nothing".to_owned(),
            AnyToken => "no right, and no wrong token".to_owned(),
            Write("on \"") => "'service:write' on what is there and on what is to be".to_owned(),
            Read(right) | Write(right) | ReadPast(right) | WritePast(right) | Tells(right) | Refused(right) => {
                right.replace('\\', "")
            }
            Shows("[]", _) => "a right for each row; there is none that a caller may see".to_owned(),
            Shows(shown, hidden) => format!("a right for each row: {shown} is the callers', {hidden} is not"),
        }
    }
}

use Needs::{AnyToken, Nothing, Read, ReadPast, Refused, Shows, Tells, Write, WritePast};

const WEB: &str = r#"{"Name": "web", "Port": 80, "Check": {"TTL": "1h", "CheckID": "web-ttl"}}"#;

const PLACE: &str =
    r#"{"Node": "n1", "Coord": {"Vec": [0, 0, 0, 0, 0, 0, 0, 0], "Error": 1, "Adjustment": 0, "Height": 1e-5}}"#;

/// Method, path, body, what it needs.
pub(crate) const TABLE: &[(&str, &str, &str, Needs)] = &[
    // Keys.
    ("GET", "/v1/kv/a/1", "", Read(r#"'key:read' on "a/1""#)),
    ("GET", "/v1/kv/a/1?raw", "", Read(r#"'key:read' on "a/1""#)),
    ("GET", "/v1/kv/?recurse", "", Shows("a/1", "b/1")),
    ("GET", "/v1/kv/?keys", "", Shows("a/1", "b/1")),
    ("GET", "/v1/kv/a/?keys&separator=/", "", Shows("a/1", "b/1")),
    ("PUT", "/v1/kv/a/3", "x", Write(r#"'key:write' on "a/3""#)),
    ("PUT", "/v1/kv/a/3?cas=0", "x", Write(r#"'key:write' on "a/3""#)),
    ("DELETE", "/v1/kv/a/3", "", Write(r#"'key:write' on "a/3""#)),
    ("DELETE", "/v1/kv/a/x?recurse", "", Write(r#"'key:write' on "a/x""#)),
    // Catalog and health: rows are left out.
    ("GET", "/v1/catalog/datacenters", "", Nothing),
    ("GET", "/v1/catalog/nodes", "", Shows(r#""n1""#, r#""n2""#)),
    ("GET", "/v1/catalog/services", "", Shows(r#""web""#, r#""db""#)),
    ("GET", "/v1/catalog/service/web", "", Shows(r#""web-2""#, r#""db""#)),
    ("GET", "/v1/catalog/service/db", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/catalog/connect/web", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/catalog/node/n1", "", Shows(r#""web-2""#, r#""consul""#)),
    ("GET", "/v1/catalog/node-services/n1", "", Shows(r#""web-2""#, r#""consul""#)),
    ("GET", "/v1/health/service/web", "", Shows(r#""web-2""#, r#""db""#)),
    ("GET", "/v1/health/service/db", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/health/connect/web", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/health/node/n1", "", Shows("serfHealth", "db-check")),
    ("GET", "/v1/health/checks/web", "", Shows("web-ttl", "db-check")),
    ("GET", "/v1/health/state/any", "", Shows("web-ttl", "db-check")),
    ("GET", "/v1/catalog/gateway-services/web-gone", "", Shows(r#""Name":"web""#, r#""db""#)),
    ("GET", "/v1/health/ingress/web", "", Shows("[]", r#""db""#)),
    // What consoles ask for, and what is shared with other clusters.
    ("GET", "/v1/internal/ui/nodes", "", Shows(r#""n1""#, r#""n2""#)),
    ("GET", "/v1/internal/ui/node/n1", "", Shows(r#""web-2""#, r#""consul""#)),
    ("GET", "/v1/internal/ui/services", "", Shows(r#""web""#, r#""db""#)),
    ("GET", "/v1/internal/ui/catalog-overview", "", Shows(r#""web""#, r#""db""#)),
    ("GET", "/v1/internal/ui/exported-services", "", Read("'peering:read'")),
    ("GET", "/v1/exported-services", "", Read("'peering:read'")),
    ("GET", "/v1/imported-services", "", Read("'peering:read'")),
    ("GET", "/v1/peerings", "", Read("'peering:read'")),
    ("PUT", "/v1/catalog/register", r#"{"Node": "gone", "Address": "10.0.0.4"}"#, Write(r#"'node:write' on "gone""#)),
    (
        "PUT",
        "/v1/catalog/register",
        r#"{"Node": "n1", "SkipNodeUpdate": true, "Service": {"Service": "web", "ID": "web-3"}}"#,
        Write(r#"'service:write' on "web""#),
    ),
    ("PUT", "/v1/catalog/deregister", r#"{"Node": "gone", "ServiceID": "web-gone"}"#, Write(r#"on "web-gone""#)),
    ("PUT", "/v1/catalog/deregister", r#"{"Node": "gone", "CheckID": "none"}"#, Write(r#"'node:write' on "gone""#)),
    ("PUT", "/v1/catalog/deregister", r#"{"Node": "gone"}"#, Write(r#"'node:write' on "gone""#)),
    // Where nodes are.
    ("GET", "/v1/coordinate/datacenters", "", Nothing),
    ("PUT", "/v1/coordinate/update", PLACE, Write(r#"'node:write' on "n1""#)),
    ("GET", "/v1/coordinate/nodes", "", Shows(r#""n1""#, r#""n2""#)),
    ("GET", "/v1/coordinate/node/n1", "", Read(r#"'node:read' on "n1""#)),
    // The agent.
    ("GET", "/v1/agent/self", "", Read(r#"'agent:read' on "n1""#)),
    ("GET", "/metrics", "", Read(r#"'agent:read' on "n1""#)),
    ("GET", "/v1/agent/members", "", Shows(r#""n1""#, r#""n2""#)),
    ("GET", "/v1/agent/services", "", Shows(r#""web-2""#, r#""db""#)),
    ("GET", "/v1/agent/checks", "", Shows("disk", "db-check")),
    ("GET", "/v1/agent/service/web", "", Read(r#"'service:read' on "web""#)),
    ("GET", "/v1/agent/health/service/id/web-2", "", Read(r#"'service:read' on "web""#)),
    ("GET", "/v1/agent/health/service/name/web", "", Read(r#"'service:read' on "web""#)),
    ("PUT", "/v1/agent/service/register", WEB, Write(r#"'service:write' on "web""#)),
    // An instance of another service must not be taken over.
    ("PUT", "/v1/agent/service/register", r#"{"Name": "db", "ID": "web-2"}"#, Write("on \"")),
    ("PUT", "/v1/agent/service/maintenance/web-2?enable=true", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/service/maintenance/web-2?enable=false", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/maintenance?enable=true", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/maintenance?enable=false", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/check/register", r#"{"Name": "n", "TTL": "1h"}"#, Write(r#"'node:write' on "n1""#)),
    (
        "PUT",
        "/v1/agent/check/register",
        r#"{"Name": "w", "TTL": "1h", "ServiceID": "web"}"#,
        Write(r#"'service:write' on "web""#),
    ),
    ("PUT", "/v1/agent/check/pass/web-ttl", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/check/warn/web-ttl", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/check/fail/disk", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/check/update/web-ttl", r#"{"Status": "passing"}"#, Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/check/deregister/old", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/service/deregister/web-3", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/token/replication", r#"{"Token": ""}"#, Write(r#"'agent:write' on "n1""#)),
    ("GET", "/v1/agent/host", "", Read("'operator:read'")),
    ("GET", "/v1/agent/metrics", "", Read(r#"'agent:read' on "n1""#)),
    ("GET", "/v1/agent/metrics/stream", "", Refused(r#"'agent:read' on "n1""#)),
    ("GET", "/v1/agent/monitor?loglevel=odd", "", ReadPast(r#"'agent:read' on "n1""#)),
    ("GET", "/v1/agent/version", "", Read(r#"'agent:read' on "n1""#)),
    ("PUT", "/v1/agent/reload", "", Write(r#"'agent:write' on "n1""#)),
    ("PUT", "/v1/agent/join/127.0.0.1:1", "", WritePast(r#"'agent:write' on "n1""#)),
    ("PUT", "/v1/agent/force-leave/none", "", WritePast("'operator:write'")),
    ("PUT", "/v1/agent/leave", "", Refused(r#"'agent:write' on "n1""#)),
    // Sessions and events.
    ("GET", "/v1/session/list", "", Shows("session-n1", "session-n2")),
    ("GET", "/v1/session/node/n1", "", Shows("session-n1", "session-n2")),
    ("GET", "/v1/session/info/00000000-0000-4000-8000-000000000000", "", AnyToken),
    ("PUT", "/v1/session/create", "", Write(r#"'session:write' on "n1""#)),
    ("PUT", "/v1/session/renew/{session}", "", Write(r#"'session:write' on "n1""#)),
    ("PUT", "/v1/session/destroy/{session}", "", Write(r#"'session:write' on "n1""#)),
    ("GET", "/v1/event/list", "", Shows(r#""web""#, r#""other""#)),
    ("PUT", "/v1/event/fire/web", "", Write(r#"'event:write' on "web""#)),
    // Config entries.
    ("GET", "/v1/config/service-defaults", "", Shows(r#""web""#, r#""db""#)),
    ("GET", "/v1/config/service-defaults/web", "", Read(r#"'service:read' on "web""#)),
    (
        "PUT",
        "/v1/config",
        r#"{"Kind": "service-defaults", "Name": "web", "Protocol": "grpc"}"#,
        Write(r#"'service:write' on "web""#),
    ),
    ("PUT", "/v1/config", r#"{"Kind": "proxy-defaults", "Name": "global"}"#, Write("'mesh:write'")),
    ("GET", "/v1/config/proxy-defaults/global", "", AnyToken),
    ("DELETE", "/v1/config/service-defaults/web", "", Write(r#"'service:write' on "web""#)),
    // The mesh, transactions and queries.
    ("GET", "/v1/connect/ca/configuration", "", Read("'operator:read'")),
    ("GET", "/v1/agent/connect/ca/leaf/web", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/connect/ca/configuration", "x", WritePast("'operator:write'")),
    ("GET", "/v1/connect/ca/roots", "", AnyToken),
    ("GET", "/v1/agent/connect/ca/roots", "", AnyToken),
    (
        "POST",
        "/v1/agent/connect/authorize",
        r#"{"Target": "web", "ClientCertURI": "spiffe://x.consul/ns/default/dc/dc1/svc/a", "ClientCertSerial": "1"}"#,
        Write(r#"'service:write' on "web""#),
    ),
    ("GET", "/v1/discovery-chain/web", "", Read(r#"'service:read' on "web""#)),
    ("POST", "/v1/discovery-chain/web", "", Read(r#"'service:read' on "web""#)),
    ("GET", "/v1/connect/intentions", "", Shows(r#""DestinationName":"web""#, r#""DestinationName":"db""#)),
    ("GET", "/v1/connect/intentions/check?source=a&destination=web", "", Read(r#"'service:read' on "web""#)),
    ("GET", "/v1/connect/intentions/exact?source=a&destination=web", "", Read(r#"'intention:read' on "web""#)),
    (
        "PUT",
        "/v1/connect/intentions/exact?source=b&destination=web",
        r#"{"Action": "allow"}"#,
        Write(r#"'intention:write' on "web""#),
    ),
    ("DELETE", "/v1/connect/intentions/exact?source=b&destination=web", "", Write(r#"'intention:write' on "web""#)),
    (
        "POST",
        "/v1/connect/intentions",
        r#"{"SourceName": "c", "DestinationName": "web", "Action": "deny"}"#,
        Write(r#"'intention:write' on "web""#),
    ),
    ("GET", "/v1/connect/intentions/{intention}", "", Shows(r#""DestinationName":"web""#, r#""db""#)),
    (
        "PUT",
        "/v1/connect/intentions/{intention}",
        r#"{"SourceName": "a", "DestinationName": "web", "Action": "deny"}"#,
        Write(r#"'intention:write' on "web""#),
    ),
    ("DELETE", "/v1/connect/intentions/{intention}", "", Write(r#"'intention:write' on "web""#)),
    ("GET", "/v1/connect/intentions/match?by=destination&name=web", "", Read(r#"'intention:read' on "web""#)),
    ("GET", "/v1/query", "", AnyToken),
    ("POST", "/v1/query", r#"{"Name": "web", "Service": {"Service": "web"}}"#, Write(r#"'query:write' on "web""#)),
    ("GET", "/v1/query/web/execute", "", AnyToken),
    (
        "PUT",
        "/v1/query/{query}",
        r#"{"Name": "web", "Service": {"Service": "web"}}"#,
        Write(r#"'query:write' on "web""#),
    ),
    ("DELETE", "/v1/query/{query}", "", Write(r#"'query:write' on "web""#)),
    (
        "PUT",
        "/v1/txn",
        r#"[{"KV": {"Verb": "set", "Key": "a/9", "Value": "eA=="}}]"#,
        Tells(r#"'key:write' on \"a/9\""#),
    ),
    // How servers are kept.
    ("GET", "/v1/operator/autopilot/configuration", "", Read("'operator:read'")),
    ("GET", "/v1/operator/autopilot/health", "", Read("'operator:read'")),
    ("GET", "/v1/operator/autopilot/state", "", Read("'operator:read'")),
    ("PUT", "/v1/operator/autopilot/configuration", r#"{"CleanupDeadServers": true}"#, Write("'operator:write'")),
    ("GET", "/v1/operator/usage", "", Read("'operator:read'")),
    ("GET", "/v1/operator/raft/configuration", "", Read("'operator:read'")),
    ("DELETE", "/v1/operator/raft/peer?id=none", "", WritePast("'operator:write'")),
    ("POST", "/v1/operator/raft/transfer-leader", "", WritePast("'operator:write'")),
    ("GET", "/v1/operator/keyring", "", ReadPast("'keyring:read'")),
    ("POST", "/v1/operator/keyring", r#"{"Key": ""}"#, WritePast("'keyring:write'")),
    ("PUT", "/v1/operator/keyring", r#"{"Key": ""}"#, WritePast("'keyring:write'")),
    ("DELETE", "/v1/operator/keyring", r#"{"Key": ""}"#, WritePast("'keyring:write'")),
    ("GET", "/v1/snapshot", "", Write("'acl:write'")),
    ("PUT", "/v1/snapshot", "x", WritePast("'acl:write'")),
    // Access control itself.
    ("GET", "/v1/acl/tokens", "", Read("'acl:read'")),
    ("GET", "/v1/acl/token/00000000-0000-0000-0000-000000000002", "", Read("'acl:read'")),
    ("GET", "/v1/acl/policies", "", Read("'acl:read'")),
    ("GET", "/v1/acl/policy/00000000-0000-0000-0000-000000000001", "", Read("'acl:read'")),
    ("GET", "/v1/acl/policy/name/global-management", "", Read("'acl:read'")),
    ("GET", "/v1/acl/roles", "", Read("'acl:read'")),
    ("GET", "/v1/acl/auth-methods", "", Read("'acl:read'")),
    ("GET", "/v1/acl/binding-rules", "", Read("'acl:read'")),
    ("GET", "/v1/acl/templated-policies", "", Read("'acl:read'")),
    ("GET", "/v1/acl/templated-policy/name/builtin/service", "", Read("'acl:read'")),
    ("POST", "/v1/acl/templated-policy/preview/builtin/service", r#"{"Name": "x"}"#, Read("'acl:read'")),
    ("GET", "/v1/acl/replication", "", Nothing),
    ("POST", "/v1/internal/acl/authorize", "[]", AnyToken),
    ("PUT", "/v1/acl/token", "{}", Write("'acl:write'")),
    ("PUT", "/v1/acl/policy", r#"{"Name": "made"}"#, Write("'acl:write'")),
    ("PUT", "/v1/acl/role", r#"{"Name": "made"}"#, Write("'acl:write'")),
    ("PUT", "/v1/acl/auth-method", r#"{"Name": "made", "Type": "oidc"}"#, Write("'acl:write'")),
    ("PUT", "/v1/acl/auth-method/made", r#"{"Type": "oidc", "Description": "d"}"#, Write("'acl:write'")),
    ("GET", "/v1/acl/auth-method/made", "", Read("'acl:read'")),
    (
        "PUT",
        "/v1/acl/binding-rule",
        r#"{"AuthMethod": "made", "BindType": "service", "BindName": "x"}"#,
        Write("'acl:write'"),
    ),
    ("GET", "/v1/acl/binding-rule/00000000-0000-4000-8000-000000000001", "", ReadPast("'acl:read'")),
    ("PUT", "/v1/acl/binding-rule/00000000-0000-4000-8000-000000000001", "{}", WritePast("'acl:write'")),
    ("PUT", "/v1/acl/policy/00000000-0000-4000-8000-000000000001", "{}", WritePast("'acl:write'")),
    ("GET", "/v1/acl/role/name/none", "", ReadPast("'acl:read'")),
    ("GET", "/v1/acl/role/00000000-0000-4000-8000-000000000001", "", ReadPast("'acl:read'")),
    ("PUT", "/v1/acl/role/00000000-0000-4000-8000-000000000001", "{}", WritePast("'acl:write'")),
    ("PUT", "/v1/acl/token/00000000-0000-4000-8000-000000000001", "{}", WritePast("'acl:write'")),
    ("DELETE", "/v1/acl/auth-method/made", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/token/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/policy/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/role/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/binding-rule/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    // Nothing to hide.
    ("GET", "/v1/status/leader", "", Nothing),
    ("GET", "/v1/status/peers", "", Nothing),
    ("GET", "/v1/openapi.json", "", Nothing),
    ("GET", "/ui/", "", Nothing),
];

/// The operations that ask for no right, or for one that no row of the table can tell of, and why.
pub(crate) const OPEN: &[(&str, &str, &str)] = &[
    ("PUT", "/v1/acl/bootstrap", "whoever comes first makes the first token, and nobody after that"),
    ("POST", "/v1/acl/login", "what is shown at a login proves who comes"),
    ("POST", "/v1/acl/logout", "it ends the caller's own token, if a login made it"),
    ("GET", "/v1/acl/token/self", "everybody may see the token that they have"),
];

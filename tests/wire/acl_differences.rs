//! The differences from the recording of a node with access control that are meant, each with the part of the contract
//! that asks for it.

use crate::differences::{self, Difference};

/// The list.
pub(crate) fn all() -> Vec<Difference> {
    differences::of(TABLE)
}

const TABLE: &[(&str, &str, &str)] = &[
    ("*", "=header x-consul-effective-consistency", "2.4: reads carry the same header set"),
    ("GET /v1/acl/token", "=header x-consul-index", "2.2: a refusal is found before the read"),
    ("GET /v1/catalog/", "=header x-consul-index", "2.2: a token that is unknown is found before the read"),
    ("GET /v1/acl/token", "=header x-consul-knownleader", "2.2: a refusal is found before the read"),
    ("GET /v1/catalog/", "=header x-consul-knownleader", "2.2: a token that is unknown is found before the read"),
    ("GET /v1/acl/token", "=header x-consul-lastcontact", "2.2: a refusal is found before the read"),
    ("GET /v1/catalog/", "=header x-consul-lastcontact", "2.2: a token that is unknown is found before the read"),
    ("GET /v1/acl/token", "=header x-consul-query-backend", "2.2: a refusal is found before the read"),
    ("GET /v1/catalog/", "=header x-consul-query-backend", "2.2: a token that is unknown is found before the read"),
    ("GET /v1/acl/tokens", "=text", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/kv/a/1", "=text", "2.2: a denial names the caller and the missing rule"),
    ("GET /v1/kv/a/1", "=text", "2.2: a denial names the caller and the missing rule"),
    ("GET /v1/kv/b", "=text", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/agent/service/register", "=text", "2.2: a denial names the caller and the missing rule"),
    ("GET /v1/agent/self", "=text", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/session/create", "=text", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/event/fire/x", "=text", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/catalog/register", "=text", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/agent/check/register", "=text", "2.2: a denial names the caller and the missing rule"),
    ("GET /v1/operator/raft/configuration", "=text", "2.2: a denial names the caller and the missing rule"),
    ("GET /v1/snapshot", "=text", "2.2: a denial names the caller and the missing rule"),
    ("POST /v1/query", "=text", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/txn", "What", "2.2: a denial names the caller and the missing rule"),
    ("PUT /v1/event/fire/x", "=status", "2.2: ACL not found is 403"),
    (
        "POST /v1/acl/logout",
        "=text",
        "18.3: a token that no login made is refused; the words behind the colon are ours",
    ),
    ("PUT /v1/acl/bootstrap", "=text", "18.3: the number is the node's own"),
    ("PUT /v1/acl/policy", "=text", "18.3: the words behind the colon say what is accepted"),
    ("PUT /v1/acl/policy", "=status", "18.4: rules that cannot be read are refused"),
    ("PUT /v1/acl/policy", "=json", "18.4: rules that cannot be read are refused"),
    ("PUT /v1/acl/policy", "=header content-type", "18.4: rules that cannot be read are refused"),
    ("PUT /v1/acl/token", "=text", "18.3: ids are UUIDs; the words are ours"),
    ("DELETE /v1/acl/policy/x", "=text", "18.3: ids are UUIDs; the words are ours"),
    ("GET /v1/acl/token", "Description", "18.1: Description is Initial Management Token"),
    ("GET /v1/acl/tokens", "Legacy", "18.2: list entries have Legacy"),
    ("GET /v1/acl/token", "SecretID", "18.2: secrets are kept hashed, so they are shown once, when they are made"),
    ("PUT /v1/acl/token/", "SecretID", "18.2: secrets are kept hashed, so they are shown once, when they are made"),
    ("GET /v1/acl/policies", "Description", "18.1: the built-in policies; their descriptions are ours"),
    ("GET /v1/acl/policies", "Name", "18.1: newer versions have builtin/global-read-only"),
    ("GET /v1/acl/replication", "LastErrorMessage", "18.3: the fields of newer versions"),
    ("*", "=header x-consul-results-filtered-by-acls", "2.4: on reads from which something was left out"),
    ("GET /v1/agent/members", "[].Port", "5.10: the node's own id, ports and version"),
    ("GET /v1/agent/members", "Tags.build", "5.10: the node's own id, ports and version"),
    ("GET /v1/agent/members", "Tags.grpc_port", "5.10: the node's own id, ports and version"),
    ("GET /v1/agent/members", "Tags.grpc_tls_port", "5.10: the node's own id, ports and version"),
    ("GET /v1/agent/members", "Tags.id", "5.10: the node's own id, ports and version"),
    ("GET /v1/agent/members", "Tags.port", "5.10: the node's own id, ports and version"),
    ("GET /v1/agent/members", "Tags.wan_join_port", "5.10: the node's own id, ports and version"),
    ("GET /v1/catalog/nodes", "Meta", "1: the node's Meta carries consul-version"),
    ("GET /v1/catalog/nodes", "TaggedAddresses", "1: the node's addresses are there from its first row on"),
    ("GET /v1/health/service/consul", "Node.Meta", "1: the node's Meta carries consul-version"),
    (
        "GET /v1/health/service/consul",
        "Node.TaggedAddresses",
        "1: the node's addresses are there from its first row on",
    ),
    (
        "GET /v1/health/service/consul",
        "Meta.non_voter",
        "1: Meta with raft, serf and version information, no fixed keys",
    ),
    (
        "GET /v1/health/service/consul",
        "Meta.read_replica",
        "1: Meta with raft, serf and version information, no fixed keys",
    ),
    (
        "GET /v1/health/service/consul",
        "Meta.serf_protocol_max",
        "1: Meta with raft, serf and version information, no fixed keys",
    ),
    (
        "GET /v1/health/service/consul",
        "Meta.serf_protocol_min",
        "1: Meta with raft, serf and version information, no fixed keys",
    ),
    ("GET /v1/health/service/consul", "Meta.version", "1: Meta with raft, serf and version information, no fixed keys"),
    ("GET /v1/health/service/consul", "PeerName", "5.2: PeerName is the empty text"),
    ("GET /v1/health/service/consul", "Service.Port", "1: the service consul is on the server's port"),
];

//! The differences from the recorded answers that are meant. The recording is of Consul 1.10; the contract follows
//! later versions and says where we go our own way. Each line names the part of the contract that explains it.

/// A difference that is meant.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The request: method, path and, after a blank, body, up to anywhere; `*` for any. A `$` at the end asks for the
    /// whole path.
    request: &'static str,
    /// The end of the place: a key, `header X`, `status` or `text`; `=` before it asks for the whole place.
    place: &'static str,
    /// The part of the contract that asks for it.
    pub(crate) contract: &'static str,
}

impl Difference {
    /// Whether it explains a difference in an answer.
    pub(crate) fn explains(&self, request: &str, body: &str, place: &str) -> bool {
        let request_fits = match self.request.strip_suffix('$') {
            Some(whole) => request == whole,
            None => self.request == "*" || format!("{request} {body}").starts_with(self.request),
        };
        let place_fits = match self.place.strip_prefix('=') {
            Some(whole) => place == whole,
            None => place == self.place || place.ends_with(&format!(".{}", self.place)),
        };
        request_fits && place_fits
    }
}

/// The list.
pub(crate) fn all() -> Vec<Difference> {
    of(TABLE)
}

/// The differences of a table: request, place, contract.
pub(crate) fn of(table: &[(&'static str, &'static str, &'static str)]) -> Vec<Difference> {
    table.iter().map(|&(request, place, contract)| Difference { request, place, contract }).collect()
}

const TABLE: &[(&str, &str, &str)] = &[
    // What is newer than the recording.
    ("*", "Meta.consul-version", "1: the node's Meta carries consul-version"),
    ("*", "NodeMeta.consul-version", "1: the node's Meta carries consul-version"),
    ("GET /v1/agent/self", "=Config.BuildDate", "6.1: Config has BuildDate"),
    (
        "GET /v1/agent/self",
        "=xDS",
        "6.1: top-level keys are exactly Config, DebugConfig, Coord, Member, Stats, Meta, xDS",
    ),
    ("GET /v1/agent/members", "Tags.grpc_port", "5.10: server tags"),
    ("GET /v1/agent/members", "Tags.grpc_tls_port", "5.10: server tags"),
    ("GET /v1/agent/members", "Tags.build", "5.10: build=1.22.0:…"),
    ("*", "PeerName", "5.2: PeerName is the empty text"),
    ("*", "ServiceLocality", "5.5: ServiceLocality is null"),
    ("GET /v1/kv/", "=header x-consul-effective-consistency", "2.4: KV reads carry the same header set"),
    ("GET /v1/session/", "=header x-consul-effective-consistency", "2.4: session reads carry the same header set"),
    ("GET /v1/config/", "=header x-consul-effective-consistency", "2.4: config reads carry the same header set"),
    ("PUT /v1/config$", "=text", "19: 400 begins with Request decoding failed"),
    ("PUT /v1/event/fire/bad", "=text", "14: the words before the colon are fixed, what follows is the compiler's"),
    ("PUT /v1/kv/x?acquire=zzz", "=text", "11.2: invalid session \"<id>\""),
    ("PUT /v1/session/create", "=text", "12.1: the bare texts; bad bodies are told in our own words"),
    ("GET /v1/session/info/bad", "=status", "12.2: an id that is no UUID is as unknown as any other"),
    ("GET /v1/session/info/bad", "=text", "12.2: an id that is no UUID is as unknown as any other"),
    ("GET /v1/session/info/bad", "=header content-type", "12.2: an id that is no UUID is as unknown as any other"),
    ("GET /v1/session/info/bad", "=header x-consul-knownleader", "2.4: whether there is a leader"),
    ("PUT /v1/session/destroy/bad", "=status", "12.2: idempotent, an unknown id is true"),
    ("PUT /v1/session/destroy/bad", "=text", "12.2: idempotent, an unknown id is true"),
    ("PUT /v1/session/destroy/bad", "=header content-type", "12.2: idempotent, an unknown id is true"),
    ("GET /v1/kv/lock", "[].LockIndex", "11.2: a plain write keeps the lock's count"),
    ("PUT /v1/agent/check/deregister/none", "=status", "6.11: unknown is 404"),
    ("PUT /v1/agent/check/deregister/none", "=text", "6.11: unknown is 404 with this text"),
    ("PUT /v1/agent/check/deregister/none", "=header content-type", "2.3: text errors are text/plain"),
    ("PUT /v1/agent/service/maintenance/none", "=text", "6.8: the same text as for deregistering"),
    ("GET /v1/nope", "=text", "2.1: unknown path"),
    ("GET /nope", "=text", "2.1: unknown path"),
    ("GET /v1/nope", "=header content-type", "2.3: text errors are text/plain"),
    ("GET /nope", "=header content-type", "2.3: text errors are text/plain"),
    ("GET /v1/nope", "=header vary", "2.4: Vary on all answers"),
    ("GET /nope", "=header vary", "2.4: Vary on all answers"),
    ("GET /v1/nope", "=header x-consul-default-acl-policy", "2.4: on all answers below /v1"),
    ("GET /nope", "=header x-consul-default-acl-policy", "2.4: on all answers below /v1; harmless elsewhere"),
    ("GET /v1/catalog/services?filter", "=consul", "9.3: only instances that match the filter contribute"),
    ("GET /v1/catalog/services?filter", "=min", "9.3: only instances that match the filter contribute"),
    ("GET /v1/connect/", "=header x-consul-effective-consistency", "2.4: connect reads carry the same header set"),
    ("GET /v1/connect/ca/configuration", "=Config.RotationPeriod", "20.1: Config has RotationPeriod"),
    ("GET /v1/agent/connect/ca/leaf/", "=header x-consul-knownleader", "2.4: leaf carries the index header set"),
    ("GET /v1/agent/connect/ca/leaf/", "=header x-consul-lastcontact", "2.4: leaf carries the index header set"),
    ("GET /v1/discovery-chain/", "Partition", "20.3: Partition is default"),
    ("GET /v1/discovery-chain/", "=Chain.Default", "20.3: Default tells that no entry says anything"),
    ("GET /v1/operator/raft/configuration", "Servers[].LastIndex", "17: servers have LastIndex"),
    ("GET /v1/operator/keyring", "=text", "17: without gossip encryption 500 with a text about an empty keyring"),
    ("PUT /v1/txn [{\"KV\": {\"Verb\": \"get\", \"Key\": \"k0\"}}", "=status", "13: 128 operations, older versions 64"),
    ("PUT /v1/txn [{\"KV\": {\"Verb\": \"get\", \"Key\": \"k0\"}}", "=text", "13: 128 operations, older versions 64"),
    (
        "PUT /v1/txn [{\"KV\": {\"Verb\": \"get\", \"Key\": \"k0\"}}",
        "=header content-type",
        "13: 128 operations, older versions 64",
    ),
    (
        "PUT /v1/txn [{\"KV\": {\"Verb\": \"get\", \"Key\": \"k0\"}}",
        "=header x-consul-knownleader",
        "13: 128 operations, older versions 64",
    ),
    (
        "PUT /v1/txn [{\"KV\": {\"Verb\": \"get\", \"Key\": \"k0\"}}",
        "=header x-consul-lastcontact",
        "13: 128 operations, older versions 64",
    ),
    ("GET /v1/agent/metrics", "=status", "6.15: JSON; the recorded node failed at a number that is none"),
    ("GET /v1/agent/metrics", "=text", "6.15: JSON; the recorded node failed at a number that is none"),
    ("GET /v1/agent/metrics", "=header content-type", "6.15: JSON; the recorded node failed at a number that is none"),
    ("GET /v1/agent/version", "=status", "6.15: newer versions tell SHA, BuildDate, HumanVersion and FIPS"),
    ("GET /v1/agent/version", "=text", "6.15: newer versions tell SHA, BuildDate, HumanVersion and FIPS"),
    ("GET /v1/agent/version", "=header content-type", "2.3: JSON is application/json"),
    ("GET /v1/agent/version", "=header vary", "2.4: Vary on all answers"),
    ("GET /v1/agent/version", "=header x-consul-default-acl-policy", "2.4: on all answers below /v1"),
    ("PUT /v1/agent/join/", "=text", "6.14: 500 with a text that says why"),
    ("GET /v1/agent/monitor", "=text", "6.15: 400 Unknown log level"),
    // What is this node's own.
    ("GET /v1/agent/members", "[].Port", "1: ports of the default, the recorded ones were free ports"),
    ("GET /v1/agent/members", "Tags.id", "5.10: the node's own id"),
    ("GET /v1/agent/members", "Tags.port", "1: ports of the default"),
    ("GET /v1/agent/members", "Tags.wan_join_port", "1: ports of the default"),
    ("GET /v1/catalog/service/consul", "ServicePort", "1: the service consul is on the server's port"),
    ("GET /v1/catalog/node/n1", "=Services.consul.Port", "1: the service consul is on the server's port"),
    ("GET /v1/catalog/node-services/n1", "Services[].Port", "1: the server's port; 5.2: Port is always given"),
    ("GET /v1/health/service/consul", "Service.Port", "1: the service consul is on the server's port"),
    ("*", "Meta.non_voter", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "Meta.read_replica", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "Meta.serf_protocol_max", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "Meta.serf_protocol_min", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "Meta.version", "1: Meta with raft, serf and version information"),
    ("*", "ServiceMeta.non_voter", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "ServiceMeta.read_replica", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "ServiceMeta.serf_protocol_max", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "ServiceMeta.serf_protocol_min", "1: Meta with raft, serf and version information, no fixed keys"),
    ("*", "ServiceMeta.version", "1: Meta with raft, serf and version information"),
    ("GET /v1/catalog/nodes$", "=", "5.4: the node e3 was refused with its check"),
    // Where the contract goes its own way.
    ("*", "TaggedAddresses", "5: maps that were never set are {}, not null"),
    ("GET /v1/catalog/node", "Meta", "5: maps that were never set are {}, not null"),
    ("GET /v1/health/service/web", "Service.Meta", "5: maps that were never set are {}, not null"),
    ("GET /v1/catalog/node", "Port", "5.2: Port is always given"),
    ("*", "Interval", "5.4: as configured, empty if none; any string is fine"),
    ("*", "Timeout", "5.4: as configured, empty if none; any string is fine"),
    ("GET /v1/agent/health/service/", "Definition.Body", "5.4: Definition is {} for what the agent registered"),
    ("GET /v1/agent/health/service/", "Definition.DeregisterCriticalServiceAfter", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.GRPC", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.GRPCUseTLS", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.HTTP", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.Header", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.Method", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.TCP", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.TLSServerName", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Definition.TLSSkipVerify", "5.4: Definition is {}"),
    ("GET /v1/agent/health/service/", "Checks[].ExposedPort", "5.4: ExposedPort is 0"),
    ("GET /v1/agent/health/service/", "Checks[].Type", "5.4: Type by kind"),
    ("GET /v1/agent/health/service/", "Checks[].ServiceTags", "5: absent lists are [], never null"),
    ("GET /v1/agent/health/service/", "=header content-type", "2.3: text is text/plain; charset=utf-8"),
    ("GET /v1/kv/a?index=-1", "=status", "2.6: exactly -1 counts as absent"),
    ("GET /v1/kv/a?index=-1", "=text", "2.6: exactly -1 counts as absent"),
    ("GET /v1/kv/a?index=-1", "=header content-type", "2.6: exactly -1 counts as absent"),
    ("GET /v1/kv/a?index=-1", "=header x-consul-index", "2.6: exactly -1 counts as absent"),
    ("GET /v1/kv/a?index=-1", "=header x-consul-knownleader", "2.6: exactly -1 counts as absent"),
    ("GET /v1/kv/a?index=-1", "=header x-consul-lastcontact", "2.6: exactly -1 counts as absent"),
    ("GET /v1/kv/a?index=-1", "=header x-consul-query-backend", "2.6: exactly -1 counts as absent"),
    ("GET /v1/snapshot", "=text", "16: what is inside of an archive is ours"),
    ("GET /v1/snapshot", "=header x-consul-effective-consistency", "2.4: a snapshot carries the same header set"),
    ("GET /v1/internal/ui/", "=header x-consul-effective-consistency", "2.4: internal reads carry the same header set"),
    ("GET /v1/internal/ui/services", "[].ExternalSources", "5: absent lists are [], never null"),
    ("GET /v1/internal/ui/services", "[].Tags", "5: absent lists are [], never null"),
    ("GET /v1/internal/ui/", "ServiceTags", "5: absent lists are [], never null"),
    ("GET /v1/internal/ui/", "Services[].Tags", "5: absent lists are [], never null"),
    ("GET /v1/internal/ui/", "Meta", "5: maps that were never set are {}, not null"),
    ("GET /v1/internal/ui/", "Services[].Port", "1: the server's port; 5.2: Port is always given"),
    ("GET /v1/internal/ui/nodes", "=", "5.4: the node e3 was refused with its check"),
    ("GET /v1/query", "Service.IgnoreCheckIDs", "5: absent lists are [], never null"),
    ("GET /v1/query", "Service.NodeMeta", "5: maps that were never set are {}, not null"),
    ("GET /v1/query", "Service.ServiceMeta", "5: maps that were never set are {}, not null"),
    ("GET /v1/query/", "=header x-consul-index", "2.4: the index headers are on 404 answers too"),
    ("GET /v1/query/", "=header x-consul-knownleader", "2.4: the index headers are on 404 answers too"),
    ("GET /v1/query/", "=header x-consul-lastcontact", "2.4: the index headers are on 404 answers too"),
    ("GET /v1/query/", "=header x-consul-query-backend", "2.4: the index headers are on 404 answers too"),
    ("GET /v1/query/", "=header x-consul-effective-consistency", "2.4: the index headers are on 404 answers too"),
    ("POST /v1/query", "=text", "15: the bare texts"),
    (
        "GET /v1/coordinate/node",
        "=header x-consul-effective-consistency",
        "2.4: coordinate reads carry the index headers",
    ),
    ("GET /v1/coordinate/node/", "=header x-consul-index", "2.4: the index headers are on 404 answers too"),
    ("GET /v1/coordinate/node/", "=header x-consul-knownleader", "2.4: the index headers are on 404 answers too"),
    ("GET /v1/coordinate/node/", "=header x-consul-lastcontact", "2.4: the index headers are on 404 answers too"),
    ("GET /v1/coordinate/node/", "=header x-consul-query-backend", "2.4: the index headers are on 404 answers too"),
    ("PUT /v1/txn", "Meta", "5: maps that were never set are {}, not null"),
    ("PUT /v1/txn", "Tags", "5: absent lists are [], never null"),
    ("PUT /v1/txn", "ServiceTags", "5: absent lists are [], never null"),
    ("PUT /v1/txn", "=text", "13: the words before the colon are fixed, what follows names the field"),
    // Errors: the status is 400 for what the client did, and the text says more than the recorded one.
    (
        "GET /v1/health/service/web?filter",
        "=status",
        "4.4: any error of a filter is 400 or more, 400 in newer versions",
    ),
    ("GET /v1/health/service/web?filter", "=text", "4.4: the body begins with the same words"),
    ("GET /v1/agent/services?filter", "=status", "4.4: any error of a filter is 400 or more, 400 in newer versions"),
    ("GET /v1/agent/services?filter", "=text", "4.4: the body begins with the same words"),
    (
        "GET /v1/health/service/web?passing=maybe",
        "=header x-consul-effective-consistency",
        "2.2: bad input is found in the HTTP layer, before the read",
    ),
    ("GET /v1/health/service/web?passing=maybe", "=header x-consul-index", "2.2: bad input is found before the read"),
    (
        "GET /v1/health/service/web?passing=maybe",
        "=header x-consul-knownleader",
        "2.2: bad input is found before the read",
    ),
    (
        "GET /v1/health/service/web?passing=maybe",
        "=header x-consul-lastcontact",
        "2.2: bad input is found before the read",
    ),
    (
        "GET /v1/health/service/web?passing=maybe",
        "=header x-consul-query-backend",
        "2.2: bad input is found before the read",
    ),
    ("PUT /v1/agent/service/register", "=status", "2.2: bad input is 400; a port is 0 to 65535"),
    ("PUT /v1/agent/service/register", "=header content-type", "2.3: text errors are text/plain"),
    ("PUT /v1/catalog/register", "=status", "5.4: a Status is one of three; 2.2: bad input is 400"),
    ("PUT /v1/catalog/register", "=json", "5.4: a Status is one of three; 2.2: bad input is 400"),
    ("PUT /v1/catalog/register", "=header content-type", "2.3: text errors are text/plain"),
    (
        "PUT /v1/agent/service/register",
        "=text",
        "6.6: the words before the colon are fixed, what follows names the field",
    ),
    ("PUT /v1/agent/check/register", "=text", "7.2: the words after `Invalid check: ` are similar"),
    ("PUT /v1/agent/check/update/mem", "=text", "6.12: the text names the status"),
    ("PUT /v1/kv/f?flags", "=status", "2.2: bad input is 400"),
    ("PUT /v1/kv/f?flags", "=text", "2.2: bad input is 400"),
    ("PUT /v1/kv/n?cas=abc", "=status", "2.2: bad input is 400"),
    ("PUT /v1/kv/n?cas=abc", "=text", "2.2: bad input is 400"),
    ("GET /$", "=text", "2.1: 301 to /ui/; what its body says is free"),
    ("GET /$", "=header content-type", "2.1: 301 to /ui/; what its body says is free"),
];

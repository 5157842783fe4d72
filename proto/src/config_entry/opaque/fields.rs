//! Which fields the entries have that nobody here follows.

use super::super::EntryKind;

/// What may stand in a field.
pub(super) enum Shape {
    /// Anything, kept as it is.
    Any,
    /// A text.
    Text,
    /// An object with these fields.
    Object(&'static [Field]),
    /// A list of such objects.
    List(&'static [Field]),
}

/// Its name in answers, and its shape.
pub(super) type Field = (&'static str, Shape);

use Shape::{Any, List, Object, Text};

/// What every entry may have.
pub(super) const COMMON: &[Field] = &[("Namespace", Text), ("Partition", Text), ("Meta", Any)];

const PROXY_DEFAULTS: &[Field] = &[
    ("Config", Any),
    ("Mode", Text),
    ("TransparentProxy", Any),
    ("MutualTLSMode", Text),
    ("MeshGateway", Object(&[("Mode", Text)])),
    ("Expose", Any),
    ("AccessLogs", Any),
    ("EnvoyExtensions", Any),
    ("FailoverPolicy", Any),
    ("PrioritizeByLocality", Any),
];
const INGRESS_SERVICE: &[Field] = &[
    ("Name", Text),
    ("Namespace", Text),
    ("Partition", Text),
    ("Hosts", Any),
    ("TLS", Any),
    ("RequestHeaders", Any),
    ("ResponseHeaders", Any),
    ("MaxConnections", Any),
    ("MaxPendingRequests", Any),
    ("MaxConcurrentRequests", Any),
    ("PassiveHealthCheck", Any),
];
const INGRESS: &[Field] = &[
    ("TLS", Any),
    ("Defaults", Any),
    ("Listeners", List(&[("Port", Any), ("Protocol", Text), ("TLS", Any), ("Services", List(INGRESS_SERVICE))])),
];
const TERMINATING: &[Field] = &[(
    "Services",
    List(&[
        ("Name", Text),
        ("Namespace", Text),
        ("CAFile", Text),
        ("CertFile", Text),
        ("KeyFile", Text),
        ("SNI", Text),
        ("DisableAutoHostRewrite", Any),
    ]),
)];
const MESH: &[Field] = &[
    ("TransparentProxy", Object(&[("MeshDestinationsOnly", Any)])),
    ("AllowEnablingPermissiveMutualTLS", Any),
    ("ValidateClusters", Any),
    ("TLS", Any),
    ("HTTP", Any),
    ("Peering", Any),
];
const EXPORTED: &[Field] = &[(
    "Services",
    List(&[
        ("Name", Text),
        ("Namespace", Text),
        ("Consumers", List(&[("Partition", Text), ("Peer", Text), ("SamenessGroup", Text)])),
    ]),
)];

/// What the controllers of Kubernetes say of an entry.
const STATUS: Field = ("Status", Any);
const PARENTS: Field = (
    "Parents",
    List(&[("Kind", Text), ("Name", Text), ("SectionName", Text), ("Namespace", Text), ("Partition", Text)]),
);
const API_GATEWAY: &[Field] = &[
    (
        "Listeners",
        List(&[
            ("Name", Text),
            ("Hostname", Text),
            ("Port", Any),
            ("Protocol", Text),
            ("TLS", Any),
            ("Override", Any),
            ("Default", Any),
        ]),
    ),
    STATUS,
];
const BOUND_API_GATEWAY: &[Field] = &[("Listeners", Any), ("Services", Any)];
const HTTP_ROUTE: &[Field] = &[
    PARENTS,
    ("Rules", List(&[("Filters", Any), ("ResponseFilters", Any), ("Matches", Any), ("Services", Any)])),
    ("Hostnames", Any),
    STATUS,
];
const TCP_ROUTE: &[Field] =
    &[PARENTS, ("Services", List(&[("Name", Text), ("Namespace", Text), ("Partition", Text)])), STATUS];
const CERTIFICATE: &[Field] = &[("Certificate", Text), ("PrivateKey", Text), STATUS];
const JWT_PROVIDER: &[Field] = &[
    ("JSONWebKeySet", Object(&[("Local", Any), ("Remote", Any)])),
    ("Issuer", Text),
    ("Audiences", Any),
    ("Locations", Any),
    ("Forwarding", Any),
    ("ClockSkewSeconds", Any),
    ("CacheConfig", Any),
];
const RATES: Shape = Object(&[("ReadRate", Any), ("WriteRate", Any)]);
const REQUEST_LIMIT: &[Field] = &[
    ("Mode", Text),
    ("ReadRate", Any),
    ("WriteRate", Any),
    ("ACL", RATES),
    ("Catalog", RATES),
    ("ConfigEntry", RATES),
    ("ConnectCA", RATES),
    ("Coordinate", RATES),
    ("DiscoveryChain", RATES),
    ("ServerDiscovery", RATES),
    ("Health", RATES),
    ("Intention", RATES),
    ("KV", RATES),
    ("Tenancy", RATES),
    ("PreparedQuery", RATES),
    ("Session", RATES),
    ("Txn", RATES),
    ("AutoConfig", RATES),
    ("FederationState", RATES),
    ("Internal", RATES),
    ("PeerStream", RATES),
    ("Peering", RATES),
    ("DataPlane", RATES),
    ("DNS", RATES),
    ("Subscribe", RATES),
    ("Resource", RATES),
];

/// The fields of a kind, beyond those that every entry may have.
pub(super) fn fields(kind: EntryKind) -> &'static [Field] {
    match kind {
        EntryKind::ProxyDefaults => PROXY_DEFAULTS,
        EntryKind::IngressGateway => INGRESS,
        EntryKind::TerminatingGateway => TERMINATING,
        EntryKind::Mesh => MESH,
        EntryKind::ExportedServices => EXPORTED,
        EntryKind::ApiGateway => API_GATEWAY,
        EntryKind::BoundApiGateway => BOUND_API_GATEWAY,
        EntryKind::HttpRoute => HTTP_ROUTE,
        EntryKind::TcpRoute => TCP_ROUTE,
        EntryKind::InlineCertificate | EntryKind::FileSystemCertificate => CERTIFICATE,
        EntryKind::JwtProvider => JWT_PROVIDER,
        EntryKind::ControlPlaneRequestLimit => REQUEST_LIMIT,
        // These are typed.
        EntryKind::ServiceDefaults
        | EntryKind::ServiceResolver
        | EntryKind::ServiceSplitter
        | EntryKind::ServiceRouter
        | EntryKind::ServiceIntentions => &[],
    }
}

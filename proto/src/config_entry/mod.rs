//! Config entries: the rules by which clients reach services, as operators write them.
//!
//! The four kinds that a client follows are typed, one file each; the others are kept as the objects they were
//! written as, with kind and name checked. [`ConfigEntry::parse`] is the strict door of the control node (any
//! spelling of a key, but no unknown one); deserialising a [`ConfigEntry`] is the lenient door of a client, which
//! passes over fields of a newer server. Written, an entry is what Consul answers: CamelCase, zero values left out.

pub mod central;
pub mod chain;
pub mod compile;
mod defaults;
mod intentions;
mod load_balancer;
mod opaque;
mod resolver;
mod router;
mod rules;
mod splitter;

#[cfg(test)]
mod compile_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

pub use defaults::{PassiveHealthCheck, ServiceDefaults, UpstreamConfig, UpstreamConfiguration, UpstreamLimits};
pub use intentions::{Action, HeaderPermission, HttpPermission, Permission, ServiceIntentions, SourceIntention};
pub use load_balancer::{CookieConfig, HashPolicy, LeastRequestConfig, LoadBalancer, POLICIES, RingHashConfig};
pub use resolver::{Failover, FailoverPolicy, FailoverTarget, Redirect, ServiceResolver, Subset};
pub use router::{HeaderMatch, HttpMatch, QueryMatch, RETRY_ON, Route, RouteDestination, RouteMatch, ServiceRouter};
pub use rules::{HeaderModifiers, InvalidEntry, PATTERN_BYTES_MAX};
pub use splitter::{ServiceSplitter, Split};

use crate::api::decode::{DecodeError, Unknown, from_value, is_same_field};
use crate::api::valid::validate_meta;
use crate::name::ServiceName;
use rules::Rules;

/// A kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    /// What holds for a service as a whole.
    ServiceDefaults,
    /// Which instances a name stands for.
    ServiceResolver,
    /// Which share of the calls goes where.
    ServiceSplitter,
    /// Which calls go where.
    ServiceRouter,
    /// What holds for all proxies; its name is `global`.
    ProxyDefaults,
    /// For gateways into a mesh.
    IngressGateway,
    /// For gateways out of a mesh.
    TerminatingGateway,
    /// Who may call whom.
    ServiceIntentions,
    /// What holds for the mesh; its name is `mesh`.
    Mesh,
    /// What other clusters may see; its name is `default`.
    ExportedServices,
    /// A gateway of the Kubernetes kind.
    ApiGateway,
    /// Such a gateway with the routes that hang on it.
    BoundApiGateway,
    /// A route of HTTP through such a gateway.
    HttpRoute,
    /// A route of TCP through such a gateway.
    TcpRoute,
    /// A certificate for such gateways, with its key.
    InlineCertificate,
    /// The same in files of the gateway.
    FileSystemCertificate,
    /// By whose keys the mesh believes JSON web tokens.
    JwtProvider,
    /// How many requests the servers take.
    ControlPlaneRequestLimit,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [EntryKind; 18] = [
        EntryKind::ServiceDefaults,
        EntryKind::ServiceResolver,
        EntryKind::ServiceSplitter,
        EntryKind::ServiceRouter,
        EntryKind::ProxyDefaults,
        EntryKind::IngressGateway,
        EntryKind::TerminatingGateway,
        EntryKind::ServiceIntentions,
        EntryKind::Mesh,
        EntryKind::ExportedServices,
        EntryKind::ApiGateway,
        EntryKind::BoundApiGateway,
        EntryKind::HttpRoute,
        EntryKind::TcpRoute,
        EntryKind::InlineCertificate,
        EntryKind::FileSystemCertificate,
        EntryKind::JwtProvider,
        EntryKind::ControlPlaneRequestLimit,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::ServiceDefaults => "service-defaults",
            EntryKind::ServiceResolver => "service-resolver",
            EntryKind::ServiceSplitter => "service-splitter",
            EntryKind::ServiceRouter => "service-router",
            EntryKind::ProxyDefaults => "proxy-defaults",
            EntryKind::IngressGateway => "ingress-gateway",
            EntryKind::TerminatingGateway => "terminating-gateway",
            EntryKind::ServiceIntentions => "service-intentions",
            EntryKind::Mesh => "mesh",
            EntryKind::ExportedServices => "exported-services",
            EntryKind::ApiGateway => "api-gateway",
            EntryKind::BoundApiGateway => "bound-api-gateway",
            EntryKind::HttpRoute => "http-route",
            EntryKind::TcpRoute => "tcp-route",
            EntryKind::InlineCertificate => "inline-certificate",
            EntryKind::FileSystemCertificate => "file-system-certificate",
            EntryKind::JwtProvider => "jwt-provider",
            EntryKind::ControlPlaneRequestLimit => "control-plane-request-limit",
        }
    }

    /// The only name that entries of this kind may have.
    #[must_use]
    pub fn only_name(self) -> Option<&'static str> {
        match self {
            EntryKind::ProxyDefaults => Some("global"),
            EntryKind::Mesh => Some("mesh"),
            EntryKind::ExportedServices => Some("default"),
            _ => None,
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no kind of entry. The text is what clients match on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid config entry kind: {0}")]
pub struct UnknownKind(pub String);

impl FromStr for EntryKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<EntryKind, UnknownKind> {
        let found = EntryKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

/// Why a body is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It cannot be read: bad JSON, an unknown kind or field, a value of the wrong type. The text names the field.
    #[error("Request decoding failed: {0}")]
    Decode(String),
    /// It can be read and contradicts itself.
    #[error(transparent)]
    Invalid(#[from] InvalidEntry),
}

/// An entry of a kind that nobody here interprets, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct OpaqueEntry {
    /// Its kind.
    pub kind: EntryKind,
    /// Its name.
    pub name: String,
    /// Every other field.
    pub fields: Map<String, Value>,
}

/// A config entry.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigEntry {
    /// `service-defaults`.
    Defaults(Box<ServiceDefaults>),
    /// `service-resolver`.
    Resolver(Box<ServiceResolver>),
    /// `service-splitter`.
    Splitter(ServiceSplitter),
    /// `service-router`.
    Router(ServiceRouter),
    /// `service-intentions`.
    Intentions(Box<ServiceIntentions>),
    /// Any other kind.
    Opaque(OpaqueEntry),
}

impl ConfigEntry {
    /// Reads, normalises and validates what an operator wrote.
    ///
    /// # Errors
    /// [`EntryError::Decode`] names what cannot be read, [`EntryError::Invalid`] what contradicts itself.
    pub fn parse(body: &[u8]) -> Result<ConfigEntry, EntryError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| EntryError::Decode(error.to_string()))?;
        let mut entry = ConfigEntry::read(value, Unknown::Refuse).map_err(EntryError::Decode)?;
        entry.normalise();
        entry.validate()?;
        Ok(entry)
    }

    /// Reads an entry from a JSON object, without judging it.
    fn read(value: Value, unknown: Unknown) -> Result<ConfigEntry, String> {
        let Value::Object(mut fields) = value else { return Err("expected a JSON object".to_owned()) };
        let kind = take(&mut fields, "Kind");
        let kind: EntryKind = match &kind {
            Some(Value::String(text)) => text.parse().map_err(|error: UnknownKind| error.to_string())?,
            Some(Value::Null) | None => return Err("Kind is missing; expected the kind of the entry".to_owned()),
            Some(_) => return Err("Kind: expected a string".to_owned()),
        };
        // What a read showed may be written back; the place in history is not the client's to say.
        take(&mut fields, "CreateIndex");
        take(&mut fields, "ModifyIndex");
        let detail = |error: DecodeError| error.detail();
        if !matches!(
            kind,
            EntryKind::ServiceDefaults
                | EntryKind::ServiceResolver
                | EntryKind::ServiceSplitter
                | EntryKind::ServiceRouter
                | EntryKind::ServiceIntentions
        ) {
            let name = match take(&mut fields, "Name") {
                Some(Value::String(name)) => name,
                Some(Value::Null) | None => kind.only_name().unwrap_or_default().to_owned(),
                Some(_) => return Err("Name: expected a string".to_owned()),
            };
            // A client passes over what a newer server adds.
            let fields = match unknown {
                Unknown::Refuse => opaque::canonical(kind, fields)?,
                Unknown::Ignore => fields,
            };
            return Ok(ConfigEntry::Opaque(OpaqueEntry { kind, name, fields }));
        }
        let value = Value::Object(fields);
        Ok(match kind {
            EntryKind::ServiceDefaults => ConfigEntry::Defaults(Box::new(from_value(value, unknown).map_err(detail)?)),
            EntryKind::ServiceResolver => ConfigEntry::Resolver(Box::new(from_value(value, unknown).map_err(detail)?)),
            EntryKind::ServiceSplitter => ConfigEntry::Splitter(from_value(value, unknown).map_err(detail)?),
            EntryKind::ServiceIntentions => {
                ConfigEntry::Intentions(Box::new(from_value(value, unknown).map_err(detail)?))
            }
            _ => ConfigEntry::Router(from_value(value, unknown).map_err(detail)?),
        })
    }

    /// Brings spellings that mean the same into one form.
    fn normalise(&mut self) {
        match self {
            ConfigEntry::Defaults(entry) => entry.normalise(),
            ConfigEntry::Splitter(entry) => entry.normalise(),
            ConfigEntry::Router(entry) => entry.normalise(),
            ConfigEntry::Intentions(entry) => entry.normalise(),
            ConfigEntry::Resolver(_) | ConfigEntry::Opaque(_) => {}
        }
    }

    /// Checks everything that can be checked without looking at other entries.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), InvalidEntry> {
        let rules = Rules("");
        let kind = self.kind();
        rules.require(!self.name().is_empty(), "Name is required")?;
        if let Err(error) = ServiceName::parse(self.name()) {
            return rules.broken(format!("Name: {error}"));
        }
        if let Some(only) = kind.only_name().filter(|only| *only != self.name()) {
            return rules.broken(format!("invalid name ({:?}), only {only:?} is supported", self.name()));
        }
        let none = BTreeMap::new();
        let (namespace, partition, meta) = match self {
            ConfigEntry::Defaults(entry) => (&*entry.namespace, &*entry.partition, &entry.meta),
            ConfigEntry::Resolver(entry) => (&*entry.namespace, &*entry.partition, &entry.meta),
            ConfigEntry::Splitter(entry) => (&*entry.namespace, &*entry.partition, &entry.meta),
            ConfigEntry::Router(entry) => (&*entry.namespace, &*entry.partition, &entry.meta),
            ConfigEntry::Intentions(entry) => (&*entry.namespace, &*entry.partition, &entry.meta),
            ConfigEntry::Opaque(_) => ("", "", &none),
        };
        rules.only_default("Namespace", namespace)?;
        rules.only_default("Partition", partition)?;
        validate_meta("Meta", meta).map_err(|error| InvalidEntry(error.0))?;
        match self {
            ConfigEntry::Defaults(entry) => entry.validate(),
            ConfigEntry::Resolver(entry) => entry.validate(),
            ConfigEntry::Splitter(entry) => entry.validate(),
            ConfigEntry::Router(entry) => entry.validate(),
            ConfigEntry::Intentions(entry) => entry.validate(),
            ConfigEntry::Opaque(entry) => opaque::validate(entry.kind, &entry.fields),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        match self {
            ConfigEntry::Defaults(_) => EntryKind::ServiceDefaults,
            ConfigEntry::Resolver(_) => EntryKind::ServiceResolver,
            ConfigEntry::Splitter(_) => EntryKind::ServiceSplitter,
            ConfigEntry::Router(_) => EntryKind::ServiceRouter,
            ConfigEntry::Intentions(_) => EntryKind::ServiceIntentions,
            ConfigEntry::Opaque(entry) => entry.kind,
        }
    }

    /// Its name, unique within its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            ConfigEntry::Defaults(entry) => &entry.name,
            ConfigEntry::Resolver(entry) => &entry.name,
            ConfigEntry::Splitter(entry) => &entry.name,
            ConfigEntry::Router(entry) => &entry.name,
            ConfigEntry::Intentions(entry) => &entry.name,
            ConfigEntry::Opaque(entry) => &entry.name,
        }
    }
}

/// Takes a field out, however it is spelt; of several spellings the last one counts.
fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let mut taken = None;
    fields.retain(|spelt, value| {
        let same = is_same_field(spelt, name);
        if same {
            taken = Some(value.take());
        }
        !same
    });
    taken
}

impl Serialize for ConfigEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Kinded<'a, T> {
            kind: &'static str,
            #[serde(flatten)]
            entry: &'a T,
        }
        let kind = self.kind().as_str();
        match self {
            ConfigEntry::Defaults(entry) => Kinded { kind, entry: &**entry }.serialize(serializer),
            ConfigEntry::Resolver(entry) => Kinded { kind, entry: &**entry }.serialize(serializer),
            ConfigEntry::Splitter(entry) => Kinded { kind, entry }.serialize(serializer),
            ConfigEntry::Router(entry) => Kinded { kind, entry }.serialize(serializer),
            ConfigEntry::Intentions(entry) => Kinded { kind, entry: &**entry }.serialize(serializer),
            ConfigEntry::Opaque(entry) => {
                let mut map = serializer.serialize_map(Some(entry.fields.len() + 2))?;
                map.serialize_entry("Kind", kind)?;
                map.serialize_entry("Name", &entry.name)?;
                for (name, value) in &entry.fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for ConfigEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ConfigEntry, D::Error> {
        let value = Value::deserialize(deserializer)?;
        ConfigEntry::read(value, Unknown::Ignore).map_err(serde::de::Error::custom)
    }
}

//! Makes an authority and certificates for agents, as `callboard tls` writes them into files.
//!
//! Time is an argument; keys are made by ring. It has nothing to do with the authority of the mesh (`connect`), which
//! signs for services and lives in the registry.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use time::{Duration, OffsetDateTime};

/// How long a new certificate was valid already: clocks differ.
const SKEW: Duration = Duration::minutes(1);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// An authority to be made.
#[derive(Debug, Clone)]
pub struct AuthorityOptions {
    /// Its name.
    pub common_name: String,
    /// How long it is valid, in days.
    pub days: u32,
    /// The only DNS names that it may sign for, with what is below them; none for any.
    pub names: Vec<String>,
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A server: it is connected to under `server.<datacenter>.<domain>`.
    Server,
    /// An agent that is not a server.
    Client,
    /// A person at a command line.
    Cli,
}

impl Role {
    /// The word that stands in names and file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Client => "client",
            Role::Cli => "cli",
        }
    }
}

/// A certificate to be made.
#[derive(Debug, Clone)]
pub struct CertificateOptions {
    /// Whom it is for.
    pub role: Role,
    /// The datacenter.
    pub datacenter: String,
    /// The DNS domain.
    pub domain: String,
    /// The node, when it is for one server only.
    pub node: Option<String>,
    /// Further DNS names.
    pub names: Vec<String>,
    /// Further addresses.
    pub addresses: Vec<IpAddr>,
    /// How long it is valid, in days.
    pub days: u32,
    /// Where the list of certificates that the authority revoked is published.
    pub revocation_list: Option<String>,
}

fn params(common_name: &str, days: u32, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = now - SKEW;
    params.not_after = now + Duration::days(days.into());
    params
}

/// Makes an authority.
///
/// # Errors
/// When a name is no DNS name.
pub fn authority(options: &AuthorityOptions, now: OffsetDateTime) -> Result<Issued, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params(&options.common_name, options.days, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if !options.names.is_empty() {
        let permitted_subtrees = options.names.iter().cloned().map(GeneralSubtree::DnsName).collect();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    }
    let certificate = params.self_signed(&key)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a certificate, signed by an authority that [`authority`] or another program made.
///
/// # Errors
/// When the authority's certificate or key cannot be read, or a name is no DNS name.
pub fn certificate(
    options: &CertificateOptions,
    authority: &Issued,
    now: OffsetDateTime,
) -> Result<Issued, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let name = format!("{}.{}.{}", options.role.as_str(), options.datacenter, options.domain);
    let mut params = params(&name, options.days, now);
    let node = options.node.iter().map(|node| format!("{node}.{name}"));
    let names = [name.clone(), "localhost".to_owned()].into_iter().chain(node).chain(options.names.iter().cloned());
    params.subject_alt_names = names.map(|name| Ok(SanType::DnsName(name.try_into()?))).collect::<Result<_, _>>()?;
    let local = (options.role != Role::Cli).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    params.subject_alt_names.extend(local.into_iter().chain(options.addresses.iter().copied()).map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match options.role {
        Role::Server | Role::Client => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        Role::Cli => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.use_authority_key_identifier_extension = true;
    params.crl_distribution_points =
        options.revocation_list.iter().map(|uri| CrlDistributionPoint { uris: vec![uri.clone()] }).collect();
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

//! Certificates of the mesh: roots, a new root signed by the old one, and services (SPIFFE X.509-SVID, section 3).
//!
//! Time and serial numbers are arguments; keys are made by ring. Called by [`super::Authority`] and `leaf`.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::text::Text;
use pem::{EncodeConfig, LineEnding, Pem};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData as _, SanType,
    SerialNumber,
};
use ring::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::settings::{KeyKind, OwnRoot};
use crate::registry::{CaRoot, Hidden};

/// How long a new certificate was valid already: clocks differ.
const SKEW: Duration = Duration::from_secs(60);
/// What a path of a SPIFFE id carries as it is (RFC 3986, unreserved).
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The name that roots are shown under.
const ROOT_NAME: &str = "Consul CA Primary Cert";

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A root of the operator's own cannot be used. The text never holds a piece of the key.
    #[error("{field} {reason}")]
    Own {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The library refused.
    #[error("signing a certificate failed")]
    Library(#[from] rcgen::Error),
}

/// A certificate for a service.
pub(super) struct Signed {
    /// The certificate, then those between it and any root that is still trusted, PEM.
    pub(super) chain: String,
    /// Its private key, PEM.
    pub(super) key: Hidden,
    /// Its SPIFFE id.
    pub(super) uri: String,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// The name of the mesh as it stands in SPIFFE ids.
#[must_use]
pub fn domain(trust_domain: &str) -> String {
    format!("{trust_domain}.consul")
}

/// The SPIFFE id of a service.
pub(super) fn service_uri(trust_domain: &str, datacenter: &str, service: &str) -> String {
    let service = utf8_percent_encode(service, PATH);
    format!("spiffe://{}/ns/default/dc/{datacenter}/svc/{service}", domain(trust_domain))
}

fn colons(bytes: &[u8]) -> Text {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":").into()
}

fn key_id(key: &KeyPair) -> Vec<u8> {
    digest::digest(&digest::SHA256, &key.subject_public_key_info()).as_ref().to_vec()
}

fn algorithm(kind: KeyKind) -> &'static rcgen::SignatureAlgorithm {
    match kind {
        KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
        KeyKind::P384 => &PKCS_ECDSA_P384_SHA384,
    }
}

/// What stands in the certificate of a root, signed by itself or by another.
fn root_params(key: &KeyPair, common_name: &str, serial: u64, ttl: Duration, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = now - SKEW;
    params.not_after = now + ttl;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(key));
    params
}

fn with_domain(mut params: CertificateParams, trust_domain: &str) -> Result<CertificateParams, rcgen::Error> {
    // A signing certificate has the id of the trust domain itself (SPIFFE-ID, section 2).
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{}", domain(trust_domain)).try_into()?)];
    Ok(params)
}

/// A name that no other root of the mesh has, so that a verifier cannot take one for the other.
fn root_name(key: &KeyPair, trust_domain: &str) -> String {
    let id: String = key_id(key)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let short: String = trust_domain.chars().take(8).collect();
    format!("root-{id}.ca.{short}.consul")
}

/// Makes a root with a new key.
pub(super) fn root(
    trust_domain: &str,
    serial: u64,
    kind: &KeyKind,
    ttl: Duration,
    now: OffsetDateTime,
) -> Result<CaRoot, SignError> {
    let key = KeyPair::generate_for(algorithm(*kind))?;
    for_key(&key, trust_domain, serial, ttl, now)
}

fn for_key(
    key: &KeyPair,
    trust_domain: &str,
    serial: u64,
    ttl: Duration,
    now: OffsetDateTime,
) -> Result<CaRoot, SignError> {
    let params = with_domain(root_params(key, &root_name(key, trust_domain), serial, ttl, now), trust_domain)?;
    let certificate = params.self_signed(key)?;
    row(certificate.der(), key, serial)
}

/// Takes a root of the operator's own, or makes one for a key.
pub(super) fn own_root(
    own: &OwnRoot,
    trust_domain: &str,
    serial: u64,
    ttl: Duration,
    now: OffsetDateTime,
) -> Result<CaRoot, SignError> {
    let bad = |field: &'static str, reason: &str| SignError::Own { field, reason: reason.to_owned() };
    let key = KeyPair::from_pem(own.key.reveal()).map_err(|_| {
        bad("PrivateKey", "cannot be read; expected PKCS #8 in PEM (BEGIN PRIVATE KEY), EC, RSA or Ed25519")
    })?;
    if own.certificate.is_empty() {
        return for_key(&key, trust_domain, serial, ttl, now);
    }
    let der = CertificateDer::from_pem_slice(own.certificate.as_bytes())
        .map_err(|_| bad("RootCert", "holds no certificate in PEM"))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| bad("RootCert", "is no X.509 certificate"))?;
    if !parsed.is_ca() {
        return Err(bad("RootCert", "is not the certificate of an authority (basic constraints: CA)"));
    }
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(bad("RootCert", "is for another key than PrivateKey"));
    }
    if parsed.issuer() != parsed.subject() {
        return Err(bad("RootCert", "is not signed by itself; only roots can be given"));
    }
    if parsed.validity().not_after.timestamp() <= now.unix_timestamp() {
        return Err(bad("RootCert", "is over"));
    }
    row(&der, &key, serial)
}

/// The row of a root's certificate.
fn row(der: &CertificateDer<'_>, key: &KeyPair, serial: u64) -> Result<CaRoot, SignError> {
    let unreadable = |_| SignError::Own { field: "RootCert", reason: "is no X.509 certificate".to_owned() };
    let (_, parsed) = X509Certificate::from_der(der).map_err(unreadable)?;
    let algorithm = key.algorithm();
    let (key_type, key_bits) = if *algorithm == PKCS_ECDSA_P256_SHA256 {
        ("ec", 256)
    } else if *algorithm == PKCS_ECDSA_P384_SHA384 {
        ("ec", 384)
    } else if *algorithm == rcgen::PKCS_ED25519 {
        ("ed25519", 256)
    } else {
        ("rsa", modulus_bits(&parsed))
    };
    let validity = parsed.validity();
    Ok(CaRoot {
        id: colons(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
        name: ROOT_NAME.into(),
        serial,
        signing_key_id: colons(&subject_key_id(&parsed).unwrap_or_else(|| key_id(key))),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        certificate: pem(der).into(),
        cross_signed: Vec::new(),
        private_key: Hidden::new(&key.serialize_pem()),
        key_type: key_type.into(),
        key_bits,
        active: true,
        kept_until: 0,
        created: Index::ZERO,
        modified: Index::ZERO,
    })
}

fn pem(der: &CertificateDer<'_>) -> String {
    pem::encode_config(&Pem::new("CERTIFICATE", der.to_vec()), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

fn modulus_bits(certificate: &X509Certificate<'_>) -> u32 {
    match certificate.public_key().parsed() {
        Ok(key) => u32::try_from(key.key_size()).unwrap_or_default(),
        Err(_) => 0,
    }
}

/// The identifier that a certificate gives its key.
fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

/// The subject of a certificate, encoded as it is there: verifiers compare names byte by byte.
fn subject(certificate: &X509Certificate<'_>) -> Result<DistinguishedName, SignError> {
    let unusual = || SignError::Own {
        field: "RootCert",
        reason: "has a subject that cannot be signed again by the old root; ForceWithoutCrossSigning does without"
            .to_owned(),
    };
    let mut name = DistinguishedName::new();
    let mut seen = BTreeSet::new();
    for part in certificate.subject().iter_rdn() {
        let mut attributes = part.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else { return Err(unusual()) };
        let oid: Vec<u64> = attribute.attr_type().iter().ok_or_else(unusual)?.collect();
        if !seen.insert(oid.clone()) {
            return Err(unusual());
        }
        let value = attribute.attr_value();
        let text = value.as_str().map_err(|_| unusual())?.to_owned();
        let value = match value.header.tag().0 {
            12 => DnValue::Utf8String(text),
            19 => DnValue::PrintableString(text.try_into()?),
            22 => DnValue::Ia5String(text.try_into()?),
            _ => return Err(unusual()),
        };
        name.push(DnType::from_oid(&oid), value);
    }
    Ok(name)
}

/// Signs the key of a new root with the old one.
pub(super) fn cross(
    new: &CaRoot,
    old: &CaRoot,
    serial: u64,
    ttl: Duration,
    now: OffsetDateTime,
) -> Result<String, SignError> {
    let unreadable = |_| SignError::Own { field: "RootCert", reason: "is no X.509 certificate".to_owned() };
    let key = KeyPair::from_pem(new.private_key.reveal())?;
    let der = CertificateDer::from_pem_slice(new.certificate.as_bytes())
        .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(unreadable)?;
    let mut params = root_params(&key, "", serial, ttl, now);
    params.distinguished_name = subject(&parsed)?;
    params.key_identifier_method = KeyIdMethod::PreSpecified(subject_key_id(&parsed).unwrap_or_else(|| key_id(&key)));
    params.not_after = earlier(now + ttl, old.not_after.min(new.not_after));
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_pem(&old.certificate, KeyPair::from_pem(old.private_key.reveal())?)?;
    Ok(params.signed_by(&key, &issuer)?.pem())
}

fn earlier(time: OffsetDateTime, seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).map_or(time, |other| time.min(other))
}

/// Makes a key and signs a certificate for a service.
pub(super) fn service(
    root: &CaRoot,
    trust_domain: &str,
    datacenter: &str,
    service: &str,
    serial: u64,
    ttl: Duration,
    now: OffsetDateTime,
) -> Result<Signed, SignError> {
    let issuer = Issuer::from_ca_cert_pem(&root.certificate, KeyPair::from_pem(root.private_key.reveal())?)?;
    let key = KeyPair::generate()?;
    let uri = service_uri(trust_domain, datacenter, service);
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = now - SKEW;
    params.not_after = earlier(now + ttl, root.not_after);
    params.subject_alt_names = vec![SanType::URI(uri.clone().try_into()?)];
    let mut name = DistinguishedName::new();
    // A name that is no DNS label has its URI alone.
    if is_label(service) {
        let dns = format!("{service}.svc.default.{}", domain(trust_domain));
        params.subject_alt_names.push(SanType::DnsName(dns.try_into()?));
        name.push(DnType::CommonName, service);
    }
    params.distinguished_name = name;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Signed {
        chain: std::iter::once(certificate.pem()).chain(root.cross_signed.iter().map(ToString::to_string)).collect(),
        key: Hidden::new(&key.serialize_pem()),
        uri,
        not_before: params.not_before.unix_timestamp(),
        not_after: params.not_after.unix_timestamp(),
    })
}

/// Whether a name may stand in a DNS name (RFC 1123, section 2.1).
fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

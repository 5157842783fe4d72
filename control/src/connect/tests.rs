//! The certificates of the mesh as others see them: rustls's verifier and the program `openssl`, neither of which made
//! them.

use std::process::Command as Program;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{RootCertStore, server::WebPkiClientVerifier};

use super::settings::{KeyKind, OwnRoot};
use super::sign::{cross, own_root, root, service};
use super::*;
use crate::registry::Hidden;

const DOMAIN: &str = "11111111-2222-3333-4444-555555555555";
const TTL: Duration = Duration::from_secs(72 * 3600);
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn certificates(chain: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// What rustls says of a chain, if one root is trusted: as a client's certificate.
fn verified(chain: &str, trusted: &CaRoot) -> Result<(), rustls::Error> {
    let mut store = RootCertStore::empty();
    store.add(certificates(&trusted.certificate).remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
    let chain = certificates(chain);
    verifier.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()).map(|_| ())
}

/// What `openssl verify` says of the same; nothing where it is not installed.
fn openssl(chain: &str, trusted: &CaRoot) -> Option<bool> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (root, leaf) = (path("root.pem", &trusted.certificate), path("chain.pem", chain));
    let said = Program::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
        .arg(root)
        .arg("-untrusted")
        .arg(&leaf)
        .arg(&leaf)
        .output()
        .ok()?;
    Some(said.status.success())
}

fn a_root(kind: KeyKind) -> CaRoot {
    root(DOMAIN, 1, &kind, YEARS, now()).unwrap()
}

#[test]
fn a_service_is_trusted_by_its_root_and_by_no_other() {
    for kind in [KeyKind::P256, KeyKind::P384] {
        let (own, other) = (a_root(kind), a_root(kind));
        let signed = service(&own, DOMAIN, "dc1", "web", 2, TTL, now()).unwrap();
        assert_eq!(signed.uri, format!("spiffe://{DOMAIN}.consul/ns/default/dc/dc1/svc/web"));
        assert_eq!(verified(&signed.chain, &own), Ok(()));
        assert!(verified(&signed.chain, &other).is_err());
        assert_ne!(openssl(&signed.chain, &own), Some(false));
        assert_ne!(openssl(&signed.chain, &other), Some(true));
        let leaf = certificates(&signed.chain).remove(0);
        let name = ServerName::try_from(format!("web.svc.default.{DOMAIN}.consul")).unwrap();
        let parsed = rustls::server::ParsedCertificate::try_from(&leaf).unwrap();
        assert_eq!(rustls::client::verify_server_name(&parsed, &name), Ok(()));
    }
}

#[test]
fn a_new_root_is_trusted_by_whoever_trusts_the_old_one() {
    let old = a_root(KeyKind::P256);
    for kind in [KeyKind::P256, KeyKind::P384] {
        let mut new = a_root(kind);
        let alone = service(&new, DOMAIN, "dc1", "web", 3, TTL, now()).unwrap();
        assert!(verified(&alone.chain, &old).is_err(), "not yet");
        new.cross_signed = vec![cross(&new, &old, 4, YEARS, now()).unwrap().into()];
        let signed = service(&new, DOMAIN, "dc1", "web", 5, TTL, now()).unwrap();
        assert_eq!(certificates(&signed.chain).len(), 2);
        for trusted in [&old, &new] {
            assert_eq!(verified(&signed.chain, trusted), Ok(()));
            assert_ne!(openssl(&signed.chain, trusted), Some(false));
        }
        // What the old root signed is still good while its root is trusted.
        let before = service(&old, DOMAIN, "dc1", "web", 6, TTL, now()).unwrap();
        assert_eq!(verified(&before.chain, &old), Ok(()));
    }
}

#[test]
fn names_that_are_no_dns_labels_have_a_uri_alone() {
    let own = a_root(KeyKind::P256);
    let signed = service(&own, DOMAIN, "dc1", "web/ü_1", 2, TTL, now()).unwrap();
    assert!(signed.uri.ends_with("/svc/web%2F%C3%BC_1"), "{}", signed.uri);
    assert_eq!(verified(&signed.chain, &own), Ok(()));
}

#[test]
fn a_service_does_not_outlive_its_root() {
    let short = root(DOMAIN, 1, &KeyKind::P256, Duration::from_secs(3600), now()).unwrap();
    let signed = service(&short, DOMAIN, "dc1", "web", 2, TTL, now()).unwrap();
    assert_eq!(signed.not_after, short.not_after);
}

#[test]
fn a_root_of_the_operators_own_is_taken_if_it_fits() {
    let given = a_root(KeyKind::P384);
    let own = |key: &CaRoot, certificate: &str| {
        let own = OwnRoot { key: key.private_key.clone(), certificate: certificate.to_owned() };
        own_root(&own, DOMAIN, 7, YEARS, now()).map_err(|error| error.to_string())
    };
    let taken = own(&given, &given.certificate).unwrap();
    assert_eq!((&taken.id, &*taken.key_type, taken.key_bits), (&given.id, "ec", 384));
    assert_eq!(taken.certificate, given.certificate);
    let made = own(&given, "").unwrap();
    assert_eq!(made.signing_key_id, given.signing_key_id);
    let other = a_root(KeyKind::P256);
    assert!(own(&other, &given.certificate).unwrap_err().contains("another key"));
    assert!(own(&given, "nothing").unwrap_err().contains("RootCert holds no certificate"));
    let leaf = service(&given, DOMAIN, "dc1", "web", 2, TTL, now()).unwrap();
    assert!(own(&given, &leaf.chain).unwrap_err().contains("authority"));
    let none = OwnRoot { key: Hidden::new("SECRET"), certificate: String::new() };
    let error = own_root(&none, DOMAIN, 7, YEARS, now()).unwrap_err().to_string();
    assert!(error.contains("PrivateKey cannot be read") && !error.contains("SECRET"), "{error}");
    // And the operator's own root can be signed by the one before it.
    let mut given = given;
    given.cross_signed = vec![cross(&given, &other, 8, YEARS, now()).unwrap().into()];
    let signed = service(&given, DOMAIN, "dc1", "web", 9, TTL, now()).unwrap();
    assert_eq!(verified(&signed.chain, &other), Ok(()));
}

#[test]
fn keys_are_not_shown() {
    let text = format!("{:?}", a_root(KeyKind::P256));
    assert!(text.contains("private_key: hidden") && !text.contains("PRIVATE"), "{text}");
}

async fn an_authority() -> Authority {
    let options = crate::cluster::ClusterOptions::alone().await;
    let cluster = Cluster::start(options).await.unwrap();
    Authority::new(
        cluster,
        AuthorityOptions {
            datacenter: "dc1".into(),
            enabled: true,
            default_action: Action::Allow,
            first: serde_json::Map::new(),
        },
    )
}

#[tokio::test]
async fn a_certificate_is_made_once_and_again_when_the_root_is_exchanged() {
    let authority = an_authority().await;
    let first = authority.leaf("web", None, Duration::ZERO).await.unwrap();
    let again = authority.leaf("web", None, Duration::ZERO).await.unwrap();
    assert_eq!((first.serial, first.index), (again.serial, again.index), "the same one");
    let still = authority.leaf("web", Some(first.index), Duration::from_millis(1)).await.unwrap();
    assert_eq!(still.index, first.index, "the wait ends with the present one");
    let old = authority.shared.cluster.registry().ca_active().unwrap().clone();

    let waiting = tokio::spawn({
        let authority = authority.clone();
        async move { authority.leaf("web", Some(first.index), Duration::from_secs(60)).await.unwrap() }
    });
    authority
        .configure(br#"{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":384}}"#)
        .await
        .unwrap();
    let next = waiting.await.unwrap();
    assert!(next.index > still.index);
    let registry = authority.shared.cluster.registry();
    let new = registry.ca_active().unwrap();
    assert_eq!((new.key_bits, registry.ca_roots().count()), (384, 2));
    assert_eq!(verified(&next.chain, new), Ok(()));
    assert_eq!(verified(&next.chain, &old), Ok(()), "signed across");
    let kept = registry.ca_roots().find(|root| root.id == old.id).unwrap();
    assert!(!kept.active && kept.private_key.reveal().is_empty(), "the old key is gone");
    assert!(kept.kept_until > now().unix_timestamp() + 72 * 3600);
    // The same settings again change nothing.
    let index = registry.index();
    authority
        .configure(br#"{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":384}}"#)
        .await
        .unwrap();
    assert_eq!(authority.shared.cluster.registry().index(), index);
    authority.shared.cluster.shutdown().await;
}

#[tokio::test]
async fn an_old_root_goes_when_its_certificates_are_over() {
    let authority = an_authority().await;
    authority.begun().await.unwrap();
    authority.configure(br#"{"Config":{"PrivateKeyBits":384},"ForceWithoutCrossSigning":true}"#).await.unwrap();
    let cluster = &authority.shared.cluster;
    let registry = cluster.registry();
    assert!(registry.ca_active().unwrap().cross_signed.is_empty());
    let kept = registry.ca_roots().find(|root| !root.active).unwrap().kept_until;
    for (now, left) in [(kept - 1, 2), (kept, 1)] {
        cluster.propose(Command::Connect(ConnectCommand::Prune { now })).await.unwrap();
        assert_eq!(cluster.registry().ca_roots().count(), left);
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn many_ask_at_once_and_there_is_one_mesh() {
    let authority = an_authority().await;
    let asks: Vec<_> = (0..8)
        .map(|n| {
            let authority = authority.clone();
            tokio::spawn(async move { authority.leaf(&format!("s{}", n % 2), None, Duration::ZERO).await.unwrap() })
        })
        .collect();
    let mut serials = std::collections::BTreeSet::new();
    for ask in asks {
        serials.insert(ask.await.unwrap().serial);
    }
    assert_eq!(serials.len(), 2, "one certificate for each service");
    assert_eq!(authority.shared.cluster.registry().ca_roots().count(), 1);
    authority.shared.cluster.shutdown().await;
}

//! Handshakes in memory between what `issue` makes and what `load` builds, and files that change under a running node.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use time::OffsetDateTime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::issue::{AuthorityOptions, CertificateOptions, Issued, Role, authority, certificate};
use super::*;

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn an_authority() -> Issued {
    authority(&AuthorityOptions { common_name: "Test Authority".into(), days: 30, names: Vec::new() }, now()).unwrap()
}

fn for_role(role: Role, by: &Issued) -> Issued {
    let options = CertificateOptions {
        role,
        datacenter: "dc1".into(),
        domain: "consul".into(),
        node: Some("n1".into()),
        names: Vec::new(),
        addresses: Vec::new(),
        days: 1,
        revocation_list: None,
    };
    certificate(&options, by, now()).unwrap()
}

/// Writes an authority and a certificate into a folder.
fn files(folder: &Path, by: &Issued, of: &Issued) -> TlsSettings {
    let path = |name: &str| folder.join(name);
    std::fs::write(path("ca.pem"), &by.certificate).unwrap();
    std::fs::write(path("cert.pem"), &of.certificate).unwrap();
    std::fs::write(path("key.pem"), &of.key).unwrap();
    TlsSettings {
        ca_file: Some(path("ca.pem")),
        cert_file: Some(path("cert.pem")),
        key_file: Some(path("key.pem")),
        ..TlsSettings::default()
    }
}

/// A handshake: what the client and what the server say of it.
async fn handshake(client: &Tls, server: &Tls, name: &str) -> (Result<(), String>, Result<(), String>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let asked = async {
        let mut stream = TlsConnector::from(client.client_config()).connect(name, near).await?;
        stream.write_all(b"x").await?;
        // With TLS 1.3 a refused certificate shows after the handshake.
        stream.read_u8().await.map(|_| ())
    };
    let answered = async {
        let mut stream = TlsAcceptor::from(server.server_config()).accept(far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await
    };
    let (asked, answered) = tokio::join!(asked, answered);
    (asked.map_err(|error: std::io::Error| error.to_string()), answered.map_err(|error| error.to_string()))
}

fn loaded(settings: TlsSettings) -> Arc<Tls> {
    Tls::load(Purpose::InternalRpc, settings).unwrap()
}

#[tokio::test]
async fn both_sides_verify_each_other() {
    let (folder, root) = (tempfile::tempdir().unwrap(), an_authority());
    let all = TlsSettings {
        verify_incoming: true,
        verify_outgoing: true,
        verify_server_hostname: true,
        ..files(folder.path(), &root, &for_role(Role::Server, &root))
    };
    let tls = loaded(all);
    assert_eq!(handshake(&tls, &tls, "server.dc1.consul").await, (Ok(()), Ok(())));
    assert_eq!(handshake(&tls, &tls, "n1.server.dc1.consul").await, (Ok(()), Ok(())));
    let (asked, _) = handshake(&tls, &tls, "server.dc2.consul").await;
    assert!(asked.unwrap_err().contains("not valid for name"), "the name is looked at");
}

#[tokio::test]
async fn without_verify_server_hostname_any_name_of_a_trusted_authority_will_do() {
    let (folder, root) = (tempfile::tempdir().unwrap(), an_authority());
    let settings = TlsSettings { verify_outgoing: true, ..files(folder.path(), &root, &for_role(Role::Server, &root)) };
    let tls = loaded(settings);
    assert_eq!(handshake(&tls, &tls, "other.example").await, (Ok(()), Ok(())));
    let (folder, other) = (tempfile::tempdir().unwrap(), an_authority());
    let stranger = loaded(files(folder.path(), &other, &for_role(Role::Server, &other)));
    let (asked, _) = handshake(&tls, &stranger, "server.dc1.consul").await;
    assert!(asked.is_err(), "another authority's certificate is refused");
}

#[tokio::test]
async fn verify_incoming_refuses_strangers() {
    let (folder, root) = (tempfile::tempdir().unwrap(), an_authority());
    let settings = TlsSettings { verify_incoming: true, ..files(folder.path(), &root, &for_role(Role::Server, &root)) };
    let server = loaded(settings);
    let (elsewhere, other) = (tempfile::tempdir().unwrap(), an_authority());
    let stranger = loaded(files(elsewhere.path(), &other, &for_role(Role::Client, &other)));
    let (asked, answered) = handshake(&stranger, &server, "server.dc1.consul").await;
    assert!(asked.is_err() && answered.is_err());
}

#[tokio::test]
async fn a_reload_exchanges_the_certificate_and_a_broken_one_keeps_the_old() {
    let (folder, root) = (tempfile::tempdir().unwrap(), an_authority());
    let first = for_role(Role::Server, &root);
    let verifying = TlsSettings { verify_outgoing: true, ..files(folder.path(), &root, &first) };
    let tls = loaded(verifying.clone());
    assert_eq!(tls.reload().unwrap(), Reloaded::Unchanged);
    // A certificate whose key is another's: said, and the old pair goes on.
    std::fs::write(folder.path().join("cert.pem"), &for_role(Role::Server, &root).certificate).unwrap();
    let said = reload_all(std::slice::from_ref(&tls)).unwrap_err();
    assert!(said.contains("tls.internal_rpc"), "{said}");
    assert_eq!(handshake(&tls, &tls, "server.dc1.consul").await, (Ok(()), Ok(())));
    std::fs::write(folder.path().join("key.pem"), "no key at all").unwrap();
    let said = reload_all(std::slice::from_ref(&tls)).unwrap_err();
    assert!(said.contains("key.pem holds no private key"), "{said}");
    assert_eq!(handshake(&tls, &tls, "server.dc1.consul").await, (Ok(()), Ok(())));
    // A new authority and a pair of its own: whoever trusts only the old one is refused from now on.
    let (elsewhere, old) = (tempfile::tempdir().unwrap(), first);
    let old = loaded(TlsSettings { verify_outgoing: true, ..files(elsewhere.path(), &root, &old) });
    let next = an_authority();
    files(folder.path(), &next, &for_role(Role::Server, &next));
    assert_eq!(tls.reload().unwrap(), Reloaded::Exchanged);
    assert_eq!(handshake(&tls, &tls, "server.dc1.consul").await, (Ok(()), Ok(())));
    assert!(handshake(&old, &tls, "server.dc1.consul").await.0.is_err());
}

#[test]
fn what_is_missing_is_named() {
    let check = |settings: TlsSettings, part: &str| {
        let error = Tls::load(Purpose::Https, settings).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let none = TlsSettings::default();
    check(none.clone(), "tls.https.cert_file is missing");
    check(TlsSettings { verify_incoming: true, ..none.clone() }, "tls.https.ca_file is missing; verify_incoming");
    check(TlsSettings { cert_file: Some("/nowhere/c.pem".into()), ..none.clone() }, "key_file is missing");
    let both =
        TlsSettings { cert_file: Some("/nowhere/c.pem".into()), key_file: Some("/nowhere/k.pem".into()), ..none };
    check(both, "reading /nowhere/c.pem");
}

#[test]
fn keys_are_not_shown() {
    let (folder, root) = (tempfile::tempdir().unwrap(), an_authority());
    let tls = loaded(files(folder.path(), &root, &for_role(Role::Server, &root)));
    let shown = format!("{tls:?}");
    assert!(shown.contains("cert.pem") && !shown.contains("PrivateKey") && !shown.contains("BEGIN"), "{shown}");
}

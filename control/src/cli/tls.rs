//! `callboard tls`: makes an authority and certificates for agents, as files with the names that Consul's users expect.
//!
//! Nothing that exists is written over. Private keys are readable by their owner only. What is in the certificates is
//! `tls::issue`'s decision.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::Ended;
use super::failure::{Failure, Kind};
use super::talk::say;
use crate::tls::issue::{AuthorityOptions, CertificateOptions, Issued, Role, authority, certificate};

/// The most certificates of one kind that one folder numbers.
const NUMBER_MAX: u32 = 10_000;

/// Makes certificates for agents
#[derive(Debug, Subcommand)]
pub(super) enum Tls {
    /// The authority that signs them
    #[command(subcommand)]
    Ca(Ca),
    /// The certificates themselves
    #[command(subcommand)]
    Cert(Cert),
}

/// The authority that signs certificates for agents
#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Makes an authority: two files in the current folder
    Create(CaCreate),
}

/// Certificates for agents
#[derive(Debug, Subcommand)]
pub(super) enum Cert {
    /// Makes a certificate: two files in the current folder
    Create(Box<CertCreate>),
}

/// How an authority is made
#[derive(Debug, Args)]
pub(super) struct CaCreate {
    /// The DNS domain
    #[arg(long, default_value = "consul")]
    domain: String,
    /// How many days it is valid
    #[arg(long, default_value_t = 1825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// The authority's name
    #[arg(long = "common-name", default_value = "Callboard Agent CA")]
    common_name: String,
    /// Let it sign for the domain and localhost only
    #[arg(long = "name-constraint", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    name_constraint: bool,
    /// Let it sign for this domain as well; may be repeated
    #[arg(long = "additional-name-constraint")]
    additional_name_constraint: Vec<String>,
}

/// How a certificate is made
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("role").required(true).args(["server", "client", "cli"]))]
pub(super) struct CertCreate {
    /// For a server
    #[arg(long)]
    server: bool,
    /// For an agent that is not a server
    #[arg(long)]
    client: bool,
    /// For a person at a command line
    #[arg(long)]
    cli: bool,
    /// The authority's certificate [default: <domain>-agent-ca.pem]
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The authority's key [default: <domain>-agent-ca-key.pem]
    #[arg(long)]
    key: Option<PathBuf>,
    /// How many days it is valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// The datacenter
    #[arg(long, default_value = "dc1")]
    dc: String,
    /// The DNS domain
    #[arg(long, default_value = "consul")]
    domain: String,
    /// The server's node, for a certificate of its own
    #[arg(long, conflicts_with_all = ["client", "cli"])]
    node: Option<String>,
    /// A further DNS name; may be repeated
    #[arg(long = "additional-dnsname")]
    additional_dnsname: Vec<String>,
    /// A further IP address; may be repeated
    #[arg(long = "additional-ipaddress")]
    additional_ipaddress: Vec<IpAddr>,
    /// Where the authority publishes what it revoked: a URL for whoever verifies
    #[arg(long = "crl-url", value_name = "URL")]
    crl_url: Option<String>,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("writing {path}; nothing that exists is written over")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("signing")]
    Sign(#[from] rcgen::Error),
    #[error("there are {NUMBER_MAX} certificates of this kind here already; make them in another folder")]
    Full,
}

pub(super) fn run(command: &Tls) -> Ended {
    let now = OffsetDateTime::now_utc();
    let folder = Path::new("");
    let made = match command {
        Tls::Ca(Ca::Create(options)) => create_ca(folder, options, now),
        Tls::Cert(Cert::Create(options)) => create_cert(folder, options, now),
    };
    let lines = made.map_err(|error| Failure::because(Kind::Failed, "no certificate was made", &error))?;
    for line in lines {
        say(line)?;
    }
    Ok(0)
}

fn create_ca(folder: &Path, options: &CaCreate, now: OffsetDateTime) -> Result<Vec<String>, Error> {
    let constrained = options.name_constraint || !options.additional_name_constraint.is_empty();
    let own = constrained.then(|| [options.domain.clone(), "localhost".to_owned()]);
    let names = own.into_iter().flatten().chain(options.additional_name_constraint.iter().cloned()).collect();
    let issued =
        authority(&AuthorityOptions { common_name: options.common_name.clone(), days: options.days, names }, now)?;
    write(folder, &format!("{}-agent-ca", options.domain), &issued)
}

fn create_cert(folder: &Path, options: &CertCreate, now: OffsetDateTime) -> Result<Vec<String>, Error> {
    let default = |end: &str| folder.join(format!("{}-agent-ca{end}.pem", options.domain));
    let ca = options.ca.clone().unwrap_or_else(|| default(""));
    let key = options.key.clone().unwrap_or_else(|| default("-key"));
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source });
    let by = Issued { certificate: read(&ca)?, key: read(&key)? };
    let role = match (options.server, options.client) {
        (true, _) => Role::Server,
        (_, true) => Role::Client,
        _ => Role::Cli,
    };
    let issued = certificate(
        &CertificateOptions {
            role,
            datacenter: options.dc.clone(),
            domain: options.domain.clone(),
            node: options.node.clone(),
            names: options.additional_dnsname.clone(),
            addresses: options.additional_ipaddress.clone(),
            days: options.days,
            revocation_list: options.crl_url.clone(),
        },
        &by,
        now,
    )?;
    let mut lines = vec![format!("==> Using {} and {}", ca.display(), key.display())];
    let stem = (0..NUMBER_MAX)
        .map(|number| format!("{}-{}-{}-{number}", options.dc, role.as_str(), options.domain))
        .find(|stem| !folder.join(format!("{stem}.pem")).exists() && !folder.join(format!("{stem}-key.pem")).exists())
        .ok_or(Error::Full)?;
    lines.extend(write(folder, &stem, &issued)?);
    Ok(lines)
}

/// Writes the key first, so that a certificate that exists always has one.
fn write(folder: &Path, stem: &str, issued: &Issued) -> Result<Vec<String>, Error> {
    let write = |name: String, content: &str, mode: u32| {
        let path = folder.join(&name);
        let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        });
        written.map(|()| format!("==> Saved {name}")).map_err(|source| Error::Write { path, source })
    };
    let certificate = folder.join(format!("{stem}.pem"));
    if certificate.exists() {
        let source = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(Error::Write { path: certificate, source });
    }
    let key = write(format!("{stem}-key.pem"), &issued.key, 0o600)?;
    Ok(vec![write(format!("{stem}.pem"), &issued.certificate, 0o644)?, key])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Tls,
    }

    fn make(folder: &Path, line: &str) -> Result<Vec<String>, Error> {
        let parsed = Line::try_parse_from(std::iter::once("tls").chain(line.split(' '))).unwrap();
        match parsed.command {
            Tls::Ca(Ca::Create(options)) => create_ca(folder, &options, OffsetDateTime::now_utc()),
            Tls::Cert(Cert::Create(options)) => create_cert(folder, &options, OffsetDateTime::now_utc()),
        }
    }

    #[test]
    fn files_have_the_names_that_people_expect_and_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let lines = make(folder.path(), "ca create").unwrap();
        assert_eq!(lines, ["==> Saved consul-agent-ca.pem", "==> Saved consul-agent-ca-key.pem"]);
        let lines = make(folder.path(), "cert create --server").unwrap();
        assert_eq!(lines[1..], ["==> Saved dc1-server-consul-0.pem", "==> Saved dc1-server-consul-0-key.pem"]);
        let lines = make(folder.path(), "cert create --server --node n1 --additional-ipaddress 10.0.0.1").unwrap();
        assert_eq!(lines[1], "==> Saved dc1-server-consul-1.pem");
        let lines = make(folder.path(), "cert create --cli --dc east").unwrap();
        assert_eq!(lines[1], "==> Saved east-cli-consul-0.pem");
        let key = folder.path().join("dc1-server-consul-0-key.pem");
        assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), "ca create --name-constraint").unwrap();
        let before = std::fs::read(folder.path().join("consul-agent-ca-key.pem")).unwrap();
        let error = make(folder.path(), "ca create").unwrap_err().to_string();
        assert!(error.contains("nothing that exists is written over"), "{error}");
        assert_eq!(std::fs::read(folder.path().join("consul-agent-ca-key.pem")).unwrap(), before);
        assert!(make(folder.path(), "cert create --client --domain other").is_err(), "there is no such authority");
    }

    #[test]
    fn a_certificate_is_for_someone() {
        assert!(Line::try_parse_from(["tls", "cert", "create"]).is_err());
        assert!(Line::try_parse_from(["tls", "cert", "create", "--client", "--server"]).is_err());
    }
}

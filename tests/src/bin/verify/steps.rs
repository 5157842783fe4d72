//! The steps of `cargo verify`, in order: cheap and telling ones first, slow suites last.
//! Each is a few commands; none of them decides what is right, the tools and tests do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use callboard_tests::binaries::{BIN_DIR_VARIABLE, workspace};
use callboard_tests::{length, needs};

use crate::install;

/// How a step ended.
pub(crate) enum Outcome {
    /// It holds.
    Passed,
    /// It could not be looked at here, and why.
    Skipped(String),
    /// It does not hold; what the tool said.
    Failed(String),
}

/// One step.
pub(crate) struct Step {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it shows, in a few words.
    pub(crate) about: &'static str,
    /// Does it.
    pub(crate) run: fn() -> Outcome,
}

/// Every step, in order.
pub(crate) fn all() -> Vec<Step> {
    vec![
        Step { name: "fmt", about: "the sources are formatted", run: fmt },
        Step { name: "clippy", about: "no lint speaks", run: clippy },
        Step { name: "build", about: "every program, test, example and bench compiles", run: build },
        Step { name: "tidy", about: "who may know whom; nothing of one machine in the sources", run: || suite("tidy") },
        Step { name: "deny", about: "licences, sources and advisories of what we depend on", run: deny },
        Step { name: "features", about: "the SDK compiles with each of its features alone", run: features },
        Step { name: "semver", about: "the SDK's version says what changed since the last release", run: semver },
        Step { name: "unit", about: "unit and integration tests of every package", run: unit },
        Step { name: "doc-tests", about: "the examples in the documentation run", run: doc_tests },
        Step { name: "facts", about: "the named facts that one node can show", run: || suite("facts") },
        Step { name: "contract", about: "one suite of the SDK, three servers", run: || suite("contract") },
        Step { name: "wire", about: "recorded exchanges and the contract's test vectors", run: || suite("wire") },
        Step { name: "acl", about: "who may do what, endpoint by endpoint", run: || suite("acl") },
        Step { name: "install", about: "what the suites from here on need from outside", run: install::everything },
        Step { name: "cli", about: "the command line, against real nodes", run: || suite("cli") },
        Step { name: "e2e", about: "stories with real programs", run: || suite("e2e") },
        Step { name: "interop", about: "clients and tools that nobody here wrote", run: || suite("interop") },
        Step {
            name: "conformance",
            about: "every operation is on the pages that the suites before made",
            run: || suite("conformance"),
        },
        Step { name: "sim", about: "simulated fleets, with printed seeds", run: || suite("sim") },
        Step { name: "chaos", about: "one fault after the other under a steady load", run: || suite("chaos") },
        Step { name: "malformed", about: "a thousand bad requests", run: || suite("malformed") },
        Step {
            name: "durability",
            about: "kill -9 under writers, full disk, unwritable folder",
            run: || suite("durability"),
        },
        Step { name: "linear", about: "one order explains every answer, also under kills", run: || suite("linear") },
        Step { name: "fuzz-smoke", about: "each fuzz target for a few seconds", run: fuzz_smoke },
        Step { name: "doc", about: "the documentation builds without a warning", run: doc },
    ]
}

fn fmt() -> Outcome {
    run(cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Outcome {
    run(cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn build() -> Outcome {
    run(cargo(&["build", "--quiet", "--workspace", "--all-targets"]))
}

/// Without the tests, whose own needs would turn features on.
fn features() -> Outcome {
    let program = match install::cargo_hack() {
        Ok(program) => program,
        Err(problem) if needs::strict() => return Outcome::Failed(problem),
        Err(problem) => return Outcome::Skipped(problem),
    };
    let mut command = cargo_by(&program);
    command.args(["hack", "check", "--quiet", "--package", "callboard", "--each-feature"]);
    command.env("RUSTFLAGS", "-D warnings").env("CARGO_TARGET_DIR", workspace().join("target/features"));
    run(command)
}

/// Against the newest release that is tagged. The comparison itself is made of the documentation of both.
fn semver() -> Outcome {
    let tags = Command::new("git").current_dir(workspace()).args(["tag", "--list", "v*", "--sort=-v:refname"]).output();
    let tags = match tags {
        Ok(tags) if tags.status.success() => String::from_utf8_lossy(&tags.stdout).into_owned(),
        Ok(tags) => return Outcome::Skipped(format!("git lists no tags: {}", String::from_utf8_lossy(&tags.stderr))),
        Err(error) => return Outcome::Skipped(format!("git lists no tags: {error}")),
    };
    let Some(release) = tags.lines().next() else {
        return Outcome::Skipped("no release is tagged (v*), so there is nothing to compare with".to_owned());
    };
    let program = match install::cargo_semver_checks() {
        Ok(program) => program,
        Err(problem) if needs::strict() => return Outcome::Failed(problem),
        Err(problem) => return Outcome::Skipped(problem),
    };
    let mut command = cargo_by(&program);
    command.args(["semver-checks", "--package", "callboard", "--baseline-rev", release]);
    command.env("CARGO_TARGET_DIR", workspace().join("target/semver"));
    run(command)
}

fn unit() -> Outcome {
    // Benches are built above; running them here would measure a debug build.
    run(cargo(&["test", "--quiet", "--workspace", "--exclude", "callboard-tests", "--lib", "--bins", "--tests"]))
}

fn doc_tests() -> Outcome {
    run(cargo(&["test", "--quiet", "--workspace", "--doc"]))
}

fn doc() -> Outcome {
    let mut command = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command)
}

/// One suite of this package. `--workspace` keeps the features, and so the artifacts, of the build step.
fn suite(name: &str) -> Outcome {
    let mut command = cargo(&["test", "--quiet", "--workspace", "--test", name, "--", "--nocapture"]);
    command.env(BIN_DIR_VARIABLE, bin_dir());
    run(command)
}

/// Where the build step leaves the programs: beside this one.
fn bin_dir() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    own.parent().expect("a program is in a folder").to_path_buf()
}

/// Licences and sources must be in order; advisories too, where their database can be had.
fn deny() -> Outcome {
    let program = match install::cargo_deny() {
        Ok(program) => program,
        Err(problem) if needs::strict() => return Outcome::Failed(problem),
        Err(problem) => return Outcome::Skipped(problem),
    };
    let check = |what: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(workspace()).args(["--all-features", "check"]).args(what);
        run(command)
    };
    match check(&["licenses", "bans", "sources"]) {
        Outcome::Passed => {}
        other => return other,
    }
    match check(&["advisories"]) {
        Outcome::Failed(said) if said.contains("failed to fetch advisory database") => {
            Outcome::Skipped("licences, bans and sources hold; the database of advisories cannot be reached".to_owned())
        }
        other => other,
    }
}

/// Builds the targets with the coverage counters that libFuzzer reads, by stable flags, and runs each one shortly;
/// `CALLBOARD_FUZZ=10m` gives each ten minutes.
fn fuzz_smoke() -> Outcome {
    const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";
    let seconds = match length::given("CALLBOARD_FUZZ", Duration::from_secs(8)) {
        Ok(length) => length.as_secs(),
        Err(error) => return Outcome::Failed(error),
    };
    let folder = workspace().join("tests/fuzz");
    let target = workspace().join("target/fuzz");
    if !Command::new("c++")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        if needs::strict() {
            return Outcome::Failed("no C++ compiler, which libFuzzer needs".to_owned());
        }
        return Outcome::Skipped("no C++ compiler, which libFuzzer needs".to_owned());
    }
    let triple = "x86_64-unknown-linux-gnu";
    let triple = std::env::var("CARGO_BUILD_TARGET").unwrap_or_else(|_| host().unwrap_or_else(|| triple.to_owned()));
    let mut command = cargo(&["build", "--quiet", "--release", "--target", &triple]);
    // With a target named, the flags do not reach build scripts and procedural macros.
    command.current_dir(&folder).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &target);
    if let Outcome::Failed(output) = run(command) {
        return Outcome::Failed(output);
    }
    let built = target.join(triple).join("release");
    let Ok(sources) = std::fs::read_dir(folder.join("fuzz_targets")) else {
        return Outcome::Failed("tests/fuzz/fuzz_targets cannot be read".to_owned());
    };
    for source in sources.flatten() {
        let path = source.path();
        let Some(name) = path.file_stem() else { continue };
        let mut command = Command::new(built.join(name));
        command
            .current_dir(&target)
            .arg(format!("-max_total_time={seconds}"))
            .args(["-rss_limit_mb=1024", "-timeout=5"]);
        if let Outcome::Failed(output) = run(command) {
            return Outcome::Failed(format!("{}: {output}", name.display()));
        }
    }
    Outcome::Passed
}

/// The triple of the compiler's own machine.
fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// A cargo command at the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = cargo_by(Path::new(&cargo));
    command.args(arguments);
    command
}

/// A cargo command by a program of its own.
fn cargo_by(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace());
    // What `cargo run` sets for this package must not reach the packages built below, or they are built anew.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command and keeps what it says; only a failure shows it.
pub(crate) fn run(mut command: Command) -> Outcome {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return Outcome::Failed(format!("{command:?} does not start: {error}")),
    };
    if output.status.success() {
        // What a suite passed over, its seeds and its figures belong in the record.
        for line in
            String::from_utf8_lossy(&output.stderr).lines().chain(String::from_utf8_lossy(&output.stdout).lines())
        {
            if line.starts_with("passed over:") || line.starts_with("figure:") || line.starts_with("seed:") {
                println!("   {line}");
            }
        }
        return Outcome::Passed;
    }
    Outcome::Failed(format!(
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

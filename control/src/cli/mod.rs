//! The command line: one file per noun.
//!
//! Here is decided which command is meant, and in whose manner it ends: called as `consul`, or with that as the first
//! word, the program takes Consul's subcommands and ends with Consul's exit codes; the commands are the same.

mod acl;
mod acl_method;
mod acl_policy;
mod acl_show;
mod acl_token;
mod agent;
mod carry;
mod carry_read;
mod carry_write;
mod catalog;
mod client;
mod cluster;
mod completion;
mod config_entry;
mod connect_ca;
mod debug;
mod event;
mod exec;
mod exec_tally;
mod failure;
mod flags;
mod info;
mod input;
mod intention;
mod keygen;
mod keyring;
mod kv;
mod kv_bulk;
mod kv_put;
mod line;
mod lock;
mod login;
mod maint;
mod members;
mod monitor;
mod operator;
mod portable;
mod progress;
mod rtt;
mod services;
mod session;
mod snapshot;
mod talk;
mod tls;
mod validate;
mod version;
mod watch;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::AgentFlags;
use failure::{Failure, Kind, Manner};

/// What a command ends with: an exit code of its own, mostly zero, or why it failed.
type Ended = Result<u8, Failure>;

/// Service discovery and client-side load balancing: the control node, and the operator's command line.
#[derive(Debug, Parser)]
#[command(name = "callboard", disable_version_flag = true, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says who may do what
    Acl(acl::Acl),
    /// Runs a control node
    Agent(Box<AgentFlags>),
    /// Lists what is registered
    Catalog(catalog::Catalog),
    /// Prints what lets a shell complete the command line
    Completion(completion::Completion),
    /// Reads and writes config entries
    Config(config_entry::Config),
    /// Looks after the mesh
    Connect(connect_ca::Connect),
    /// Collects what helps to understand an agent
    Debug(debug::Debug),
    /// Says something to every node, once
    Event(event::Fire),
    /// Runs a program on the nodes that allow it
    Exec(Box<exec::Exec>),
    /// Writes services, keys, rules and rights as one JSON document
    Export(carry::Export),
    /// Makes a node leave whose process is gone
    ForceLeave(cluster::ForceLeave),
    /// Copies services, keys, rules and rights from Consul, or from a file of `export`
    Import(Box<carry::Import>),
    /// Shows the numbers of an agent
    Info(info::Info),
    /// Says who may call whom
    Intention(intention::Intention),
    /// Lets an agent join others
    Join(cluster::Join),
    /// Prints a key for gossip: 32 random bytes in base64
    Keygen,
    /// Lists, adds, uses and removes the keys of gossip
    Keyring(Box<keyring::Keyring>),
    /// Reads and writes keys
    Kv(kv::Kv),
    /// Lets an agent leave the others and end
    Leave(cluster::Leave),
    /// Runs a program while a lock is held
    Lock(Box<lock::Lock>),
    /// Logs in; the token goes into a file
    Login(login::Login),
    /// Ends the token that was got by logging in
    Logout(login::Logout),
    /// Takes a node or an instance out of service, and back
    Maint(maint::Maint),
    /// Lists the members of the cluster
    Members(members::Members),
    /// Shows what an agent logs, as it happens
    Monitor(monitor::Monitor),
    /// Looks after the servers
    Operator(operator::Operator),
    /// Lets an agent read its configuration again
    Reload(cluster::Reload),
    /// Estimates the round trip between two nodes
    Rtt(rtt::Rtt),
    /// Registers and deregisters instances
    Services(services::Services),
    /// Opens, renews and ends sessions
    Session(session::Sessions),
    /// Saves the registry to a file, and puts it back
    Snapshot(snapshot::Snapshot),
    /// Makes certificates for agents
    #[command(subcommand)]
    Tls(tls::Tls),
    /// Reads configuration files and says whether an agent could use them
    Validate(validate::Validate),
    /// Prints the version of this program and of the interface that it speaks
    Version(version::Version),
    /// Prints news, or gives it to a program
    Watch(Box<watch::Watch>),
}

/// Runs the program.
#[must_use]
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (manner, arguments) = called(arguments.collect());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and succeeds, a wrong command line to stderr.
            let code = if error.use_stderr() { ExitCode::from(Kind::Usage.code(manner)) } else { ExitCode::SUCCESS };
            return if error.print().is_err() { ExitCode::FAILURE } else { code };
        }
    };
    let ended = match cli.command {
        Command::Agent(flags) => return agent::run(&flags),
        command => asked(command, manner),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            talk::complain(&failure);
            ExitCode::from(failure.kind.code(manner))
        }
    }
}

/// Runs a command that asks an agent.
fn asked(command: Command, manner: Manner) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::because(Kind::Failed, "starting", &error))?;
    runtime.block_on(async {
        match command {
            Command::Acl(acl) => acl::run(acl).await,
            Command::Agent(_) => Ok(0),
            Command::Catalog(catalog) => catalog::run(catalog).await,
            Command::Completion(completion) => completion::run(&completion, manner),
            Command::Config(config) => config_entry::run(config).await,
            Command::Connect(connect) => connect_ca::run(connect).await,
            Command::Debug(debug) => debug::run(debug).await,
            Command::Event(fire) => event::run(fire).await,
            Command::Exec(exec) => exec::run(*exec).await,
            Command::Export(export) => carry::export(export).await,
            Command::ForceLeave(leave) => cluster::force_leave(leave).await,
            Command::Import(import) => carry::import(*import).await,
            Command::Info(info) => info::run(info).await,
            Command::Intention(intention) => intention::run(intention).await,
            Command::Join(join) => cluster::join(join).await,
            Command::Keygen => keygen::run(),
            Command::Keyring(keyring) => keyring::run(*keyring).await,
            Command::Kv(kv) => kv::run(kv).await,
            Command::Leave(leave) => cluster::leave(leave).await,
            Command::Lock(lock) => lock::run(*lock).await,
            Command::Login(login) => login::login(login).await,
            Command::Logout(logout) => login::logout(logout).await,
            Command::Maint(maint) => maint::run(maint).await,
            Command::Members(members) => members::run(members).await,
            Command::Monitor(monitor) => monitor::run(monitor).await,
            Command::Operator(operator) => operator::run(operator).await,
            Command::Reload(reload) => cluster::reload(reload).await,
            Command::Rtt(rtt) => rtt::run(rtt).await,
            Command::Services(services) => services::run(services).await,
            Command::Session(session) => session::run(session).await,
            Command::Snapshot(snapshot) => snapshot::run(snapshot).await,
            Command::Tls(command) => tls::run(&command),
            Command::Validate(validate) => validate::run(validate),
            Command::Version(version) => version::run(&version, manner),
            Command::Watch(watch) => watch::run(*watch).await,
        }
    })
}

/// Finds out as whom the program was called, and writes its arguments as they are read.
fn called(mut arguments: Vec<OsString>) -> (Manner, Vec<OsString>) {
    let program = if arguments.is_empty() { OsString::from("callboard") } else { arguments.remove(0) };
    let mut manner = match Path::new(&program).file_stem() {
        Some(name) if name == "consul" => Manner::Consul,
        _ => Manner::Own,
    };
    if arguments.first().is_some_and(|word| word == "consul") {
        manner = Manner::Consul;
        arguments.remove(0);
    }
    if arguments.first().is_some_and(|word| word == "-v" || word == "-version" || word == "--version") {
        arguments[0] = "version".into();
    }
    let mut command = Cli::command();
    command.build();
    let mut written = vec![program];
    written.extend(line::rewrite(&command, arguments));
    (manner, written)
}

#[allow(clippy::print_stdout, reason = "what a command answers goes to standard output")]
fn say(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stderr, reason = "why a command failed goes to standard error")]
fn complain(error: &dyn std::error::Error) {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("cause: {cause}");
        source = cause.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Manner, Result<Cli, clap::Error>) {
        let (manner, arguments) = called(line.split(' ').map(OsString::from).collect());
        (manner, Cli::try_parse_from(arguments))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        let (_, cli) = parse("callboard agent -dev -http-port=0 -dns-port -1 -node n1 --bind 127.0.0.1");
        let Command::Agent(flags) = cli.unwrap().command else { panic!("not an agent") };
        assert_eq!(flags.dev, Some(true));
        assert_eq!((flags.http_port, flags.dns_port), (Some(0), Some(-1)));
        assert_eq!(flags.node.as_deref(), Some("n1"));
        assert!(parse("callboard agent -nope").1.is_err());
    }

    #[test]
    fn the_manner_is_in_the_name() {
        for (line, expect) in [
            ("callboard members", Manner::Own),
            ("callboard consul members", Manner::Consul),
            ("/usr/bin/consul members", Manner::Consul),
            ("consul kv get -recurse a", Manner::Consul),
            ("consul -version", Manner::Consul),
        ] {
            let (manner, cli) = parse(line);
            assert!(cli.is_ok(), "{line}");
            assert_eq!(manner, expect, "{line}");
        }
    }
}

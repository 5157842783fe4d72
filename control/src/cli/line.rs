//! The command line as Go programs read it, written as `clap` reads it. Pure.
//!
//! Flags have one dash or two; `-flag=value` and `-flag value` are the same, and the value may begin with a dash;
//! switches may be given as `-flag=false`. Behind the first word that is neither flag nor subcommand everything is taken
//! as it stands where a command takes any text (a value, a program to run); elsewhere its flags may follow as well.

use std::ffi::OsString;

use callboard_proto::api::query::parse_bool;
use clap::{Arg, ArgAction, Command};

/// Rewrites the arguments behind the program's name for a command.
pub(super) fn rewrite(root: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut command = root;
    let mut written = Vec::new();
    let mut arguments = arguments.into_iter();
    let mut words = false;
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str().map(str::to_owned) else {
            written.push(argument);
            continue;
        };
        if text == "--" {
            written.push(argument);
            break;
        }
        if text == "-" || !text.starts_with('-') {
            if !words && let Some(inner) = command.find_subcommand(&text) {
                command = inner;
                written.push(argument);
                continue;
            }
            if takes_any_text(command) {
                // What follows is not ours to read.
                written.extend([OsString::from("--"), argument]);
                break;
            }
            words = true;
            written.push(argument);
            continue;
        }
        let (name, value) = match text.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text.trim_start_matches('-').to_owned(), None),
        };
        match flag(command, &name) {
            Some(known) if is_switch(known) => match value.as_deref().map(parse_bool) {
                None | Some(Some(true)) => written.push(format!("--{name}").into()),
                Some(Some(false)) => {}
                // `clap` says what is wrong with it.
                Some(None) => written.push(format!("--{text}", text = text.trim_start_matches('-')).into()),
            },
            // On or off: a value stands behind `=` or not at all.
            Some(known) if known.is_require_equals_set() => {
                written.push(match (&value, value.as_deref().map(parse_bool)) {
                    (Some(_), Some(Some(on))) => format!("--{name}={on}").into(),
                    (Some(value), _) => format!("--{name}={value}").into(),
                    (None, _) => format!("--{name}").into(),
                });
            }
            Some(known) if known.get_action().takes_values() => match value {
                Some(value) => written.push(format!("--{name}={value}").into()),
                None => {
                    let mut joined = OsString::from(format!("--{name}"));
                    if let Some(value) = arguments.next() {
                        joined.push("=");
                        joined.push(value);
                    }
                    written.push(joined);
                }
            },
            // A word that looks like a negative number is one.
            None if words && text[1..].bytes().all(|byte| byte.is_ascii_digit()) => written.push(argument),
            // The short names, help, and what does not exist.
            _ if text.len() == 2 => written.push(argument),
            _ => written.push(format!("--{}", text.trim_start_matches('-')).into()),
        }
    }
    written.extend(arguments);
    written
}

/// Finds a flag by its long name or another of its names.
fn flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| {
        argument.get_long() == Some(name) || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

fn is_switch(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue)
}

/// Says whether the words of a command may be anything.
fn takes_any_text(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_allow_hyphen_values_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let long = |name: &'static str| Arg::new(name).long(name);
        Command::new("x")
            .subcommand(
                Command::new("kv").subcommand(
                    Command::new("put")
                        .arg(long("cas").action(ArgAction::SetTrue))
                        .arg(long("flags"))
                        .arg(Arg::new("key"))
                        .arg(Arg::new("value").allow_hyphen_values(true)),
                ),
            )
            .subcommand(Command::new("run").arg(long("dev").num_args(0..=1).require_equals(true)).arg(long("port")))
            .subcommand(Command::new("list").arg(long("dc").alias("datacenter")).arg(Arg::new("name")))
    }

    #[test]
    fn lines_of_go_programs() {
        let check = |line: &str, expect: &str| {
            let words = line.split(' ').map(OsString::from).collect();
            let written: Vec<String> =
                rewrite(&command(), words).into_iter().map(|word| word.into_string().unwrap()).collect();
            assert_eq!(written.join(" "), expect, "{line}");
        };
        check("kv put -cas key value", "kv put --cas -- key value");
        check("kv put --cas=false -flags 7 key -cas", "kv put --flags=7 -- key -cas");
        check("kv put -cas=maybe key", "kv put --cas=maybe -- key");
        check("kv put -flags -7 key -", "kv put --flags=-7 -- key -");
        check("kv put -nope key", "kv put --nope -- key");
        check("kv put -flags", "kv put --flags");
        check("kv put list put", "kv put -- list put");
        check("list web -datacenter dc1", "list web --datacenter=dc1");
        check("list -dc=a -- -x", "list --dc=a -- -x");
        check("run -dev -port 1", "run --dev --port=1");
        check("run -dev=1 -port=1", "run --dev=true --port=1");
        check("run -dev=f", "run --dev=false");
        check("list -h", "list -h");
        check("list -help", "list --help");
        check("list -5", "list -5");
    }
}

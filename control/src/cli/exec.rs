//! `exec`: not offered, and why.

use clap::Args;

use super::Ended;
use super::failure::Failure;

/// Takes whatever Consul's takes, and does nothing.
#[derive(Debug, Args)]
pub(super) struct Exec {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<String>,
}

/// Says why.
pub(super) fn run(exec: &Exec) -> Ended {
    let words = if exec.words.is_empty() { "a command".to_owned() } else { format!("{:?}", exec.words.join(" ")) };
    let text = format!(
        "exec is not offered: no node runs {words} because somebody wrote a key; Consul's agents refuse it too"
    );
    Err(Failure::usage(text).hint("`event` with `watch -type event` on each node runs what that node chose itself"))
}

//! The status of a check that follows another instance.
//!
//! Decides status and output from the checks of that instance and of its node, taken together. Pure:
//! whoever sees those checks change (a control node, a sidecar) calls it again.

use callboard_proto::CheckStatus;

/// A check of the aliased instance or of its node.
#[derive(Debug, Clone, Copy)]
pub struct Aliased<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// How well it is.
    pub status: CheckStatus,
    /// What it last said.
    pub output: &'a str,
}

/// Takes the checks of an existing target together: the first of the worst speaks.
#[must_use]
pub fn follow<'a>(checks: impl IntoIterator<Item = Aliased<'a>>) -> (CheckStatus, String) {
    let mut worst: Option<Aliased<'a>> = None;
    for check in checks {
        if worst.is_none_or(|worst| check.status > worst.status) {
            worst = Some(check);
        }
    }
    match worst {
        None => (CheckStatus::Passing, "No checks found.".into()),
        Some(check) if check.status == CheckStatus::Passing => (CheckStatus::Passing, "All checks passing.".into()),
        Some(check) => (check.status, format!("Aliased check {:?} failing: {}", check.name, check.output)),
    }
}

/// What an alias says while its target is not registered.
#[must_use]
pub fn missing(instance: &str, node: &str) -> (CheckStatus, String) {
    (CheckStatus::Critical, format!("Service {instance} could not be found on node {node}"))
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Critical, Passing, Warning};

    use super::*;

    fn check(checks: &[(&str, CheckStatus, &str)], status: CheckStatus, output: &str) {
        let aliased = checks.iter().map(|&(name, status, output)| Aliased { name, status, output });
        assert_eq!(follow(aliased), (status, output.to_owned()));
    }

    #[test]
    fn the_worst_check_speaks() {
        check(&[], Passing, "No checks found.");
        check(&[("a", Passing, "fine")], Passing, "All checks passing.");
        check(&[("a", Passing, ""), ("b", Warning, "slow")], Warning, "Aliased check \"b\" failing: slow");
        let three = [("a", Warning, "slow"), ("b", Critical, "down"), ("c", Critical, "too")];
        check(&three, Critical, "Aliased check \"b\" failing: down");
        assert_eq!(missing("web1", "n1").1, "Service web1 could not be found on node n1");
    }
}

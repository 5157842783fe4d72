//! Who runs a check. Pure.
//!
//! A member runs the checks of its own node, and nobody does in its place: a check that says that a disk is full there
//! can be run nowhere else. The checks of any other node are shared among the servers that are up, by the highest
//! random weight (Thaler and Ravishankar 1998), so that few move when one comes or goes.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use super::Key;
use crate::cluster::Roll;

/// Whether the node called `own`, whose identity is `id`, runs a check.
pub(super) fn runs_here(key: &Key, own: &str, id: u64, members: &Roll) -> bool {
    let node = key.0.as_str();
    if node.eq_ignore_ascii_case(own) {
        return true;
    }
    if members.get(node).is_some() {
        return false;
    }
    let servers = members.iter().filter(|member| member.is_up() && member.card.is_server());
    servers.map(|member| member.card.raft_id).max_by_key(|server| (weight(key, *server), *server)) == Some(id)
}

fn weight(key: &Key, server: u64) -> u64 {
    let mut hasher = XxHash3_64::with_seed(server);
    hasher.write(key.0.as_str().as_bytes());
    hasher.write_u8(0);
    hasher.write(key.1.as_str().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use callboard_proto::{CheckId, NodeName};

    use super::*;

    fn key(node: &str, check: usize) -> Key {
        (NodeName::parse(node).unwrap().folded(), CheckId::parse(&format!("c{check}")).unwrap())
    }

    #[test]
    fn each_check_is_run_by_exactly_one_server_and_a_members_own_by_itself() {
        let members = Roll::of(&[("s1", 1, true), ("s2", 2, true), ("s3", 3, true), ("c1", 4, false)]);
        let names = ["s1", "s2", "s3", "c1"];
        let runners = |key: &Key| -> Vec<usize> {
            (0..4).filter(|at| runs_here(key, names[*at], *at as u64 + 1, &members)).collect()
        };
        let mut shares = [0; 4];
        for check in 0..300 {
            let runners = runners(&key("external", check));
            assert_eq!(runners.len(), 1);
            shares[runners[0]] += 1;
        }
        assert!(shares[..3].iter().all(|share| *share > 60), "{shares:?}");
        assert_eq!(shares[3], 0, "who does not vote runs no checks of others");
        assert_eq!(runners(&key("C1", 0)), [3]);
    }
}

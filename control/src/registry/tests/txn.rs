//! Transactions: all at one index or nothing, each operation after the ones before it.

use callboard_proto::kv::KvEntry;

use super::super::txn::{KvVerb, RowVerb};
use super::*;

/// Any operation, on the rows that the other commands are about.
pub(super) fn op() -> impl Strategy<Value = TxnOp> {
    let cas = || proptest::option::of((0u64..40).prop_map(Index));
    let condition = prop_oneof![
        3 => Just(KvCondition::Always),
        1 => (0u64..40).prop_map(|index| KvCondition::Cas(Index(index))),
        2 => (session_id(), prop_oneof![4 => Just(u64::MAX), 1 => 0u64..40])
            .prop_map(|(session, seen)| KvCondition::Acquire { session, seen: Index(seen) }),
        1 => session_id().prop_map(KvCondition::Release),
    ];
    let verb = prop_oneof![
        6 => (0u8..3, condition)
            .prop_map(|(value, condition)| KvVerb::Set { value: Arc::from([value]), flags: 0, condition }),
        1 => Just(KvVerb::Get),
        1 => Just(KvVerb::GetOrEmpty),
        1 => Just(KvVerb::GetTree),
        1 => (0u64..40).prop_map(|index| KvVerb::CheckIndex(Index(index))),
        1 => session_id().prop_map(KvVerb::CheckSession),
        1 => Just(KvVerb::CheckNotExists),
        2 => cas().prop_map(KvVerb::Delete),
        1 => Just(KvVerb::DeleteTree),
    ];
    let instance_id = (0u8..4).prop_map(|id| InstanceId::parse(&format!("i{id}")).unwrap());
    let check_id = (0u8..4).prop_map(|id| CheckId::parse(&format!("c{id}")).unwrap());
    let name = || (0u8..6).prop_map(node_name);
    prop_oneof![
        8 => (key(), verb).prop_map(|(key, verb)| TxnOp::Kv(key, verb)),
        2 => (node(), cas()).prop_map(|(node, cas)| TxnOp::Node(node.name.clone(), RowVerb::Set(Box::new(node), cas))),
        1 => (name(), cas()).prop_map(|(node, cas)| TxnOp::Node(node, RowVerb::Delete(cas))),
        2 => (name(), instance(), proptest::option::weighted(0.2, (0u64..40).prop_map(Index))).prop_map(
            |(node, instance, cas)| TxnOp::Instance(node, instance.id.clone(), RowVerb::Set(Box::new(instance), cas))
        ),
        1 => (name(), instance_id, cas()).prop_map(|(node, id, cas)| TxnOp::Instance(node, id, RowVerb::Delete(cas))),
        2 => (name(), check()).prop_map(|(node, mut new)| {
            new.check.node = node.clone();
            TxnOp::Check(node, new.check.id.clone(), RowVerb::Set(Box::new(new), None))
        }),
        1 => (name(), check_id, cas()).prop_map(|(node, id, cas)| TxnOp::Check(node, id, RowVerb::Delete(cas))),
        1 => session_id().prop_map(TxnOp::SessionDelete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A transaction that is done leaves what its operations leave one by one, but for the indexes; one that is not
    /// leaves nothing.
    #[test]
    fn a_transaction_is_its_operations_in_order_or_nothing(
        history in history(),
        ops in proptest::collection::vec(op(), 1..8),
    ) {
        let mut registry = Registry::default();
        for command in history {
            apply(&mut registry, command);
        }
        let before = registry.clone();
        let mut touched = Touched::default();
        let outcome = registry.apply(Command::Txn(ops.clone()), &mut touched);
        prop_assert_eq!(registry.audit(), Ok(()));
        match outcome {
            Outcome::Txn(Ok(_)) => {
                let conditional = |op: &TxnOp| matches!(
                    op,
                    TxnOp::Kv(_, KvVerb::Set { condition: KvCondition::Cas(_) | KvCondition::Acquire { .. }, .. } | KvVerb::CheckIndex(_) | KvVerb::Delete(Some(_)))
                        | TxnOp::Node(_, RowVerb::Set(_, Some(_)) | RowVerb::Delete(Some(_)))
                        | TxnOp::Instance(_, _, RowVerb::Set(_, Some(_)) | RowVerb::Delete(Some(_)))
                        | TxnOp::Check(_, _, RowVerb::Set(_, Some(_)) | RowVerb::Delete(Some(_)))
                );
                // One by one, each gets an index of its own, which conditions on indexes would notice.
                if !ops.iter().any(conditional) {
                    let mut model = before;
                    let mut one_by_one = Touched::default();
                    for op in ops {
                        let one = model.apply(Command::Txn(vec![op]), &mut one_by_one);
                        prop_assert!(matches!(one, Outcome::Txn(Ok(_))), "{:?}", one);
                    }
                    prop_assert_eq!(content(&registry), content(&model));
                    prop_assert_eq!(touched.lost(), one_by_one.lost());
                }
            }
            Outcome::Txn(Err(faults)) => {
                prop_assert!(!faults.is_empty());
                prop_assert_eq!(touched.lost(), []);
                prop_assert_eq!(bytes(&registry), bytes(&before));
            }
            outcome => {
                prop_assert_eq!(outcome, Outcome::Overtaken);
                prop_assert_eq!(bytes(&registry), bytes(&before));
            }
        }
    }
}

/// Everything but indexes.
fn content(registry: &Registry) -> String {
    let nodes: Vec<_> = registry.nodes().map(|node| (&node.name, &node.address)).collect();
    let instances: Vec<_> = registry
        .nodes()
        .flat_map(|node| registry.instances_on(&node.name).map(|row| (&node.name, &row.id, &row.service, row.port)))
        .collect();
    let checks: Vec<_> =
        registry.checks().map(|check| (&check.node, &check.id, check.status, &check.service)).collect();
    let keys: Vec<_> = registry.kv_under("").map(|entry| (&entry.key, &entry.value, &entry.session)).collect();
    let sessions: Vec<_> = registry.sessions().map(|session| &session.id).collect();
    format!("{nodes:?}{instances:?}{checks:?}{keys:?}{sessions:?}")
}

fn value(text: &str) -> KvVerb {
    KvVerb::Set { value: text.as_bytes().into(), flags: 0, condition: KvCondition::Always }
}

fn kv(key: &str, verb: KvVerb) -> TxnOp {
    TxnOp::Kv(key.into(), verb)
}

fn faults(registry: &mut Registry, ops: Vec<TxnOp>) -> Vec<(usize, String)> {
    match apply(registry, Command::Txn(ops)) {
        Outcome::Txn(Err(faults)) => faults.into_iter().map(|fault| (fault.op, fault.what)).collect(),
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn an_operation_sees_those_before_it_and_all_have_one_index() {
    let mut registry = Registry::default();
    let ops = vec![kv("t/1", value("x")), kv("t/2", value("y")), kv("t/1", KvVerb::Get), kv("t/", KvVerb::GetTree)];
    let Outcome::Txn(Ok(rows)) = apply(&mut registry, Command::Txn(ops)) else { panic!("it is done") };
    let rows: Vec<(String, String, Index)> = rows
        .iter()
        .map(|row| match row {
            TxnRow::Kv(entry) => {
                (entry.key.to_string(), String::from_utf8_lossy(&entry.value).into_owned(), entry.modified)
            }
            row => panic!("{row:?}"),
        })
        .collect();
    let row = |key: &str, value: &str| (key.to_owned(), value.to_owned(), Index(1));
    // What is written is shown without its value.
    let expect = [row("t/1", ""), row("t/2", ""), row("t/1", "x"), row("t/1", "x"), row("t/2", "y")];
    assert_eq!(rows, expect);
    assert_eq!(registry.index(), Index(1));
}

#[test]
fn every_failure_is_told_and_nothing_is_done() {
    let mut registry = Registry::default();
    apply(&mut registry, set("k", b"1", KvCondition::Always));
    let before = bytes(&registry);
    let ops = vec![
        kv("new", value("x")),
        kv("k", KvVerb::CheckNotExists),
        kv("k", KvVerb::Delete(Some(Index(9)))),
        kv("none", KvVerb::Get),
        kv("k", KvVerb::CheckIndex(Index(7))),
        kv("k", KvVerb::CheckSession("s".into())),
        TxnOp::Node(node_name(0), RowVerb::Get),
    ];
    let expect = [
        (1, "key \"k\" exists"),
        (2, "failed to delete key \"k\", index is stale"),
        (3, "key \"none\" doesn't exist"),
        (4, "failed index check for key \"k\", current modify index 1 != 7"),
        (5, "failed session check for key \"k\", current session \"\" != \"s\""),
        (6, "node \"node0\" doesn't exist"),
    ];
    let expect: Vec<(usize, String)> = expect.iter().map(|(op, what)| (*op, (*what).to_owned())).collect();
    assert_eq!(faults(&mut registry, ops), expect);
    assert_eq!(bytes(&registry), before);
    assert_eq!(
        registry.transact(&[kv("none", KvVerb::GetOrEmpty)]),
        Ok(vec![TxnRow::Kv(Arc::new(KvEntry::absent("none".into())))])
    );
}

#[test]
fn a_lock_in_a_transaction_that_was_overtaken_is_looked_at_again() {
    let mut registry = Registry::default();
    apply(&mut registry, set("k", b"1", KvCondition::Always));
    let lock = |seen| {
        let condition = KvCondition::Acquire { session: "s".into(), seen: Index(seen) };
        kv("k", KvVerb::Set { value: Arc::from([]), flags: 0, condition })
    };
    assert_eq!(apply(&mut registry, Command::Txn(vec![lock(0)])), Outcome::Overtaken);
    // An operation before it that writes the key is no news.
    let refused = faults(&mut registry, vec![kv("k", value("2")), lock(1)]);
    assert_eq!(refused, [(1, "invalid session \"s\"".to_owned())]);
}

#[test]
fn results_are_bounded() {
    let mut registry = Registry::default();
    apply(&mut registry, set("k", &vec![0; 1 << 20], KvCondition::Always));
    let ops = vec![kv("k", KvVerb::Get); 65];
    // The value and its key.
    let size = 64 * ((1 << 20) + 1);
    let what = format!("the results are too large ({size} > 67108864 bytes)");
    assert_eq!(faults(&mut registry, ops), [(63, what)]);
}

//! Locks: who gets them, and that they end with their sessions, whatever ends those.

use super::super::txn::KvVerb;
use super::*;

/// A registry with a node `node0` and its check `c0`, and a session `s` that depends on both.
fn with_session(behavior: SessionBehavior) -> Registry {
    let mut registry = Registry::default();
    apply(&mut registry, register_check(CheckStatus::Passing));
    assert_eq!(begin(&mut registry, "s", behavior), Outcome::Done);
    registry
}

fn register_check(status: CheckStatus) -> Command {
    let check = check_of(node_name(0), "c0", status);
    Command::Register(Box::new(Registration {
        node: Node { name: node_name(0), address: "10.0.0.1".into(), ..Node::default() },
        node_update: NodeUpdate::Ensure,
        instance: None,
        checks: vec![NewCheck { status_given: true, check }],
        checks_replace: false,
    }))
}

fn begin(registry: &mut Registry, id: &str, behavior: SessionBehavior) -> Outcome {
    let session = SessionRow {
        id: id.into(),
        name: Text::default(),
        node: node_name(0),
        lock_delay: Duration::from_secs(15),
        behavior,
        ttl: Text::default(),
        node_checks: vec![CheckId::parse("c0").unwrap()],
        service_checks: Vec::new(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    apply(registry, Command::SessionCreate(Box::new(session)))
}

fn lock(registry: &mut Registry, key: &str, session: &str) -> Outcome {
    let condition = KvCondition::Acquire { session: session.into(), seen: registry.index() };
    apply(registry, set(key, b"v", condition))
}

#[test]
fn a_lock_has_one_holder_and_counts_how_often_it_was_taken() {
    let mut registry = with_session(SessionBehavior::Release);
    begin(&mut registry, "t", SessionBehavior::Release);
    let entry = |registry: &Registry| {
        let entry = registry.kv_get("k").unwrap();
        (entry.session.to_string(), entry.lock_index, entry.value.to_vec())
    };
    assert_eq!(lock(&mut registry, "k", "nope"), Outcome::Refused(Refusal::InvalidSession("nope".into())));
    assert_eq!(lock(&mut registry, "k", "s"), Outcome::Held(true));
    assert_eq!(entry(&registry), ("s".to_owned(), 1, b"v".to_vec()));
    let index = registry.index();
    assert_eq!(lock(&mut registry, "k", "s"), Outcome::Held(true));
    assert_eq!(registry.index(), index, "the same again changes nothing");
    assert_eq!(lock(&mut registry, "k", "t"), Outcome::Held(false));
    // Locks are advisory: a plain write goes through and keeps the holder.
    assert_eq!(apply(&mut registry, set("k", b"w", KvCondition::Always)), Outcome::Held(true));
    assert_eq!(entry(&registry), ("s".to_owned(), 1, b"w".to_vec()));
    let release = |session: &str| set("k", b"x", KvCondition::Release(session.into()));
    assert_eq!(apply(&mut registry, release("t")), Outcome::Held(false));
    assert_eq!(apply(&mut registry, release("s")), Outcome::Held(true));
    assert_eq!(entry(&registry), (String::new(), 1, b"x".to_vec()));
    assert_eq!(apply(&mut registry, release("s")), Outcome::Held(false));
    assert_eq!(apply(&mut registry, release("")), Outcome::Held(false), "nobody is not a holder");
    assert_eq!(lock(&mut registry, "k", "t"), Outcome::Held(true));
    assert_eq!(entry(&registry), ("t".to_owned(), 2, b"v".to_vec()));
}

#[test]
fn whatever_ends_a_session_frees_its_locks_at_one_index() {
    let id = || CheckId::parse("c0").unwrap();
    let causes = [
        Command::SessionDestroy { id: "s".into() },
        Command::DeregisterNode { node: node_name(0) },
        Command::DeregisterCheck { node: node_name(0), id: id(), missing: Missing::Fine },
        Command::UpdateCheck { node: node_name(0), id: id(), status: CheckStatus::Critical, output: "".into() },
        register_check(CheckStatus::Critical),
    ];
    for behavior in [SessionBehavior::Release, SessionBehavior::Delete] {
        for cause in causes.clone() {
            let mut registry = with_session(behavior);
            lock(&mut registry, "k/1", "s");
            lock(&mut registry, "k/2", "s");
            let before = registry.index();
            let mut touched = Touched::default();
            registry.apply(cause.clone(), &mut touched);
            assert_eq!(registry.index(), before.next(), "{cause:?}");
            assert_eq!(registry.sessions().count(), 0, "{cause:?}");
            assert_eq!(registry.sessions_index(), registry.index());
            for key in ["k/1", "k/2"] {
                assert!(is_touched(&touched, &Topic::Key(key.into())), "{cause:?}");
                match (behavior, registry.kv_get(key)) {
                    (SessionBehavior::Delete, None) => {}
                    (SessionBehavior::Release, Some(entry)) => {
                        assert_eq!((&*entry.session, entry.modified), ("", registry.index()), "{cause:?}");
                    }
                    (_, found) => panic!("{behavior:?} after {cause:?}: {found:?}"),
                }
            }
            let lost: Vec<_> = touched.lost().iter().map(|(key, delay)| (key.to_string(), delay.as_secs())).collect();
            assert_eq!(lost, [("k/1".to_owned(), 15), ("k/2".to_owned(), 15)], "{cause:?}");
            assert_eq!(registry.audit(), Ok(()));
        }
    }
}

#[test]
fn a_lock_cannot_be_taken_on_old_knowledge_of_the_key() {
    for behavior in [SessionBehavior::Release, SessionBehavior::Delete] {
        let mut registry = with_session(behavior);
        begin(&mut registry, "t", SessionBehavior::Release);
        lock(&mut registry, "k", "s");
        let seen = registry.index();
        apply(&mut registry, Command::SessionDestroy { id: "s".into() });
        let acquire = |seen| set("k", b"v", KvCondition::Acquire { session: "t".into(), seen });
        // The proposer looked for a lock delay before there was one.
        assert_eq!(apply(&mut registry, acquire(seen)), Outcome::Overtaken);
        let seen = registry.index();
        assert_eq!(apply(&mut registry, acquire(seen)), Outcome::Held(true));
    }
}

#[test]
fn a_session_begins_on_what_is_there_and_well() {
    let mut registry = Registry::default();
    assert_eq!(begin(&mut registry, "s", SessionBehavior::Release), Outcome::Refused(Refusal::MissingNode));
    apply(&mut registry, register_check(CheckStatus::Critical));
    let id = CheckId::parse("c0").unwrap();
    let refused = begin(&mut registry, "s", SessionBehavior::Release);
    assert_eq!(refused, Outcome::Refused(Refusal::CriticalCheck(id.clone())));
    apply(&mut registry, Command::DeregisterCheck { node: node_name(0), id: id.clone(), missing: Missing::Fine });
    assert_eq!(begin(&mut registry, "s", SessionBehavior::Release), Outcome::Refused(Refusal::MissingCheck(id)));
    apply(&mut registry, register_check(CheckStatus::Warning));
    assert_eq!(begin(&mut registry, "s", SessionBehavior::Release), Outcome::Done);
    let again = begin(&mut registry, "s", SessionBehavior::Release);
    assert_eq!(again, Outcome::Refused(Refusal::DuplicateSession("s".into())));
}

#[test]
fn a_lock_that_a_transaction_takes_and_loses_is_told() {
    let mut registry = with_session(SessionBehavior::Release);
    let condition = KvCondition::Acquire { session: "s".into(), seen: Index(u64::MAX) };
    let take = TxnOp::Kv("k".into(), KvVerb::Set { value: Arc::from(*b"v"), flags: 0, condition });
    let mut touched = Touched::default();
    registry.apply(Command::Txn(vec![take, TxnOp::SessionDelete("s".into())]), &mut touched);
    assert_eq!(&*registry.kv_get("k").unwrap().session, "");
    assert_eq!(touched.lost(), [("k".into(), Duration::from_secs(15))], "whoever saw the lock is given its delay");
}

/// A command, or the operations of a transaction as transactions of their own.
fn one_by_one(command: Command) -> Vec<Command> {
    match command {
        Command::Txn(ops) => ops.into_iter().map(|op| Command::Txn(vec![op])).collect(),
        command => vec![command],
    }
}

/// Whether a command of one operation frees a key by the word of its holder, or by its removal.
fn gives_up(command: &Command, holder: &str) -> bool {
    let releases = |condition: &KvCondition| matches!(condition, KvCondition::Release(session) if **session == *holder);
    match command {
        Command::KvSet { condition, .. } => releases(condition),
        Command::KvDelete { .. } | Command::KvDeletePrefix { .. } => true,
        Command::Txn(ops) => {
            matches!(ops.as_slice(), [TxnOp::Kv(_, KvVerb::Delete(_) | KvVerb::DeleteTree)])
                || matches!(ops.as_slice(), [TxnOp::Kv(_, KvVerb::Set { condition, .. })] if releases(condition))
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Against a model of locks alone: a key changes hands only by its holder, by its removal, or by the end of its
    /// holder's session, and every loss with a delay is told. A transaction is gone through operation by operation:
    /// the lock that it takes may be the lock that it loses.
    #[test]
    fn a_lock_is_lost_only_with_its_session_its_key_or_by_its_holder(history in history()) {
        let mut registry = Registry::default();
        for command in history.into_iter().flat_map(one_by_one) {
            let before = registry.clone();
            let mut touched = Touched::default();
            registry.apply(command.clone(), &mut touched);
            let mut told: Vec<Text> = touched.lost().iter().map(|(key, _)| key.clone()).collect();
            told.sort();
            let mut lost = Vec::new();
            for entry in before.kv_under("").filter(|entry| !entry.session.is_empty()) {
                let now = registry.kv_get(&entry.key).map(|entry| entry.session.clone()).unwrap_or_default();
                if now == entry.session {
                    continue;
                }
                prop_assert!(now.is_empty(), "{} went from {} to {now} in one step", entry.key, entry.session);
                if registry.session(&entry.session).is_none() {
                    if before.session(&entry.session).is_some_and(|session| !session.lock_delay.is_zero()) {
                        lost.push(entry.key.clone());
                    }
                    continue;
                }
                prop_assert!(gives_up(&command, &entry.session), "{} was lost by {command:?}", entry.key);
            }
            prop_assert_eq!(told, lost);
        }
    }
}

//! Random writes of access control: names clash, links dangle, secrets repeat, unless the registry sees to it.

use callboard_proto::acl::rows::{
    ANONYMOUS, AuthMethodRow, BindingRuleRow, MANAGEMENT, PolicyRow, RoleRow, SecretHash, Sources, TokenRow,
};

use super::*;
use crate::registry::{AclCommand, AclRefusal, AclTopic, Write};

fn id(kind: &str) -> impl Strategy<Value = Text> + use<> {
    let kind = kind.to_owned();
    (0u8..3).prop_map(move |id| format!("{kind}{id}").into())
}

fn name() -> impl Strategy<Value = Text> {
    // Upper and lower case are the same name.
    proptest::sample::select(vec!["one", "ONE", "two"]).prop_map(Text::from)
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![Just(Write::Create), Just(Write::Update)]
}

fn sources() -> impl Strategy<Value = Sources> {
    let policies = prop_oneof![3 => id("p"), 1 => Just(Text::from(MANAGEMENT))];
    proptest::collection::vec(policies, 0..2).prop_map(|policies| Sources { policies, ..Sources::default() })
}

fn policy() -> impl Strategy<Value = Box<PolicyRow>> {
    let ids = prop_oneof![5 => id("p"), 1 => Just(Text::from(MANAGEMENT))];
    (ids, name(), 0u8..2).prop_map(|(id, name, text)| {
        Box::new(PolicyRow {
            id,
            name,
            description: text.to_string().into(),
            rules: Text::default(),
            datacenters: Vec::new(),
            hash: Text::default(),
            created: Index::ZERO,
            modified: Index::ZERO,
        })
    })
}

pub(super) fn token() -> impl Strategy<Value = Box<TokenRow>> {
    let method = prop_oneof![3 => Just(Text::default()), 1 => name()];
    let roles = proptest::collection::vec(id("r"), 0..2);
    (id("t"), 0u8..3, sources(), roles, method, 0u8..2).prop_map(
        |(accessor, secret, sources, roles, auth_method, text)| {
            Box::new(TokenRow {
                accessor,
                secret: SecretHash([secret; 32]),
                description: text.to_string().into(),
                sources,
                roles,
                local: false,
                auth_method,
                expires: None,
                created_at: Duration::ZERO,
                hash: Text::default(),
                created: Index::ZERO,
                modified: Index::ZERO,
            })
        },
    )
}

fn role() -> impl Strategy<Value = Box<RoleRow>> {
    (id("r"), name(), sources()).prop_map(|(id, name, sources)| {
        let (description, hash) = (Text::default(), Text::default());
        Box::new(RoleRow { id, name, description, sources, hash, created: Index::ZERO, modified: Index::ZERO })
    })
}

fn method() -> impl Strategy<Value = Box<AuthMethodRow>> {
    (name(), 0u8..2).prop_map(|(name, kind)| {
        Box::new(AuthMethodRow {
            name,
            kind: kind.to_string().into(),
            display_name: Text::default(),
            description: Text::default(),
            token_ttl_max: Duration::ZERO,
            locality: Text::default(),
            config: Text::default(),
            created: Index::ZERO,
            modified: Index::ZERO,
        })
    })
}

fn rule() -> impl Strategy<Value = Box<BindingRuleRow>> {
    (id("b"), name(), 0u8..2).prop_map(|(id, auth_method, bind)| {
        Box::new(BindingRuleRow {
            id,
            description: Text::default(),
            auth_method,
            selector: Text::default(),
            bind_type: "service".into(),
            bind_name: bind.to_string().into(),
            bind_variable: Text::default(),
            created: Index::ZERO,
            modified: Index::ZERO,
        })
    })
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let seed = crate::acl::seed::command(Some(&crate::acl::Secret::new("root")), Duration::ZERO);
    let accessors = prop_oneof![6 => id("t"), 1 => Just(Text::from(ANONYMOUS))];
    let reset = proptest::option::of((0u64..20).prop_map(Index));
    let any = prop_oneof![
        2 => Just(seed),
        1 => (token(), reset).prop_map(|(token, reset)| AclCommand::Bootstrap { token, reset }),
        6 => (token(), write()).prop_map(|(token, write)| AclCommand::TokenPut { token, write }),
        2 => proptest::collection::vec(accessors, 1..3).prop_map(|accessors| AclCommand::TokensDelete { accessors }),
        5 => (policy(), write()).prop_map(|(policy, write)| AclCommand::PolicyPut { policy, write }),
        2 => prop_oneof![4 => id("p"), 1 => Just(Text::from(MANAGEMENT))].prop_map(|id| AclCommand::PolicyDelete { id }),
        4 => (role(), write()).prop_map(|(role, write)| AclCommand::RolePut { role, write }),
        1 => id("r").prop_map(|id| AclCommand::RoleDelete { id }),
        3 => (method(), write()).prop_map(|(method, write)| AclCommand::AuthMethodPut { method, write }),
        1 => name().prop_map(|name| AclCommand::AuthMethodDelete { name }),
        3 => (rule(), write()).prop_map(|(rule, write)| AclCommand::BindingRulePut { rule, write }),
        1 => id("b").prop_map(|id| AclCommand::BindingRuleDelete { id }),
    ];
    any.prop_map(Command::Acl)
}

/// What readers see of access control: rows with the names that their links have.
pub(super) fn views(registry: &Registry, views: &mut BTreeMap<Topic, (Index, String)>) {
    let policy = |id: &Text| registry.acl_policy(id).map(|policy| policy.name.clone());
    let role = |id: &Text| registry.acl_role(id).map(|role| role.name.clone());
    let tokens: Vec<_> = registry
        .acl_tokens()
        .map(|token| {
            let policies: Vec<_> = token.sources.policies.iter().map(policy).collect();
            (token, policies, token.roles.iter().map(role).collect::<Vec<_>>())
        })
        .collect();
    let roles: Vec<_> =
        registry.acl_roles().map(|role| (role, role.sources.policies.iter().map(policy).collect::<Vec<_>>())).collect();
    let seen = [
        (AclTopic::Tokens, format!("{tokens:?}")),
        (AclTopic::Policies, format!("{:?}", registry.acl_policies().collect::<Vec<_>>())),
        (AclTopic::Roles, format!("{roles:?}")),
        (AclTopic::AuthMethods, format!("{:?}", registry.acl_auth_methods().collect::<Vec<_>>())),
        (AclTopic::BindingRules, format!("{:?}", registry.acl_binding_rules().collect::<Vec<_>>())),
    ];
    for (table, seen) in seen {
        views.insert(Topic::Acl(table), (registry.acl_index(table), seen));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With nothing but access control, so that histories reach far: rows are consistent, refusals change nothing, a
    /// secret leads to its token and to no other, and what is built in stays.
    #[test]
    fn access_control_stays_consistent(history in proptest::collection::vec(command(), 1..60)) {
        let mut registry = Registry::default();
        let mut seeded = false;
        for command in history {
            seeded |= matches!(&command, Command::Acl(AclCommand::Seed { .. }));
            let before = bytes(&registry);
            let outcome = registry.apply(command, &mut Touched::default());
            if matches!(outcome, Outcome::Refused(_)) {
                prop_assert_eq!(bytes(&registry), before);
            }
            prop_assert_eq!(registry.audit(), Ok(()));
            for token in registry.acl_tokens() {
                prop_assert_eq!(registry.acl_token_of(&token.secret).map(|found| &found.accessor), Some(&token.accessor));
            }
            if seeded {
                prop_assert!(registry.acl_policy(MANAGEMENT).is_some());
                prop_assert!(registry.acl_token(ANONYMOUS).is_some());
            }
        }
        let copy = Registry::read_from(&mut bytes(&registry).as_slice()).unwrap();
        prop_assert_eq!(bytes(&copy), bytes(&registry));
    }
}

#[test]
fn there_is_one_first_management_token_unless_the_operator_resets() {
    let mut registry = Registry::default();
    let token = |secret: &str| {
        Box::new(crate::acl::seed::management(&crate::acl::Secret::new(secret), "first", Duration::ZERO))
    };
    let mut bootstrap = |secret: &str, reset| {
        apply(
            &mut registry,
            Command::Acl(AclCommand::Seed {
                policies: match crate::acl::seed::command(None, Duration::ZERO) {
                    AclCommand::Seed { policies, .. } => policies,
                    other => panic!("{other:?}"),
                },
                anonymous: token("anonymous"),
                management: None,
            }),
        );
        let outcome = apply(&mut registry, Command::Acl(AclCommand::Bootstrap { token: token(secret), reset }));
        (outcome, registry.acl_bootstrapped())
    };
    let (outcome, first) = bootstrap("a", None);
    assert_eq!(outcome, Outcome::Done);
    let refused = Outcome::Refused(Refusal::Acl(AclRefusal::Bootstrapped(first)));
    assert_eq!(bootstrap("b", None).0, refused);
    assert_eq!(bootstrap("b", Some(first.next())).0, refused);
    let (outcome, second) = bootstrap("b", Some(first));
    assert_eq!(outcome, Outcome::Done);
    assert!(second > first);
    assert_ne!(bootstrap("c", Some(first)).0, Outcome::Done, "a reset counts once");
}

#[test]
fn an_auth_method_goes_with_its_rules_and_its_tokens() {
    let mut registry = Registry::default();
    let mut write = |command| assert_eq!(apply(&mut registry, Command::Acl(command)), Outcome::Done);
    let text = Text::from;
    let method = AuthMethodRow {
        name: text("m"),
        kind: text("jwt"),
        display_name: Text::default(),
        description: Text::default(),
        token_ttl_max: Duration::ZERO,
        locality: Text::default(),
        config: Text::default(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    write(AclCommand::AuthMethodPut { method: Box::new(method), write: Write::Create });
    let rule = BindingRuleRow {
        id: text("b"),
        description: Text::default(),
        auth_method: text("M"),
        selector: Text::default(),
        bind_type: text("service"),
        bind_name: text("web"),
        bind_variable: Text::default(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    write(AclCommand::BindingRulePut { rule: Box::new(rule), write: Write::Create });
    let secret = crate::acl::Secret::new("s");
    let token = crate::acl::seed::token(&secret, "", Sources::default(), Duration::ZERO);
    let token = Box::new(TokenRow { auth_method: text("m"), ..token });
    write(AclCommand::TokenPut { token, write: Write::Create });
    write(AclCommand::AuthMethodDelete { name: text("M") });
    assert!(registry.acl_token_of(&secret.hash()).is_none());
    assert_eq!((registry.acl_binding_rules().count(), registry.acl_auth_methods().count()), (0, 0));
}

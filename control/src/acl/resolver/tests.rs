//! Tokens against a registry made of commands: what they come to, and that nothing outlives its reason.

use callboard_proto::acl::Level;
use callboard_proto::acl::rows::{NodeIdentityRow, RoleRow, ServiceIdentityRow};

use super::super::seed;
use super::*;
use crate::registry::{AclCommand, Command, Outcome, Touched, Write};

const NOW: Duration = Duration::from_secs(1_000_000);

struct World {
    registry: Registry,
    acl: Acl,
}

impl World {
    fn new(settings: AclSettings) -> World {
        let settings = AclSettings { enabled: true, datacenter: "dc1".into(), node_name: "n1".into(), ..settings };
        let mut world = World { registry: Registry::default(), acl: Acl::new(settings).unwrap() };
        world.write(seed::command(Some(&Secret::new("root")), NOW));
        world
    }

    fn write(&mut self, command: AclCommand) {
        let outcome = self.registry.apply(Command::Acl(command), &mut Touched::default());
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(self.registry.audit(), Ok(()));
    }

    fn policy(&mut self, id: &str, rules: &str, datacenters: &[&str], write: Write) {
        let policy = seed::digested_policy(PolicyRow {
            id: id.into(),
            name: id.into(),
            description: Text::default(),
            rules: rules.into(),
            datacenters: datacenters.iter().map(|one| Text::from(*one)).collect(),
            hash: Text::default(),
            created: Index::ZERO,
            modified: Index::ZERO,
        });
        self.write(AclCommand::PolicyPut { policy: Box::new(policy), write });
    }

    fn token(&mut self, secret: &str, sources: Sources, change: impl Fn(&mut TokenRow)) -> Text {
        let mut token = seed::token(&Secret::new(secret), "", sources, NOW);
        change(&mut token);
        let accessor = token.accessor.clone();
        self.write(AclCommand::TokenPut { token: Box::new(token), write: Write::Create });
        accessor
    }

    fn access(&self, secret: &str) -> Result<Access, UnknownToken> {
        self.acl.access_at(&self.registry, Secret::new(secret).hash(), NOW)
    }

    fn may(&self, secret: &str, resource: Resource, name: &str, level: Level) -> bool {
        self.access(secret).unwrap().may(resource, name, level)
    }
}

fn policies(ids: &[&str]) -> Sources {
    Sources { policies: ids.iter().map(|id| Text::from(*id)).collect(), ..Sources::default() }
}

fn deny() -> AclSettings {
    AclSettings { fallback: Fallback::Deny, ..AclSettings::default() }
}

#[test]
fn a_secret_that_nobody_has_is_unknown() {
    let world = World::new(deny());
    assert_eq!(world.access("wrong").unwrap_err(), UnknownToken);
    assert!(world.may("root", Resource::Acl, "", Level::Write));
    assert!(!world.may("anonymous", Resource::Key, "a", Level::Read));
}

#[test]
fn rights_come_from_policies_roles_and_identities_of_this_datacenter() {
    let mut world = World::new(deny());
    world.policy("p1", "key_prefix \"a/\" { policy = \"write\" }", &[], Write::Create);
    world.policy("p2", "key_prefix \"b/\" { policy = \"write\" }", &["dc2"], Write::Create);
    let role = RoleRow {
        id: "r".into(),
        name: "r".into(),
        description: Text::default(),
        sources: Sources {
            services: vec![ServiceIdentityRow { service: "web".into(), datacenters: Vec::new() }],
            nodes: vec![
                NodeIdentityRow { node: "n1".into(), datacenter: "dc1".into() },
                NodeIdentityRow { node: "n2".into(), datacenter: "dc2".into() },
            ],
            ..Sources::default()
        },
        hash: Text::default(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    world.write(AclCommand::RolePut { role: Box::new(role), write: Write::Create });
    world.token("t", policies(&["p1", "p2"]), |token| token.roles = vec!["r".into()]);
    assert!(world.may("t", Resource::Key, "a/x", Level::Write));
    assert!(!world.may("t", Resource::Key, "b/x", Level::Read));
    assert!(world.may("t", Resource::Service, "web", Level::Write));
    assert!(world.may("t", Resource::Node, "n1", Level::Write));
    assert!(!world.may("t", Resource::Node, "n2", Level::Write));
}

#[test]
fn nothing_outlives_its_reason() {
    let mut world = World::new(deny());
    world.policy("p", "key \"a\" { policy = \"write\" }", &[], Write::Create);
    let accessor = world.token("t", policies(&["p"]), |_| {});
    assert!(world.may("t", Resource::Key, "a", Level::Write));
    let first = world.access("t").unwrap();
    assert!(first.is_same(&world.access("t").unwrap()), "found once");
    world.token("another", Sources::default(), |_| {});
    assert!(first.is_same(&world.access("t").unwrap()), "another token does not matter");
    world.policy("p", "key \"a\" { policy = \"read\" }", &[], Write::Update);
    assert!(!world.may("t", Resource::Key, "a", Level::Write));
    assert!(world.may("t", Resource::Key, "a", Level::Read));
    assert_ne!(world.access("t").unwrap().fingerprint(), first.fingerprint());
    world.write(AclCommand::PolicyDelete { id: "p".into() });
    assert!(!world.may("t", Resource::Key, "a", Level::Read));
    world.write(AclCommand::TokensDelete { accessors: vec![accessor] });
    assert_eq!(world.access("t").unwrap_err(), UnknownToken);
}

#[test]
fn a_token_ends_when_its_time_is_over() {
    let mut world = World::new(deny());
    world.token("t", Sources::default(), |token| token.expires = Some(NOW + Duration::from_secs(1)));
    assert!(world.access("t").is_ok());
    let hash = Secret::new("t").hash();
    assert_eq!(world.acl.access_at(&world.registry, hash, NOW + Duration::from_secs(1)).unwrap_err(), UnknownToken);
}

#[test]
fn a_refusal_names_the_rule_and_the_caller() {
    let mut world = World::new(deny());
    let accessor = world.token("t", Sources::default(), |_| {});
    let text = |secret: &str, resource, name: &str, level| {
        world.access(secret).unwrap().permit(resource, name, level).unwrap_err().to_string()
    };
    assert_eq!(
        text("t", Resource::Key, "a/1", Level::Write),
        format!("Permission denied: token with AccessorID '{accessor}' lacks permission 'key:write' on \"a/1\"")
    );
    assert_eq!(
        text("anonymous", Resource::Operator, "", Level::Read),
        "Permission denied: anonymous token lacks permission 'operator:read'. The anonymous token is used implicitly \
         when a request does not specify a token."
    );
}

#[test]
fn the_recovery_token_reaches_this_node_only() {
    let mut tokens = AgentTokens::default();
    tokens.set(TokenUse::AgentRecovery, "rescue");
    let world = World::new(AclSettings { tokens, ..deny() });
    assert!(world.may("rescue", Resource::Agent, "n1", Level::Write));
    assert!(!world.may("rescue", Resource::Agent, "n2", Level::Read));
    assert!(world.may("rescue", Resource::Node, "n2", Level::Read));
}

#[test]
fn without_a_token_the_default_one_stands_in() {
    let mut world = World::new(deny());
    world.policy("p", "key \"a\" { policy = \"read\" }", &[], Write::Create);
    world.token("t", policies(&["p"]), |_| {});
    let may = |world: &World| world.acl.access(&world.registry, None).unwrap().may(Resource::Key, "a", Level::Read);
    assert!(!may(&world));
    world.acl.set_token(TokenUse::Default, "t").unwrap();
    assert!(may(&world));
    assert!(world.acl.dns_access(&world.registry).may(Resource::Key, "a", Level::Read));
    world.acl.set_token(TokenUse::Dns, "gone").unwrap();
    let dns = world.acl.dns_access(&world.registry);
    assert!(!dns.may(Resource::Key, "a", Level::Read), "a token that nobody has sees nothing");
}

#[test]
fn off_is_off() {
    let acl = Acl::new(AclSettings::default()).unwrap();
    let access = acl.access(&Registry::default(), Some(&Secret::new("anything"))).unwrap();
    assert!(access.allows(Resource::Acl, "", Level::Write) && access.fingerprint().is_none() && !access.left_out());
}

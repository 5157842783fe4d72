//! `/v1/acl/role…`: rights that several tokens share.

use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::acl::Level;
use callboard_proto::acl::rows::RoleRow;
use callboard_proto::api::acl::{Given, Role, RoleRequest};
use callboard_proto::filter::shapes::Roles;
use callboard_proto::text::Text;
use http::StatusCode;

use super::acl::{description, given, name, sources, uuid};
use super::acl_read::{Missing, row, rows};
use super::describe::*;
use super::reply::{Failure, Response, json};
use super::request::Call;
use super::routes::{Route, delete, get, put};
use crate::acl::digest;
use crate::registry::{AclCommand, AclTopic, Command, Registry, Write};

/// The longest name of a role.
const NAME_MAX: usize = 256;
const WHICH: &[Parameter] = &[parameter("policy", "Only roles with this policy, by id", Value::Text)];

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/acl/roles",
        operations: &[get("The roles", |call| Box::pin(list(call)))
            .with(&[READ, FILTER, WHICH])
            .gives(shaped::<Vec<Role>>())],
    },
    Route {
        path: "/v1/acl/role",
        operations: &[put("Makes a role", |call| Box::pin(create(call)))
            .takes(shaped::<RoleRequest>())
            .gives(shaped::<Role>())],
    },
    Route {
        path: "/v1/acl/role/name/",
        operations: &[get("One role, by name", |call| Box::pin(by_name(call))).with(&[READ]).gives(shaped::<Role>())],
    },
    Route {
        path: "/v1/acl/role/",
        operations: &[
            get("One role, by id", |call| Box::pin(by_id(call))).of("id").with(&[READ]).gives(shaped::<Role>()),
            put("Changes a role", |call| Box::pin(change(call)))
                .of("id")
                .takes(shaped::<RoleRequest>())
                .gives(shaped::<Role>()),
            delete("Removes a role, and every link to it", |call| Box::pin(remove(call)))
                .of("id")
                .gives(shaped::<bool>()),
        ],
    },
];

/// A role as it is shown.
pub(super) fn shown_role(registry: &Registry, row: &RoleRow) -> Role {
    let Given { policies, services, nodes, templated } = given(registry, &row.sources);
    Role {
        id: row.id.to_string(),
        name: row.name.to_string(),
        description: row.description.to_string(),
        policies,
        service_identities: services,
        node_identities: nodes,
        templated_policies: templated,
        hash: row.hash.to_string(),
        create_index: row.created,
        modify_index: row.modified,
    }
}

/// What is said of a role that is not there.
const MISSING: Missing = (StatusCode::NOT_FOUND, "Role not found");

async fn list(call: &Call<'_>) -> Result<Response, Failure> {
    let policy = call.params.filled("policy").map(str::to_owned);
    let shown = |registry: &Registry| {
        let wanted = |row: &&Arc<RoleRow>| {
            policy.as_ref().is_none_or(|id| row.sources.policies.iter().any(|linked| **linked == **id))
        };
        let mut roles: Vec<Role> = registry.acl_roles().filter(wanted).map(|row| shown_role(registry, row)).collect();
        roles.sort_by(|one, other| one.name.cmp(&other.name));
        roles
    };
    rows::<Roles, _>(call, AclTopic::Roles, shown).await
}

async fn by_id(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let id: Text = call.argument("Missing role ID")?.into();
    let shown = |registry: &Registry| registry.acl_role(&id).map(|row| shown_role(registry, row));
    row(call, AclTopic::Roles, shown, MISSING).await
}

async fn by_name(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let name: Text = call.argument("Missing role Name")?.into();
    let shown = |registry: &Registry| registry.acl_role_named(&name).map(|row| shown_role(registry, row));
    row(call, AclTopic::Roles, shown, MISSING).await
}

async fn create(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let request: RoleRequest = call.acl_body("Role").await?;
    if !request.id.is_empty() {
        return Err(Failure::BadRequest("Cannot specify the ID when creating a new role".to_owned()));
    }
    put_role(call, uuid::Uuid::new_v4().to_string().into(), request, Write::Create).await
}

async fn change(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let id: Text = call.argument("Missing role ID")?.into();
    let request: RoleRequest = call.acl_body("Role").await?;
    if !request.id.is_empty() && *request.id != *id {
        return Err(Failure::BadRequest("Role ID in URL and payload do not match".to_owned()));
    }
    uuid("role ID", &id)?;
    put_role(call, id, request, Write::Update).await
}

async fn put_role(call: &Call<'_>, id: Text, request: RoleRequest, write: Write) -> Result<Response, Failure> {
    let registry = call.api.cluster.registry();
    let given = Given {
        policies: request.policies,
        services: request.service_identities,
        nodes: request.node_identities,
        templated: request.templated_policies,
    };
    let name = name("Role", &request.name, NAME_MAX)?;
    let (description, sources) = (description(&request.description)?, sources(&registry, &given)?);
    let hash = digest(&(&name, &description, &sources));
    let (created, modified) = (Index::ZERO, Index::ZERO);
    let role = Box::new(RoleRow { id: id.clone(), name, description, sources, hash, created, modified });
    call.api.cluster.propose(Command::Acl(AclCommand::RolePut { role, write })).await?;
    let registry = call.api.cluster.registry();
    let row = registry.acl_role(&id).ok_or(crate::acl::UnknownToken)?;
    Ok(json(&shown_role(&registry, row), call.pretty()))
}

async fn remove(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let id: Text = call.argument("Missing role ID")?.into();
    uuid("role ID", &id)?;
    call.api.cluster.propose(Command::Acl(AclCommand::RoleDelete { id })).await?;
    Ok(json(&true, call.pretty()))
}

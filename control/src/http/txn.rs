//! `PUT /v1/txn`: several operations as one.
//!
//! An operation that is wrong in itself, or that the caller may not do, is reported by its place as one that does not
//! fit the state is; then none is done. What only reads is answered without the log.

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::catalog::{NodeService, NodeShown, RegisterRequest};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::health::HealthCheck;
use callboard_proto::api::kv::KvShown;
use callboard_proto::api::meta;
use callboard_proto::api::txn::{
    OPS_MAX, TxnCheckRequest, TxnError, TxnKvRequest, TxnNodeRequest, TxnOpRequest, TxnReadShown, TxnResult,
    TxnServiceRequest, TxnSessionRequest, TxnShown,
};
use callboard_proto::api::valid::InvalidRequest;
use callboard_proto::kv::KEY_MAX;
use callboard_proto::text::Text;
use callboard_proto::{CheckId, Index, InstanceId, NodeName};
use http::{HeaderName, HeaderValue, StatusCode};

use super::catalog_write::{new_check, registration, service_request};
use super::describe::{MODES, shaped};
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{Route, put};
use crate::acl::Access;
use crate::cluster::View;
use crate::registry::txn::{KvVerb, RowVerb};
use crate::registry::{KvCondition, TxnFault, TxnOp, TxnOutcome, TxnRow};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/txn",
    operations: &[put("Does several operations at one index, or none of them", |call| Box::pin(txn(call)))
        .with(&[MODES])
        .takes(shaped::<Vec<TxnOpRequest>>())
        .gives(shaped::<TxnShown>())
        .also(&["409"])],
}];

async fn txn(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let max = call.api.rules.load().txn_body_max;
    let body = call.body(max).await.map_err(|failure| match failure {
        Failure::TooLarge(_) => Failure::TooLarge(format!(
            "Request body too large, max size: {max} bytes. Split the transaction, or keep large values elsewhere."
        )),
        failure => failure,
    })?;
    let requests: Vec<TxnOpRequest> = from_slice(&body, Unknown::Ignore)
        .map_err(|error| Failure::BadRequest(format!("Failed to parse body: {}", error.detail())))?;
    if requests.len() > OPS_MAX {
        let text = format!("Transaction contains too many operations ({} > {OPS_MAX})", requests.len());
        return Err(Failure::TooLarge(text));
    }
    let writes = requests.iter().any(TxnOpRequest::is_write);
    let view = if writes { None } else { Some(call.api.cluster.query(options.consistency).await?) };
    let (mut ops, mut places, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (place, request) in requests.into_iter().enumerate() {
        match operation(call, request) {
            Ok(None) => {}
            Ok(Some(op)) => {
                ops.push(op);
                places.push(place);
            }
            Err(failure) => faults.push(TxnFault { op: place, what: fault(failure)? }),
        }
    }
    let outcome = if !faults.is_empty() {
        Err(faults)
    } else {
        let outcome = match &view {
            Some(view) => view.registry.transact(&ops),
            None => call.api.cluster.transact(ops).await?,
        };
        outcome.map_err(|faults| {
            faults.into_iter().map(|fault| TxnFault { op: places[fault.op], ..fault }).collect::<Vec<_>>()
        })
    };
    let shown = show(outcome, &call.access()?, call.api.datacenter());
    answer(call, shown, view.as_ref())
}

/// The words of a failure that belongs to one operation; any other is the whole transaction's.
fn fault(failure: Failure) -> Result<String, Failure> {
    match failure {
        Failure::BadRequest(what) | Failure::Refused(what) => Ok(what),
        Failure::Denied(denial) => Ok(denial.to_string()),
        // A token that nobody has, and whatever else is not about one operation.
        failure => Err(failure),
    }
}

fn answer(call: &Call<'_>, shown: TxnShown, view: Option<&View>) -> Result<Response, Failure> {
    let failed = shown.errors.is_some();
    let mut response = match view {
        None => reply::json(&shown, call.pretty()),
        Some(view) => {
            let known_leader = view.known_leader;
            let read = TxnReadShown { shown, index: 1, known_leader, ..TxnReadShown::default() };
            let mut response = reply::json(&read, call.pretty());
            let headers = response.headers_mut();
            let known = if known_leader { "true" } else { "false" };
            headers.insert(HeaderName::from_static(meta::KNOWN_LEADER), HeaderValue::from_static(known));
            headers.insert(HeaderName::from_static(meta::LAST_CONTACT), HeaderValue::from_static("0"));
            response
        }
    };
    if failed {
        *response.status_mut() = StatusCode::CONFLICT;
    }
    Ok(response)
}

fn show(outcome: TxnOutcome, access: &Access, datacenter: &Text) -> TxnShown {
    match outcome {
        Ok(rows) => TxnShown {
            results: Some(
                rows.iter().filter(|row| is_visible(row, access)).map(|row| result(row, datacenter)).collect(),
            ),
            errors: None,
        },
        Err(faults) => TxnShown {
            results: None,
            errors: Some(faults.into_iter().map(|fault| TxnError { op_index: fault.op, what: fault.what }).collect()),
        },
    }
}

fn is_visible(row: &TxnRow, access: &Access) -> bool {
    match row {
        TxnRow::Kv(entry) => access.allows(Resource::Key, &entry.key, Level::Read),
        TxnRow::Node(node) => access.allows(Resource::Node, node.name.as_str(), Level::Read),
        TxnRow::Instance(instance) => access.allows(Resource::Service, instance.service.as_str(), Level::Read),
        TxnRow::Check(check) if check.instance.is_none() => {
            access.allows(Resource::Node, check.node.as_str(), Level::Read)
        }
        TxnRow::Check(check) => access.allows(Resource::Service, check.service.as_str(), Level::Read),
    }
}

fn result(row: &TxnRow, datacenter: &Text) -> TxnResult {
    match row {
        TxnRow::Kv(entry) => TxnResult::Kv(KvShown::of(entry)),
        TxnRow::Node(node) => TxnResult::Node(NodeShown::of(node, datacenter)),
        TxnRow::Instance(instance) => TxnResult::Service(NodeService::of(instance)),
        TxnRow::Check(check) => TxnResult::Check(HealthCheck::of(check)),
    }
}

/// One operation, valid in itself and allowed; none if it says nothing.
fn operation(call: &Call<'_>, request: TxnOpRequest) -> Result<Option<TxnOp>, Failure> {
    Ok(Some(match request {
        TxnOpRequest { kv: Some(request), .. } => key_operation(call, request)?,
        TxnOpRequest { node: Some(request), .. } => node_operation(call, request)?,
        TxnOpRequest { service: Some(request), .. } => service_operation(call, request)?,
        TxnOpRequest { check: Some(request), .. } => check_operation(call, request)?,
        TxnOpRequest { session: Some(request), .. } => session_operation(call, &request)?,
        _ => return Ok(None),
    }))
}

fn key_operation(call: &Call<'_>, request: TxnKvRequest) -> Result<TxnOp, Failure> {
    let value = request.value.0;
    let max = call.api.rules.load().kv_value_max;
    if value.len() > max {
        let text = format!("Value for key {:?} is too large ({} > {max} bytes)", request.key, value.len());
        return Err(Failure::TooLarge(text));
    }
    let condition = |condition| KvVerb::Set { value: value[..].into(), flags: request.flags, condition };
    let session = Text::from(request.session.to_ascii_lowercase());
    let verb = match request.verb.as_str() {
        "set" => condition(KvCondition::Always),
        "cas" => condition(KvCondition::Cas(Index(request.index))),
        "lock" => condition(KvCondition::Acquire { session, seen: Index::ZERO }),
        "unlock" => condition(KvCondition::Release(session)),
        "get" => KvVerb::Get,
        "get-or-empty" => KvVerb::GetOrEmpty,
        "get-tree" => KvVerb::GetTree,
        "check-index" => KvVerb::CheckIndex(Index(request.index)),
        "check-session" => KvVerb::CheckSession(session),
        "check-not-exists" => KvVerb::CheckNotExists,
        "delete" => KvVerb::Delete(None),
        "delete-cas" => KvVerb::Delete(Some(Index(request.index))),
        "delete-tree" => KvVerb::DeleteTree,
        verb => return Err(unknown("KV", verb)),
    };
    if request.key.is_empty() && !matches!(verb, KvVerb::GetTree | KvVerb::DeleteTree) {
        return Err(Failure::BadRequest("Must provide key".to_owned()));
    }
    if request.key.len() > KEY_MAX {
        let length = request.key.len();
        return Err(Failure::BadRequest(format!("key is {length} bytes long; at most {KEY_MAX} are accepted")));
    }
    let op = TxnOp::Kv(request.key.into(), verb);
    match &op {
        // Leaves out what the caller may not see.
        TxnOp::Kv(_, KvVerb::GetTree) => {}
        TxnOp::Kv(key, KvVerb::DeleteTree) => call.access()?.permit_all_under(Resource::Key, key, Level::Write)?,
        TxnOp::Kv(key, _) => call.permit(Resource::Key, key, level(&op))?,
        _ => {}
    }
    Ok(op)
}

fn node_operation(call: &Call<'_>, request: TxnNodeRequest) -> Result<TxnOp, Failure> {
    let node = request.node;
    call.is_ours(&node.datacenter)?;
    let name = node_name(&node.node)?;
    let verb = verb("Node", &request.verb, Index(node.modify_index), || {
        let request = RegisterRequest {
            id: node.id,
            node: node.node,
            address: node.address,
            tagged_addresses: node.tagged_addresses,
            node_meta: node.meta,
            ..RegisterRequest::default()
        };
        Ok(registration(request)?.node)
    })?;
    let op = TxnOp::Node(name.clone(), verb);
    call.permit(Resource::Node, name.as_str(), level(&op))?;
    Ok(op)
}

fn service_operation(call: &Call<'_>, request: TxnServiceRequest) -> Result<TxnOp, Failure> {
    let node = node_name(&request.node)?;
    let service = request.service;
    let (written, asked) =
        (service.service.clone(), if service.id.is_empty() { &service.service } else { &service.id });
    let id = InstanceId::parse(asked).map_err(|error| InvalidRequest(format!("Invalid Service ID: {error}")))?;
    let index = Index(service.modify_index);
    let verb = verb("Service", &request.verb, index, || match service.service.is_empty() {
        true => Err(Failure::Refused("Must provide service name with ID".to_owned())),
        false => Ok(service_request(service).instance()?),
    })?;
    let op = TxnOp::Instance(node.clone(), id.clone(), verb);
    // The service that it is, and the one that it becomes.
    let known = call.api.cluster.registry().instance(&node, id.as_str()).map(|known| known.service.clone());
    if let Some(known) = &known {
        call.permit(Resource::Service, known.as_str(), level(&op))?;
    }
    if !written.is_empty() && known.is_none_or(|known| known.as_str() != written) {
        call.permit(Resource::Service, &written, level(&op))?;
    }
    Ok(op)
}

fn check_operation(call: &Call<'_>, request: TxnCheckRequest) -> Result<TxnOp, Failure> {
    let check = request.check;
    let node = node_name(&check.node)?;
    let asked = if check.id.is_empty() { &check.name } else { &check.id };
    let id = CheckId::parse(asked).map_err(|error| InvalidRequest(format!("Invalid CheckID: {error}")))?;
    let (index, instance) = (Index(check.modify_index), check.service_id.clone());
    let verb = verb("Check", &request.verb, index, || new_check(check, &node))?;
    let op = TxnOp::Check(node.clone(), id.clone(), verb);
    let registry = call.api.cluster.registry();
    let known = registry.check(&node, id.as_str()).map(|check| check.instance.as_str().to_owned());
    // What it is about, and what it will be about.
    let given = (known.is_none() || matches!(op, TxnOp::Check(_, _, RowVerb::Set(..)))).then_some(instance);
    for about in known.into_iter().chain(given) {
        match registry.instance(&node, &about) {
            Some(instance) => call.permit(Resource::Service, instance.service.as_str(), level(&op))?,
            None if about.is_empty() => call.permit(Resource::Node, node.as_str(), level(&op))?,
            // Only an operation before this one can make that instance, and it needs leave for that.
            None => {}
        }
    }
    Ok(op)
}

fn session_operation(call: &Call<'_>, request: &TxnSessionRequest) -> Result<TxnOp, Failure> {
    if request.verb != "delete" {
        return Err(unknown("Session", &request.verb));
    }
    let id = Text::from(request.session.id.to_ascii_lowercase());
    if let Some(session) = call.api.cluster.registry().session(&id) {
        call.permit(Resource::Session, session.node.as_str(), Level::Write)?;
    }
    Ok(TxnOp::SessionDelete(id))
}

fn level(op: &TxnOp) -> Level {
    if op.is_read() { Level::Read } else { Level::Write }
}

fn node_name(text: &str) -> Result<NodeName, Failure> {
    match text {
        "" => Err(Failure::Refused("Must provide node".to_owned())),
        text => Ok(NodeName::parse(text).map_err(|error| InvalidRequest(format!("Invalid Node: {error}")))?),
    }
}

fn unknown(kind: &str, verb: &str) -> Failure {
    Failure::BadRequest(format!("unknown {kind} verb {:?}", verb.chars().take(64).collect::<String>()))
}

/// The verb of a row of the catalog.
fn verb<T>(
    kind: &str,
    verb: &str,
    index: Index,
    row: impl FnOnce() -> Result<T, Failure>,
) -> Result<RowVerb<T>, Failure> {
    Ok(match verb {
        "get" => RowVerb::Get,
        "set" => RowVerb::Set(Box::new(row()?), None),
        "cas" => RowVerb::Set(Box::new(row()?), Some(index)),
        "delete" => RowVerb::Delete(None),
        "delete-cas" => RowVerb::Delete(Some(index)),
        verb => return Err(unknown(kind, verb)),
    })
}

//! The crate `rs-consul`, used as its users do: keys, a lock that two contend for, registration, and watching nodes.
//! Says each step on a line of its own. Usage: `callboard-interop-rs-consul http://127.0.0.1:8500`.

use std::time::Duration;

use rs_consul::{
    Config, Consul, ConsulError, CreateOrUpdateKeyRequest, DeleteKeyRequest, DeregisterEntityPayload, GetNodesRequest,
    GetServiceNodesRequest, LockRequest, LockWatchRequest, QueryOptions, ReadKeyRequest, RegisterEntityCheck,
    RegisterEntityPayload, RegisterEntityService,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let address = std::env::args().nth(1).ok_or("the address of a control node is missing")?;
    let client = || Consul::new(Config { address: address.clone(), ..Config::default() });
    let consul = client();
    keys(&consul).await?;
    println!("keys");
    lock(&consul, &client()).await?;
    println!("lock");
    registration(&consul).await?;
    println!("registration");
    nodes(&consul, client()).await?;
    println!("nodes");
    Ok(())
}

async fn keys(consul: &Consul) -> Outcome {
    let write = |key, check_and_set| CreateOrUpdateKeyRequest { key, check_and_set, ..Default::default() };
    assert!(consul.create_or_update_key(write("rust/a", None), b"1".to_vec()).await?.0);
    assert!(!consul.create_or_update_key(write("rust/a", Some(0)), b"2".to_vec()).await?.0, "it is there already");
    let read = ReadKeyRequest { key: "rust/a", ..Default::default() };
    let found = consul.read_key(read.clone()).await?;
    assert_eq!(found.response[0].value.as_deref(), Some("1"));
    assert!(found.index > 0, "the index is read");
    // A read that waits for the next change.
    let next = ReadKeyRequest { index: Some(found.index), wait: Duration::from_secs(30), ..read };
    let cas = Some(i64::try_from(found.index)?);
    let (changed, written) =
        tokio::join!(consul.read_key(next), consul.create_or_update_key(write("rust/a", cas), b"3".to_vec()));
    assert!(written?.0);
    assert_eq!(changed?.response[0].value.as_deref(), Some("3"));
    assert!(consul.delete_key(DeleteKeyRequest { key: "rust/", recurse: true, ..Default::default() }).await?);
    Ok(())
}

async fn lock(one: &Consul, other: &Consul) -> Outcome {
    let request = LockRequest { key: "rust/lock", lock_delay: Duration::ZERO, ..Default::default() };
    let held = one.get_lock(request, b"one").await?;
    let index = match other.get_lock(request, b"other").await {
        Err(ConsulError::LockAcquisitionFailure(index)) => index,
        Err(error) => return Err(error.into()),
        Ok(_) => return Err("the lock has two holders".into()),
    };
    let watch =
        LockWatchRequest { key: "rust/lock", index: Some(index), wait: Duration::from_secs(30), ..Default::default() };
    // Dropping it releases it, by a request that blocks.
    let released = tokio::task::block_in_place(|| drop(held));
    let seen = other.watch_lock(watch).await?;
    assert_eq!(seen.response[0].session, None, "{released:?}");
    let taken = other.get_lock(request, b"other").await?;
    assert_eq!(taken.value.as_deref(), Some(&b"other"[..]));
    tokio::task::block_in_place(|| drop(taken));
    Ok(())
}

async fn registration(consul: &Consul) -> Outcome {
    let service = RegisterEntityService::builder()
        .ID("rust-1".to_owned())
        .Service("rust".to_owned())
        .Tags(vec!["v1".to_owned()])
        .Port(8080)
        .build();
    let check = RegisterEntityCheck::builder()
        .Name("alive".to_owned())
        .Status("passing".to_owned())
        .ServiceID("rust-1".to_owned())
        .build();
    let entity = RegisterEntityPayload::builder()
        .Node("outside".to_owned())
        .Address("10.0.0.7".to_owned())
        .Service(service)
        .Checks(vec![check])
        .build();
    consul.register_entity(&entity).await?;
    let mut names = consul.get_all_registered_service_names(None).await?.response;
    names.sort();
    assert_eq!(names, ["consul", "rust"]);
    let asked = GetServiceNodesRequest { service: "rust", passing: true, ..Default::default() };
    let found = consul.get_service_nodes(asked, None).await?.response;
    assert_eq!((found[0].service.id.as_str(), found[0].service.tags.as_slice()), ("rust-1", &["v1".to_owned()][..]));
    let places = consul.get_service_addresses_and_ports("rust", None).await?;
    assert_eq!(places, [("10.0.0.7".to_owned(), 8080)]);
    Ok(())
}

/// Watches the instances of a service while its node leaves. The crate's list of nodes waits for nothing; its list of a
/// service's nodes does.
async fn nodes(consul: &Consul, other: Consul) -> Outcome {
    let names = |nodes: &[rs_consul::CatalogNode]| nodes.iter().map(|node| node.node.clone()).collect::<Vec<_>>();
    let all = consul.get_nodes(GetNodesRequest::default(), None).await?.response;
    assert_eq!(names(&all), ["n1", "outside"]);
    let filtered = GetNodesRequest { filter: Some("Node==outside"), near: Some("n1") };
    assert_eq!(names(&consul.get_nodes(filtered, None).await?.response), ["outside"]);
    let service = GetServiceNodesRequest { service: "rust", ..Default::default() };
    let before = consul.get_service_nodes(service.clone(), None).await?;
    let options = QueryOptions {
        index: Some(before.index),
        wait: Some(Duration::from_secs(30)),
        timeout: Some(Duration::from_secs(40)),
        ..Default::default()
    };
    let gone = DeregisterEntityPayload::builder().Node("outside".to_owned()).build();
    let (after, left) = tokio::join!(consul.get_service_nodes(service, Some(options)), other.deregister_entity(&gone));
    left?;
    let after = after?;
    assert!(after.index > before.index && after.response.is_empty(), "{after:?}");
    assert_eq!(names(&consul.get_nodes(GetNodesRequest::default(), None).await?.response), ["n1"]);
    Ok(())
}

//! Any bytes as the archive of a snapshot: it is refused, or the state in it is sound, goes on and is written again.
//!
//! Random bytes stop at the first checksum, so the first byte says what the others are: an archive, the files of one
//! whose checksums are right, or changes of a sound state in one.
#![no_main]
// The control node's own modules; not all of each is used here.
#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../../../control/src/registry/mod.rs"]
mod registry;
#[path = "../../../control/src/snapshot.rs"]
mod snapshot;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use callboard_proto::coordinate::Coordinate;
use callboard_proto::session::{SessionBehavior, SessionRow};
use callboard_proto::text::Text;
use callboard_proto::{Index, Instance, InstanceId, Node, NodeName, ServiceName};
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA256, digest};

use registry::{
    AutopilotCommand, AutopilotSettings, Command, KvCondition, NodeUpdate, Place, QueryBody, QueryCommand,
    Registration, Registry, Touched,
};

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut registry = Registry::default();
    commands().into_iter().for_each(|command| drop(registry.apply(command, &mut Touched::default())));
    registry.audit().expect("the example is sound");
    bytes(&registry)
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else { return };
    match kind % 4 {
        0 => read(input),
        1 => read(&pack(br#"{"ID":"a","Index":1,"Size":1,"Format":3,"Version":"1"}"#, input)),
        2 => read(&pack(input, &SOUND)),
        _ => {
            let mut state = SOUND.clone();
            for change in input.chunks_exact(3) {
                let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % state.len();
                state[place] = change[2];
            }
            read(&pack(br#"{"ID":"a","Index":1,"Size":1,"Format":3,"Version":"1"}"#, &state));
        }
    }
});

fn read(archive: &[u8]) {
    let Ok(unpacked) = snapshot::read(archive) else { return };
    let mut registry = Registry::read_from(&mut unpacked.state.as_slice()).expect("it was read before");
    // The bytes may be another spelling of the state; what is written is the one that stays.
    let written = bytes(&registry);
    let again = Registry::read_from(&mut written.as_slice()).expect("what is written can be read");
    assert_eq!(bytes(&again), written);
    // An index near the end of all numbers leaves no room for what follows.
    if registry.index() > Index(u64::MAX / 2) {
        return;
    }
    for command in commands() {
        registry.apply(command, &mut Touched::default());
        assert_eq!(registry.audit(), Ok(()));
    }
}

fn bytes(registry: &Registry) -> Vec<u8> {
    let mut bytes = Vec::new();
    registry.write_to(&mut bytes).expect("memory takes everything");
    bytes
}

/// An archive whose checksums are right.
fn pack(meta: &[u8], state: &[u8]) -> Vec<u8> {
    let sum = |bytes| digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sums = format!("{}  meta.json\n{}  state.bin\n", sum(meta), sum(state));
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in [("meta.json", meta), ("state.bin", state), ("SHA256SUMS", sums.as_bytes())] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).expect("memory takes everything");
    }
    tar.into_inner().and_then(GzEncoder::finish).expect("memory takes everything")
}

/// A little of what most tables hold: an instance and its proxy, a lock that is held, a key that is gone, an entry, a
/// query, a place in the network, settings of autopilot.
fn commands() -> Vec<Command> {
    let node = NodeName::parse("n1").expect("a name");
    let instance = Instance {
        id: InstanceId::parse("web-1").expect("an id"),
        service: ServiceName::parse("web").expect("a name"),
        port: 80,
        ..Instance::default()
    };
    let session = SessionRow {
        id: "s".into(),
        name: Text::default(),
        node: node.clone(),
        lock_delay: Duration::from_secs(1),
        behavior: SessionBehavior::Release,
        ttl: Text::default(),
        node_checks: Vec::new(),
        service_checks: Vec::new(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    let proxy = Instance {
        id: InstanceId::parse("web-proxy").expect("an id"),
        service: ServiceName::parse("proxy").expect("a name"),
        kind: "connect-proxy".into(),
        proxy: r#"{"DestinationServiceName":"web"}"#.into(),
        ..Instance::default()
    };
    let registered = |instance| {
        Command::Register(Box::new(Registration {
            node: Node { name: node.clone(), id: "id".into(), address: "127.0.0.1".into(), ..Node::default() },
            node_update: NodeUpdate::Put,
            instance: Some(instance),
            checks: Vec::new(),
            checks_replace: false,
        }))
    };
    let query = r#"{"ID":"00000000-0000-4000-8000-000000000000","Name":"q","Service":{"Service":"web"}}"#;
    let place = Place { node: node.clone(), segment: Text::default(), coordinate: Coordinate::default() };
    let set = |key: &str, condition| Command::KvSet { key: key.into(), value: Arc::from(*b"v"), flags: 7, condition };
    vec![
        registered(instance),
        registered(proxy),
        Command::SessionCreate(Box::new(session)),
        set("gone", KvCondition::Always),
        Command::KvDelete { key: "gone".into(), cas: None },
        set("lock", KvCondition::Acquire { session: "s".into(), seen: Index(u64::MAX) }),
        Command::Query(QueryCommand::Create(QueryBody(query.into()))),
        Command::Place(vec![place]),
        Command::Autopilot(AutopilotCommand::Begin(AutopilotSettings::default())),
        Command::ConfigSet { body: r#"{"Kind":"service-defaults","Name":"web","Protocol":"http"}"#.into(), cas: None },
    ]
}

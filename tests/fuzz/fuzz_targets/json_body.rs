//! Any bytes as the bodies and query strings that clients send: they are refused, or what comes out is valid.
#![no_main]

use callboard_proto::api::agent::ServiceRequest;
use callboard_proto::api::catalog::{DeregisterRequest, RegisterRequest};
use callboard_proto::api::check::CheckRequest;
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::query::{Params, ReadOptions};
use callboard_proto::api::session::{SessionRequest, TTL_MIN};
use callboard_proto::config_entry::ConfigEntry;
use callboard_proto::duration::GoDuration;
use callboard_proto::{InstanceId, NodeName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let node = NodeName::parse("n1").expect("a plain name");
    for unknown in [Unknown::Refuse, Unknown::Ignore] {
        if let Ok(request) = from_slice::<ServiceRequest>(body, unknown) {
            let _ = request.validate(&node);
        }
        if let Ok(request) = from_slice::<CheckRequest>(body, unknown) {
            let _ = request.validate(&node, InstanceId::none(), None, None);
        }
        let _ = from_slice::<RegisterRequest>(body, unknown);
        let _ = from_slice::<DeregisterRequest>(body, unknown);
        if let Ok(request) = from_slice::<SessionRequest>(body, unknown) {
            let _ = request.validate("id", &node, TTL_MIN);
        }
    }
    if let Ok(entry) = ConfigEntry::parse(body) {
        // What was accepted is accepted again as it is stored.
        let stored = serde_json::to_vec(&entry).expect("an entry is JSON");
        assert_eq!(ConfigEntry::parse(&stored), Ok(entry));
    }
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(params) = Params::parse(text) {
        let _ = ReadOptions::from_params(&params);
    }
    let _ = GoDuration::parse(text);
});

//! Any text as a filter over health entries: it is refused, or it can be printed, read again and evaluated.
#![no_main]

use std::sync::LazyLock;

use callboard_proto::api::health::ServiceEntry;
use callboard_proto::filter::{Expression, Filter};
use libfuzzer_sys::fuzz_target;

static ROW: LazyLock<ServiceEntry> = LazyLock::new(|| {
    let row = serde_json::json!({
        "Node": {"ID": "1", "Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1", "Meta": {"os": "linux"}},
        "Service": {"ID": "web-1", "Service": "web", "Tags": ["v1"], "Port": 80, "Meta": {"env": "prod"},
            "Proxy": {"Upstreams": [{"DestinationName": "db"}]}},
        "Checks": [{"Node": "n1", "CheckID": "c", "Name": "c", "Status": "passing"}],
    });
    serde_json::from_value(row).expect("the row is well formed")
});

fuzz_target!(|text: &str| {
    let Ok(expression) = Expression::parse(text) else { return };
    let printed = expression.to_string();
    // Printing quotes every value, so it may pass the bound on length that the text kept.
    if printed.len() <= callboard_proto::filter::TEXT_BYTES_MAX {
        assert_eq!(Expression::parse(&printed).as_ref(), Ok(&expression), "{printed}");
    }
    if let Ok(filter) = Filter::<ServiceEntry>::bind(&expression) {
        let _ = filter.matches(&ROW);
    }
});

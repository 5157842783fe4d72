//! Bad config entries, sessions and events: cut, of the wrong kind, unknown, and contradicting themselves.

use serde_json::{Value, json};

use crate::requests::{Request, bad};

const CONFIG: &str = "/v1/config";
const SESSION: &str = "/v1/session/create";

/// Adds them.
pub(crate) fn add(all: &mut Vec<Request>) {
    let refused = |request: Request| request.answered(&[500]);
    let entries = [
        json!({"Kind": "service-resolver", "Name": "m", "Subsets": {"a": {"Filter": "Service.Port == 1"}}}),
        json!({"Kind": "service-router", "Name": "m", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/"}}}]}),
    ];
    for (path, body, says) in [
        (CONFIG, &entries[0], "Request decoding failed"),
        (CONFIG, &entries[1], "Request decoding failed"),
        (SESSION, &json!({"Name": "m", "TTL": "15s", "LockDelay": "1s"}), "Request decode failed"),
    ] {
        let text = body.to_string();
        for cut in (1..text.len()).step_by(2) {
            all.push(bad("PUT", path, &text.as_bytes()[..cut], says));
        }
        for garbage in ["1", "[]", "\"text\"", "{\"", "{}{}", "<xml/>", "\u{0}\u{1}"] {
            all.push(bad("PUT", path, garbage, says));
        }
        all.push(bad("PUT", path, vec![0xff, 0xfe, b'{'], says));
        all.push(bad("PUT", path, format!("{{\"Name\":{}", "[".repeat(100_000)), says));
    }
    for (kind, fields) in [
        ("service-resolver", vec!["Subsets", "ConnectTimeout", "LoadBalancer", "Redirect", "Failover", "Meta"]),
        ("service-splitter", vec!["Splits"]),
        ("service-router", vec!["Routes"]),
        ("service-defaults", vec!["Protocol", "MaxInboundConnections", "UpstreamConfig"]),
    ] {
        for field in fields {
            for value in [json!(true), json!([[1]]), json!("x y"), json!(-1.5)] {
                // A text is a protocol, the only field of these that may be one.
                if field == "Protocol" && value.is_string() {
                    continue;
                }
                let mut body = json!({"Kind": kind, "Name": "m"});
                body[field] = value;
                all.push(bad("PUT", CONFIG, body.to_string(), field));
            }
        }
        all.push(bad(
            "PUT",
            CONFIG,
            json!({"Kind": kind, "Name": "m", "Nope": 1}).to_string(),
            "unknown field \"Nope\"",
        ));
        all.push(refused(bad("PUT", CONFIG, json!({"Kind": kind, "Name": ""}).to_string(), "Name is required")));
        all.push(refused(bad("PUT", CONFIG, json!({"Kind": kind, "Name": "x".repeat(600)}).to_string(), "512")));
    }
    all.push(bad("PUT", "/v1/config?cas=x", entries[0].to_string(), "cas"));
    all.push(refused(bad("GET", "/v1/config/odd", "", "invalid config entry kind: odd")));
    let missing = |method| bad(method, "/v1/config/", "", "Must provide").answered(&[404]);
    all.extend([missing("GET"), missing("DELETE")]);

    let session: [(Value, &str); 6] = [
        (json!({"TTL": "9s"}), "Invalid Session TTL"),
        (json!({"TTL": "-1s"}), "Invalid Session TTL"),
        (json!({"TTL": "soon"}), "Session TTL 'soon' invalid"),
        (json!({"Behavior": "vanish"}), "Invalid Behavior setting 'vanish'"),
        (json!({"Node": "nobody"}), "Missing node registration"),
        (json!({"NodeChecks": ["nope"]}), "Missing check 'nope' registration"),
    ];
    all.extend(session.map(|(body, says)| refused(bad("PUT", SESSION, body.to_string(), says))));
    for (field, value) in [("TTL", json!(10)), ("LockDelay", json!([])), ("NodeChecks", json!("x")), ("Name", json!(1))]
    {
        let mut body = json!({});
        body[field] = value;
        all.push(bad("PUT", SESSION, body.to_string(), field));
    }
    let many: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    all.push(refused(bad("PUT", SESSION, json!({"NodeChecks": many}).to_string(), "at most 64")));
    all.push(bad("PUT", "/v1/session/destroy/", "", "Missing session"));
    all.push(bad("PUT", "/v1/session/renew/", "", "Missing session"));
    all.push(bad("PUT", "/v1/session/renew/none", "", "Session id 'none' not found").answered(&[404]));
    all.push(refused(bad("PUT", "/v1/kv/m?acquire=none", "x", "invalid session")));

    all.push(bad("PUT", "/v1/event/fire/", "x", "Missing name"));
    for filter in ["node", "service"] {
        let path = format!("/v1/event/fire/m?{filter}=%5B");
        all.push(refused(bad("PUT", path, "x", format!("Invalid {filter} filter"))));
    }
    all.push(refused(bad("PUT", "/v1/event/fire/m?tag=x", "x", "tag filter without service filter")));
    all.push(refused(bad("PUT", "/v1/event/fire/m", vec![b'x'; 513], "limit of 512 bytes")));
    all.push(bad("PUT", "/v1/event/fire/m", vec![b'x'; 600_000], "too large").answered(&[413]));
    all.push(bad("GET", "/v1/event/list?index=x", "", "Invalid index"));
}

//! Bad HTTP requests: good ones from a table, each mutated in every way that the table's field allows.

use callboard_tests::http::Http;
use serde_json::{Value, json};

/// A request, the statuses it may be answered with, and a word that the answer must hold, whatever its case.
pub(crate) struct Request {
    method: &'static str,
    path: String,
    body: Vec<u8>,
    statuses: &'static [u16],
    names: String,
}

impl Request {
    /// The same, answered with another status.
    pub(crate) fn answered(self, statuses: &'static [u16]) -> Request {
        Request { statuses, ..self }
    }

    /// What is wrong with the answer, if anything.
    pub(crate) fn verdict(&self, http: &Http) -> Option<String> {
        let mut shown = String::from_utf8_lossy(&self.body).into_owned();
        shown.truncate(shown.floor_char_boundary(160));
        let mut path = self.path.clone();
        path.truncate(path.floor_char_boundary(160));
        let said = format!("{} {path} {shown}", self.method);
        match http.request(self.method, &self.path, &self.body) {
            Err(error) => Some(format!("{said}: no answer: {error}")),
            Ok(reply) if !self.statuses.contains(&reply.status) => {
                Some(format!("{said}: answered {} {}", reply.status, reply.text()))
            }
            Ok(reply) if !reply.text().to_lowercase().contains(&self.names.to_lowercase()) => {
                Some(format!("{said}: the text does not name {:?}: {} {}", self.names, reply.status, reply.text()))
            }
            Ok(_) => None,
        }
    }
}

/// A request that is answered 400.
pub(crate) fn bad(
    method: &'static str,
    path: impl Into<String>,
    body: impl Into<Vec<u8>>,
    names: impl Into<String>,
) -> Request {
    Request { method, path: path.into(), body: body.into(), statuses: &[400], names: names.into() }
}

const SERVICE: &str = "/v1/agent/service/register";
const CHECK: &str = "/v1/agent/check/register";
const CATALOG: &str = "/v1/catalog/register";
const LEAVE: &str = "/v1/catalog/deregister";

/// Every bad request.
pub(crate) fn all() -> Vec<Request> {
    let mut all = Vec::new();
    cut_json(&mut all);
    wrong_types(&mut all);
    unknown_fields(&mut all);
    bad_checks(&mut all);
    bad_durations(&mut all);
    over_long(&mut all);
    bad_queries(&mut all);
    bad_filters(&mut all);
    wrong_methods(&mut all);
    crate::rules::add(&mut all);
    all
}

/// Good bodies cut at every few bytes, and bytes that are no JSON.
fn cut_json(all: &mut Vec<Request>) {
    let service =
        json!({"ID": "a", "Name": "a", "Port": 1, "Tags": ["x"], "Meta": {"k": "v"}, "Check": {"TTL": "10s"}});
    let check = json!({"Name": "c", "TTL": "10s", "Notes": "text"});
    let catalog = json!({"Node": "e", "Address": "1.2.3.4", "Service": {"Service": "x", "Port": 1}});
    for (path, body) in [(SERVICE, service), (CHECK, check), (CATALOG, catalog), (LEAVE, json!({"Node": "nobody"}))] {
        let text = body.to_string();
        for cut in (0..text.len()).step_by(2) {
            all.push(bad("PUT", path, &text.as_bytes()[..cut], "Request decode failed"));
        }
        // `null` is the empty body here, which the catalog endpoints refuse as Consul does, with 500.
        let null = if path.starts_with("/v1/agent") { "null" } else { "nul" };
        for garbage in [null, "1", "[]", "\"text\"", "{\"", "{}{}", "<xml/>", "{'Name':'a'}", "\u{0}\u{1}"] {
            all.push(bad("PUT", path, garbage, ""));
        }
        all.push(bad("PUT", path, vec![0xff, 0xfe, b'{'], "Request decode failed"));
        // Deeper than any reader should follow.
        all.push(bad("PUT", path, format!("{{\"Name\":{}", "[".repeat(100_000)), "Request decode failed"));
    }
}

/// Each field with values of the wrong kind; the answer names the field.
fn wrong_types(all: &mut Vec<Request>) {
    let text = [json!(1), json!(true), json!([]), json!({})];
    let number = [json!("80"), json!(true), json!([]), json!({}), json!(1.5), json!(-1), json!(70_000)];
    let list = [json!("x"), json!(1), json!({}), json!([1]), json!([{}])];
    let map = [json!("x"), json!(1), json!([1]), json!({"a": 1}), json!({"a": []})];
    let flag = [json!("true"), json!(1), json!([])];
    let object = [json!("x"), json!(1), json!([1]), json!(true)];
    let service: [(&str, &[Value]); 10] = [
        ("ID", &text),
        ("Name", &text),
        ("Address", &text),
        ("Port", &number),
        ("Tags", &list),
        ("Meta", &map),
        ("EnableTagOverride", &flag),
        ("Weights", &object),
        ("Check", &object),
        ("Checks", &object),
    ];
    for (field, values) in service {
        for value in values {
            let mut body = json!({"Name": "a"});
            body[field] = value.clone();
            all.push(bad("PUT", SERVICE, body.to_string(), field));
        }
    }
    let check: [(&str, &[Value]); 16] = [
        ("CheckID", &text),
        ("Notes", &text),
        ("Status", &text),
        ("ServiceID", &text),
        ("HTTP", &text),
        ("Method", &text),
        ("Body", &text),
        ("TCP", &text),
        ("UDP", &text),
        ("GRPC", &text),
        ("H2PING", &text),
        ("AliasNode", &text),
        ("AliasService", &text),
        ("Args", &list),
        ("TLSSkipVerify", &flag),
        ("GRPCUseTLS", &flag),
    ];
    for (field, values) in check {
        for value in values {
            let mut body = json!({"Name": "c", "TTL": "10s"});
            body[field] = value.clone();
            all.push(bad("PUT", CHECK, body.to_string(), field));
            let mut inner = json!({"TTL": "10s"});
            inner[field] = value.clone();
            all.push(bad("PUT", SERVICE, json!({"Name": "a", "Check": inner}).to_string(), field));
        }
    }
    let catalog: [(&str, &[Value]); 6] = [
        ("Node", &text),
        ("Address", &text),
        ("NodeMeta", &map),
        ("Service", &object),
        ("Check", &object),
        ("SkipNodeUpdate", &flag),
    ];
    for (field, values) in catalog {
        for value in values {
            let mut body = json!({"Node": "e9", "Address": "1.2.3.4"});
            body[field] = value.clone();
            all.push(bad("PUT", CATALOG, body.to_string(), field));
        }
    }
}

/// Fields that nobody knows, on the endpoints that are strict.
fn unknown_fields(all: &mut Vec<Request>) {
    for field in ["Unknown", "Nmae", "port_number", "Checkz", "__proto__", "Täg", "x y", "$", "Script", "0"] {
        for path in [SERVICE, CHECK] {
            let mut body = json!({"Name": "a", "TTL": "10s"});
            if path == SERVICE {
                body = json!({"Name": "a"});
            }
            body[field] = json!(1);
            all.push(bad("PUT", path, body.to_string(), field));
        }
        let mut inner = json!({"TTL": "10s"});
        inner[field] = json!("x");
        all.push(bad("PUT", SERVICE, json!({"Name": "a", "Check": inner}).to_string(), field));
    }
}

/// Checks of no kind, of two kinds, of kinds that need more.
fn bad_checks(all: &mut Vec<Request>) {
    let cases = [
        (json!({}), "TTL"),
        (json!({"Interval": "10s"}), ""),
        (json!({"TTL": "10s", "Interval": "10s"}), "Interval and TTL"),
        (json!({"HTTP": "http://x"}), "Interval"),
        (json!({"TCP": "x:1"}), "Interval"),
        (json!({"UDP": "x:1"}), "Interval"),
        (json!({"H2PING": "x:1"}), "Interval"),
        (json!({"TTL": "0s"}), "TTL"),
        (json!({"TTL": "-1s"}), "TTL"),
        (json!({"TTL": "10s", "Status": "odd"}), "Status"),
        (json!({"TTL": "10s", "Status": "PASSING"}), "Status"),
        (json!({"AliasService": "web-1", "Interval": "10s", "TTL": "1s"}), ""),
        (json!({"TTL": "10s", "OutputMaxSize": -1}), "OutputMaxSize"),
        (
            json!({"TCP": "x:1", "Interval": "1s", "FailuresBeforeWarning": 3, "FailuresBeforeCritical": 1}),
            "FailuresBeforeWarning",
        ),
    ];
    for (check, names) in cases {
        let mut named = check.clone();
        named["Name"] = json!("c");
        // Status is called by other words on this endpoint; see the contract, 6.10.
        all.push(bad("PUT", CHECK, named.to_string(), names));
        if check.as_object().is_some_and(|fields| !fields.is_empty()) {
            all.push(bad("PUT", SERVICE, json!({"Name": "a", "Check": check}).to_string(), names));
        }
    }
    all.push(bad("PUT", CHECK, json!({"TTL": "10s"}).to_string(), "check name"));
    all.push(bad("PUT", SERVICE, json!({"ID": "a"}).to_string(), "service name"));
    for address in ["0.0.0.0", "::", "[::]"] {
        all.push(bad("PUT", SERVICE, json!({"Name": "a", "Address": address}).to_string(), "address"));
    }
    for weights in [
        json!({"Passing": 0, "Warning": 1}),
        json!({"Passing": -1}),
        json!({"Passing": 65_536}),
        json!({"Warning": -1}),
    ] {
        all.push(bad("PUT", SERVICE, json!({"Name": "a", "Weights": weights}).to_string(), "Weights"));
    }
    for status in ["", "odd", "Passing", "maintenance", "null"] {
        let body = json!({"Status": status}).to_string();
        all.push(bad("PUT", "/v1/agent/check/update/service:web-1", body, "status"));
    }
}

/// Durations that are none, in every field that holds one.
fn bad_durations(all: &mut Vec<Request>) {
    for text in ["abc", "10", "1x", "-", "s", "1h2", "1 s", "--1s", "1s!", "999999999999h", "١s"] {
        for (field, check) in [
            ("TTL", json!({"Name": "c"})),
            ("Interval", json!({"Name": "c", "TCP": "x:1"})),
            ("Timeout", json!({"Name": "c", "TCP": "x:1", "Interval": "1s"})),
            ("DeregisterCriticalServiceAfter", json!({"Name": "c", "TTL": "1s"})),
        ] {
            let mut check = check;
            check[field] = json!(text);
            all.push(bad("PUT", CHECK, check.to_string(), field));
            check.as_object_mut().expect("an object").remove("Name");
            all.push(bad("PUT", SERVICE, json!({"Name": "a", "Checks": [check]}).to_string(), field));
        }
        if !text.contains(' ') && text.is_ascii() {
            all.push(bad("GET", format!("/v1/health/service/web?index=1&wait={text}"), "", "wait"));
            all.push(bad("GET", format!("/v1/catalog/nodes?max_stale={text}"), "", "max_stale"));
        }
    }
    for value in [json!(true), json!([]), json!({}), json!(1e300)] {
        all.push(bad("PUT", CHECK, json!({"Name": "c", "TTL": value}).to_string(), "TTL"));
    }
}

/// Values beyond their bounds. The answer names the bound's subject; a URL that is too long is refused before it is read.
fn over_long(all: &mut Vec<Request>) {
    let long = |count: usize| "x".repeat(count);
    // The longest does not fit into any buffer on its way: the answer is read only if all of it is taken.
    for size in [524_289, 600_000, 2_000_000, 8_000_000] {
        all.push(Request { statuses: &[413], ..bad("PUT", "/v1/kv/big", long(size), "too large") });
    }
    for (key, value) in [
        (long(129), long(1)),
        (long(1000), long(1)),
        (long(1), long(513)),
        (long(1), long(5000)),
        ("bad key".into(), long(1)),
        (String::new(), long(1)),
    ] {
        let mut meta = serde_json::Map::new();
        meta.insert(key, json!(value));
        all.push(bad("PUT", SERVICE, json!({"Name": "a", "Meta": meta}).to_string(), "Meta"));
    }
    let many: serde_json::Map<String, Value> = (0..65).map(|number| (format!("k{number}"), json!("v"))).collect();
    all.push(bad("PUT", SERVICE, json!({"Name": "a", "Meta": many}).to_string(), "Meta"));
    for (path, body) in [
        (SERVICE, json!({"Name": long(1_000_000)})),
        (CATALOG, json!({"Node": long(1_000_000), "Address": "1.1.1.1"})),
        (CHECK, json!({"Name": long(1_000_000), "TTL": "1s"})),
    ] {
        all.push(Request { statuses: &[413], ..bad("PUT", path, body.to_string(), "too large") });
    }
    for size in [1000, 100_000, 400_000] {
        all.push(Request {
            statuses: &[400, 413],
            ..bad("PUT", SERVICE, json!({"Name": long(size)}).to_string(), "name")
        });
        all.push(Request {
            statuses: &[400, 413],
            ..bad("PUT", SERVICE, json!({"Name": "a", "ID": long(size)}).to_string(), "ID")
        });
        all.push(Request {
            statuses: &[400, 413],
            ..bad("PUT", CATALOG, json!({"Node": long(size), "Address": "1.1.1.1"}).to_string(), "Node")
        });
        all.push(Request {
            statuses: &[400, 413],
            ..bad("PUT", CHECK, json!({"Name": long(size), "TTL": "1s"}).to_string(), "name")
        });
    }
    for path in ["/v1/kv/", "/v1/health/service/", "/v1/catalog/node/"] {
        all.push(Request {
            statuses: &[400, 413, 414, 431],
            ..bad("GET", format!("{path}{}", long(1_000_000)), "", "")
        });
    }
}

/// Query parameters that are none.
fn bad_queries(all: &mut Vec<Request>) {
    for path in [
        "/v1/catalog/nodes",
        "/v1/catalog/services",
        "/v1/catalog/service/web",
        "/v1/health/service/web",
        "/v1/health/node/n1",
        "/v1/health/state/any",
        "/v1/kv/foo",
    ] {
        for index in ["abc", "1.5", "-2", "+1x", "0x10", "18446744073709551616"] {
            all.push(bad("GET", format!("{path}?index={index}"), "", "index"));
        }
        all.push(bad("GET", format!("{path}?stale&consistent"), "", "stale"));
        all.push(bad("GET", format!("{path}?cached&consistent"), "", "cached"));
    }
    for value in ["maybe", "2", "yes", "-", "truee"] {
        all.push(bad("GET", format!("/v1/health/service/web?passing={value}"), "", "passing"));
        all.push(bad("PUT", format!("/v1/agent/maintenance?enable={value}"), "", "enable"));
        all.push(bad("PUT", format!("/v1/agent/service/maintenance/web-1?enable={value}"), "", "enable"));
        all.push(bad("PUT", format!("/v1/kv/foo?flags={value}x"), "v", "flags"));
        all.push(bad("PUT", format!("/v1/kv/foo?cas={value}x"), "v", "cas"));
        all.push(bad("DELETE", format!("/v1/kv/foo?cas={value}x"), "", "cas"));
    }
    for path in ["/v1/kv/", "/v1/kv/?raw"] {
        all.push(bad("GET", path, "", "key name"));
    }
    all.push(bad("PUT", "/v1/kv/", "v", "key name"));
    all.push(bad("DELETE", "/v1/kv/", "", "key name"));
    all.push(bad("DELETE", "/v1/kv/a?recurse&cas=1", "", "cas"));
    all.push(bad("PUT", "/v1/kv/a?cas=1&acquire=x", "", "acquire"));
    for (path, names) in [
        ("/v1/catalog/service/", "service name"),
        ("/v1/catalog/node/", "node name"),
        ("/v1/health/service/", "service name"),
        ("/v1/health/node/", "node name"),
        ("/v1/health/state/", "check state"),
    ] {
        all.push(bad("GET", path, "", names));
    }
    for id in ["nope", "a%2Fb", "%20", "x%00y"] {
        for path in [
            "/v1/agent/service/deregister/",
            "/v1/agent/check/deregister/",
            "/v1/agent/check/pass/",
            "/v1/agent/check/warn/",
            "/v1/agent/check/fail/",
        ] {
            all.push(Request { statuses: &[400, 404], ..bad("PUT", format!("{path}{id}"), "", "") });
        }
    }
}

/// Filters that are none, of selectors that are none, too long, too deep.
fn bad_filters(all: &mut Vec<Request>) {
    let deep = format!("{}Node==a{}", "(".repeat(5000), ")".repeat(5000));
    let long = format!("Node=={}", "a".repeat(20_000));
    let expressions = [
        "not%20a%20valid%20expression((",
        "Bogus==1",
        "Node",
        "Node==",
        "==Node",
        "Node=",
        "Node==%22open",
        "Node==%60open",
        "and",
        "Node==a%20and",
        "Node==a%20or%20or%20Node==b",
        "()",
        "(Node==a",
        "Node==a)",
        "Node%20matches%20%22(%22",
        "Node%20matches%20%22a{1000000}%22",
        "%22/nope%22==a",
        "Node.Deeper==a",
        "Node[%22x%22]==a",
        "Node%20is",
        "Node%20is%20not",
        "not",
        "Node%20in%20in",
        "%00",
        "%F0%9F%98%80",
        &deep,
        &long,
    ];
    for path in [
        "/v1/catalog/nodes",
        "/v1/catalog/service/web",
        "/v1/health/service/web",
        "/v1/health/state/any",
        "/v1/agent/services",
        "/v1/agent/checks",
    ] {
        for expression in expressions {
            let path = format!(
                "{path}?filter={}",
                expression.replace(
                    "Node",
                    if path.contains("agent/services") {
                        "Service"
                    } else if path.contains("/health/service") {
                        "Service.ID"
                    } else {
                        "Node"
                    }
                )
            );
            all.push(Request {
                statuses: &[400, 414, 431],
                ..bad("GET", path, "", "Failed to create boolean expression evaluator")
            });
        }
    }
}

/// Methods that a path does not have.
fn wrong_methods(all: &mut Vec<Request>) {
    for (path, methods) in [
        (SERVICE, ["GET", "POST", "DELETE", "PATCH"]),
        (CHECK, ["GET", "POST", "DELETE", "PATCH"]),
        (CATALOG, ["GET", "POST", "DELETE", "PATCH"]),
        ("/v1/catalog/nodes", ["PUT", "POST", "DELETE", "PATCH"]),
        ("/v1/health/service/web", ["PUT", "POST", "DELETE", "PATCH"]),
        ("/v1/status/leader", ["PUT", "POST", "DELETE", "PATCH"]),
        ("/v1/agent/self", ["PUT", "POST", "DELETE", "PATCH"]),
    ] {
        for method in methods {
            all.push(Request { statuses: &[405], ..bad(method, path, "", format!("method {method} not allowed")) });
        }
    }
    for path in ["/v1/nope", "/v1", "/v1/", "/v2/kv/a", "/nope", "/v1/kvx/a"] {
        all.push(Request { statuses: &[404], ..bad("GET", path, "", "Invalid URL path") });
    }
}

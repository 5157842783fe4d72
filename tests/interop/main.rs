//! Clients and tools that nobody here wrote, against control nodes: the introductory program in Python with two client
//! packages and a real Redis, every method of those packages, the npm package `consul` with its watch, the service
//! discovery of Prometheus and VictoriaMetrics, Traefik, HAProxy, dnsmasq, `dig`, `curl`, `crypt`, Patroni with a real
//! PostgreSQL, the crate `rs-consul`, and testssl.sh on the HTTPS port; requests in the manner of consul-template and
//! Fabio. And two proxies beside the SDK: nginx and Envoy hash keys as it does.
//! `cargo verify install` gets them; without them a test passes over, or fails with `CI=true`.

mod discovery;
mod hashing;
mod intro;
mod javascript;
mod methods;
mod names;
mod page;
mod patroni;
mod patterns;
mod rust;
mod schemathesis;
mod testssl;
mod tools;
mod traefik;

use std::net::TcpListener;

/// A port that was free a moment ago, for programs that cannot choose their own and say which: none of those that the
/// system gives to whoever asks for any, and to connections, or it would soon be somebody's.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(10_000..32_768)).take(1000).find(is_free).expect("loopback has a free port")
}

/// A file of this suite's folder.
fn file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}

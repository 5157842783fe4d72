//! The local application in the registry: signed in with its checks, signed out in good order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use callboard_sidecar::{Config, Error, Server, ServiceConfig};
use common::{Instance, get, reply};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

/// A control node that answers yes to everything (or no, with a status) and tells what it heard.
async fn control(refuse: Option<StatusCode>) -> (Instance, mpsc::UnboundedReceiver<(String, String)>) {
    let (heard, receiver) = mpsc::unbounded_channel();
    let heard = Arc::new(heard);
    let instance = Instance::http1(move |request| {
        let heard = Arc::clone(&heard);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect().await.ok()?.to_bytes();
            let _ = heard.send((line.clone(), String::from_utf8_lossy(&body).into_owned()));
            let mut answer = reply(if line.contains("/v1/agent/services") { "{}" } else { "" });
            if let Some(status) = refuse {
                *answer.status_mut() = status;
            }
            Some(answer)
        }
    })
    .await;
    (instance, receiver)
}

fn config(control: &Instance, port: u16) -> Config {
    let mut config = Config::from_toml(&format!(
        "control = [\"http://{}\"]\n[service]\nname = \"web\"\nport = {port}\nid = \"web-7\"\ntags = [\"v1\"]\n\
         check_http = \"/health\"\nnode = \"n1\"\nnode_address = \"10.0.0.1\"",
        control.address
    ))
    .unwrap();
    config.timeouts.settle = Duration::ZERO;
    config
}

#[tokio::test]
async fn the_application_is_signed_in_and_goes_critical_before_it_goes() {
    let (node, mut heard) = control(None).await;
    let app = Instance::named("app").await;
    let server = Server::bind(config(&node, app.address.port())).await.unwrap();
    let admin = server.addresses().admin;
    let (shutdown, told) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async move {
        let _ = told.await;
    }));

    let (line, body) = heard.recv().await.unwrap();
    assert!(line.starts_with("PUT /v1/agent/service/register?"), "{line}");
    assert!(line.contains("node=n1") && line.contains("node-address=10.0.0.1"), "{line}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["Name"], &body["ID"], &body["Tags"][0]), (&"web".into(), &"web-7".into(), &"v1".into()));
    assert_eq!(body["Port"], app.address.port());
    // The check passes, and the beat says so.
    while !heard.recv().await.unwrap().1.contains("passing") {}
    while get(admin, "x", "/ready").await.0 != 200 {
        tokio::task::yield_now().await;
    }

    shutdown.send(()).unwrap();
    running.await.unwrap().unwrap();
    let mut rest = Vec::new();
    while let Ok(line) = heard.try_recv() {
        rest.push(line);
    }
    let critical = rest.iter().position(|(_, body)| body.contains("critical")).expect("it says that it leaves");
    let gone = rest.iter().position(|(line, _)| line.starts_with("PUT /v1/agent/service/deregister/web-7"));
    assert!(critical < gone.expect("it leaves"), "{rest:?}");
}

#[tokio::test]
async fn a_refused_registration_ends_the_sidecar_with_the_reason() {
    let (node, _heard) = control(Some(StatusCode::FORBIDDEN)).await;
    let server = Server::bind(config(&node, 8080)).await.unwrap();
    let error = server.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(&error, Error::Register { service, .. } if service == "web"), "{error:?}");
    assert_eq!((error.exit_code(), error.is_retryable()), (1, false));
}

#[tokio::test]
async fn settings_from_code_are_the_same_as_from_a_file() {
    let config = Config::from_toml("[service]\nname = \"web\"\nport = 80").unwrap();
    let ServiceConfig { name, port, check_tcp, .. } = config.service.unwrap();
    assert_eq!((name.as_str(), port, check_tcp), ("web", 80, false));
}

//! Calls of `/v1/agent/…` and `/v1/status/…`, as an application or a command line makes them.
//!
//! Each names this process's node, if the client has one. To keep a registration true, use
//! [`Client::register`] instead: these calls are made once.

use std::collections::BTreeMap;

use bytes::Bytes;
use callboard_proto::CheckStatus;
use callboard_proto::api::agent::{AgentService, ServiceRequest};
use callboard_proto::api::check::{CheckRequest, CheckUpdate};
use callboard_proto::api::health::HealthCheck;
use callboard_proto::api::query::escape;
use callboard_proto::definition::Figures;
use serde_json::Value;

use super::Client;
use crate::error::Error;

impl Client {
    /// Returns the agent's own configuration and member entry.
    ///
    /// # Errors
    /// As every call: unreachable, refused, or an answer that cannot be used.
    pub async fn agent_self(&self) -> Result<Value, Error> {
        self.api().get("/v1/agent/self").await
    }

    /// Returns the members the agent knows.
    ///
    /// # Errors
    /// As every call.
    pub async fn agent_members(&self) -> Result<Vec<Value>, Error> {
        self.api().get("/v1/agent/members").await
    }

    /// Returns the services registered on the node, by id.
    ///
    /// # Errors
    /// As every call.
    pub async fn agent_services(&self) -> Result<BTreeMap<String, AgentService>, Error> {
        let api = self.api();
        api.get(&api.agent_target("/v1/agent/services")).await
    }

    /// Returns the checks registered on the node, by id.
    ///
    /// # Errors
    /// As every call.
    pub async fn agent_checks(&self) -> Result<BTreeMap<String, HealthCheck>, Error> {
        let api = self.api();
        api.get(&api.agent_target("/v1/agent/checks")).await
    }

    /// Registers a service on the node, once.
    ///
    /// # Errors
    /// [`Error::Status`] with 400 names the field that is wrong.
    pub async fn agent_service_register(&self, service: &ServiceRequest) -> Result<(), Error> {
        let api = self.api();
        api.put_json(&api.agent_target("/v1/agent/service/register"), service).await
    }

    /// Deregisters a service of the node by its id.
    ///
    /// # Errors
    /// [`Error::Status`] with 404 when it is unknown.
    pub async fn agent_service_deregister(&self, id: &str) -> Result<(), Error> {
        let api = self.api();
        api.put(&api.agent_target(&format!("/v1/agent/service/deregister/{}", escape(id))), Bytes::new()).await
    }

    /// Puts a service of the node into maintenance, or takes it out.
    ///
    /// # Errors
    /// [`Error::Status`] with 404 when it is unknown.
    pub async fn agent_service_maintenance(&self, id: &str, on: bool, reason: &str) -> Result<(), Error> {
        let api = self.api();
        let path = format!("/v1/agent/service/maintenance/{}?enable={on}&reason={}", escape(id), escape(reason));
        api.put(&api.agent_target(&path), Bytes::new()).await
    }

    /// Puts the node into maintenance, or takes it out.
    ///
    /// # Errors
    /// As every call.
    pub async fn agent_maintenance(&self, on: bool, reason: &str) -> Result<(), Error> {
        let api = self.api();
        let path = format!("/v1/agent/maintenance?enable={on}&reason={}", escape(reason));
        api.put(&api.agent_target(&path), Bytes::new()).await
    }

    /// Registers a check on the node, once.
    ///
    /// # Errors
    /// [`Error::Status`] with 400 names the field that is wrong, 404 the service it is about.
    pub async fn agent_check_register(&self, check: &CheckRequest) -> Result<(), Error> {
        let api = self.api();
        api.put_json(&api.agent_target("/v1/agent/check/register"), check).await
    }

    /// Deregisters a check of the node.
    ///
    /// # Errors
    /// [`Error::Status`] with 404 when it is unknown.
    pub async fn agent_check_deregister(&self, id: &str) -> Result<(), Error> {
        let api = self.api();
        api.put(&api.agent_target(&format!("/v1/agent/check/deregister/{}", escape(id))), Bytes::new()).await
    }

    /// Beats a TTL check.
    ///
    /// # Errors
    /// [`Error::Status`] with 404 when it is unknown, 500 when it has no TTL.
    pub async fn agent_check_update(
        &self,
        id: &str,
        status: CheckStatus,
        output: &str,
        figures: Option<Figures>,
    ) -> Result<(), Error> {
        let api = self.api();
        let update = CheckUpdate { status: status.as_str().to_owned(), output: output.to_owned(), figures };
        api.put_json(&api.agent_target(&format!("/v1/agent/check/update/{}", escape(id))), &update).await
    }

    /// Returns the address of the leader; empty when there is none.
    ///
    /// # Errors
    /// As every call.
    pub async fn status_leader(&self) -> Result<String, Error> {
        self.api().get("/v1/status/leader").await
    }

    /// Returns the addresses of the servers of the cluster.
    ///
    /// # Errors
    /// As every call.
    pub async fn status_peers(&self) -> Result<Vec<String>, Error> {
        self.api().get("/v1/status/peers").await
    }
}

//! Calls of `/v1/catalog/…` and `/v1/health/…` that read once.
//!
//! A question with an index waits on the server; [`Client::watch`] does that for a whole program's life.

use std::collections::BTreeMap;

use callboard_proto::api::catalog::{CatalogNode, CatalogService, NodeShown};
use callboard_proto::api::health::{HealthCheck, ServiceEntry};
use callboard_proto::api::query::{ReadOptions, escape};

use super::Client;
use super::api::Read;
use crate::error::Error;

impl Client {
    /// Returns the instances of a service with their checks; only the passing ones if asked.
    ///
    /// # Errors
    /// As every call: unreachable, refused, or an answer that cannot be used.
    pub async fn health_service(
        &self,
        service: &str,
        passing: bool,
        options: &ReadOptions,
    ) -> Result<Read<Vec<ServiceEntry>>, Error> {
        let passing = if passing { "?passing" } else { "" };
        self.api().read(&format!("/v1/health/service/{}{passing}", escape(service)), options).await
    }

    /// Returns the checks of a node.
    ///
    /// # Errors
    /// As every call.
    pub async fn health_node(&self, node: &str, options: &ReadOptions) -> Result<Read<Vec<HealthCheck>>, Error> {
        self.api().read(&format!("/v1/health/node/{}", escape(node)), options).await
    }

    /// Returns the checks of a service.
    ///
    /// # Errors
    /// As every call.
    pub async fn health_checks(&self, service: &str, options: &ReadOptions) -> Result<Read<Vec<HealthCheck>>, Error> {
        self.api().read(&format!("/v1/health/checks/{}", escape(service)), options).await
    }

    /// Returns the checks in a state: `passing`, `warning`, `critical` or `any`.
    ///
    /// # Errors
    /// As every call.
    pub async fn health_state(&self, state: &str, options: &ReadOptions) -> Result<Read<Vec<HealthCheck>>, Error> {
        self.api().read(&format!("/v1/health/state/{}", escape(state)), options).await
    }

    /// Returns the names of all services with their tags.
    ///
    /// # Errors
    /// As every call.
    pub async fn catalog_services(&self, options: &ReadOptions) -> Result<Read<BTreeMap<String, Vec<String>>>, Error> {
        self.api().read("/v1/catalog/services", options).await
    }

    /// Returns the instances of a service, well or not.
    ///
    /// # Errors
    /// As every call.
    pub async fn catalog_service(
        &self,
        service: &str,
        options: &ReadOptions,
    ) -> Result<Read<Vec<CatalogService>>, Error> {
        self.api().read(&format!("/v1/catalog/service/{}", escape(service)), options).await
    }

    /// Returns all nodes.
    ///
    /// # Errors
    /// As every call.
    pub async fn catalog_nodes(&self, options: &ReadOptions) -> Result<Read<Vec<NodeShown>>, Error> {
        self.api().read("/v1/catalog/nodes", options).await
    }

    /// Returns a node with its services; none when it is unknown.
    ///
    /// # Errors
    /// As every call.
    pub async fn catalog_node(&self, node: &str, options: &ReadOptions) -> Result<Read<Option<CatalogNode>>, Error> {
        self.api().read(&format!("/v1/catalog/node/{}", escape(node)), options).await
    }

    /// Returns the names of the known datacenters.
    ///
    /// # Errors
    /// As every call.
    pub async fn catalog_datacenters(&self) -> Result<Vec<String>, Error> {
        self.api().get("/v1/catalog/datacenters").await
    }
}

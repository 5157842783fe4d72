//! Calls of `/v1/session/…`, each made once. To keep a session alive, use [`Client::session`].

use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::query::{ReadOptions, escape};
use callboard_proto::api::session::{Session, SessionCreated, SessionRequest};
use http::{Method, StatusCode};

use super::Client;
use super::api::{Read, decode};
use crate::error::Error;
use crate::http::Repeat;

impl Client {
    /// Opens a session and returns its id. Nobody renews it.
    ///
    /// # Errors
    /// As every call; [`Error::Status`] with 500 names what is wrong with the request. After [`Error::Unreachable`] or
    /// [`Error::Timeout`] a session may have been opened, which ends by its TTL.
    pub async fn session_create(&self, request: &SessionRequest) -> Result<String, Error> {
        let api = self.api();
        let body = serde_json::to_vec(request)
            .map_err(|error| Error::Answer { doing: "writing the session".into(), source: error.into() })?;
        let target = api.target("/v1/session/create", &ReadOptions::default());
        let (doing, answer) = api.call(&Method::PUT, &target, body.into(), Repeat::Unsafe).await?;
        decode::<SessionCreated>(&doing, &answer.body).map(|created| created.id)
    }

    /// Ends a session: its keys are unlocked, or deleted if it was opened so. An unknown one is as good as ended.
    ///
    /// # Errors
    /// As every call.
    pub async fn session_destroy(&self, id: &str) -> Result<(), Error> {
        let api = self.api();
        let target = api.target(&format!("/v1/session/destroy/{}", escape(id)), &ReadOptions::default());
        api.put(&target, Bytes::new()).await
    }

    /// Renews a session; none when it has ended.
    ///
    /// # Errors
    /// As every call.
    pub async fn session_renew(&self, id: &str) -> Result<Option<Session>, Error> {
        self.session_renew_within(id, self.api().request_timeout).await
    }

    /// Renews a session; each server is given so much time.
    pub(crate) async fn session_renew_within(&self, id: &str, timeout: Duration) -> Result<Option<Session>, Error> {
        let api = self.api();
        let target = api.target(&format!("/v1/session/renew/{}", escape(id)), &ReadOptions::default());
        let answer = api.transport.send(&Method::PUT, &target, &Bytes::new(), Repeat::Safe, timeout).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let doing = "renewing a session";
        let answer = answer.success(doing)?;
        Ok(decode::<Vec<Session>>(doing, &answer.body)?.into_iter().next())
    }

    /// Returns a session; none when there is none.
    ///
    /// # Errors
    /// As every call.
    pub async fn session_info(&self, id: &str, options: &ReadOptions) -> Result<Read<Option<Session>>, Error> {
        let read: Read<Vec<Session>> = self.api().read(&format!("/v1/session/info/{}", escape(id)), options).await?;
        Ok(Read { value: read.value.into_iter().next(), meta: read.meta })
    }

    /// Returns all sessions.
    ///
    /// # Errors
    /// As every call.
    pub async fn session_list(&self, options: &ReadOptions) -> Result<Read<Vec<Session>>, Error> {
        self.api().read("/v1/session/list", options).await
    }
}

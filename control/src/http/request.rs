//! One request whose path is known, as its handler sees it.
//!
//! A [`Call`] reads its options, its scope and its body on demand; bodies up to a bound, within a time.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::agent::{NODE_ADDRESS_PARAM, NODE_PARAM};
use callboard_proto::api::query::{NEAR_AGENT, Params, QueryError, ReadOptions, check_cache_control};
use callboard_proto::api::valid::{self, InvalidRequest};
use callboard_proto::{Node, NodeName};
use http::HeaderValue;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Api;
use super::linger::Sent;
use super::reply::Failure;
use crate::acl::{Access, Secret};
use crate::registry::{NodeUpdate, Registry};

/// How long a body may pause between two pieces.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);
/// The largest body of anything but a key, in bytes.
pub(super) const BODY_MAX: usize = 512 * 1024;

/// A request whose path is known.
pub(super) struct Call<'a> {
    pub(super) api: &'a Api,
    /// What follows the route's prefix, decoded.
    pub(super) rest: &'a str,
    pub(super) params: Params<'a>,
    /// The query as it was sent.
    pub(super) query: &'a str,
    pub(super) accept_text: bool,
    /// What is asked of caches.
    pub(super) cache_control: Option<HeaderValue>,
    /// Where it comes from, as far as that is known.
    pub(super) from: Option<IpAddr>,
    /// The token that was given; none without access control.
    pub(super) token: Option<Secret>,
    /// The body, until it is read.
    pub(super) body: Option<Sent>,
}

impl Call<'_> {
    /// The options that every read understands, for our datacenter.
    pub(super) fn read_options(&self) -> Result<ReadOptions, Failure> {
        let mut options = ReadOptions::from_params(&self.params)?;
        if let Some(asked) = self.cache_control.as_ref().filter(|_| options.cached) {
            check_cache_control(asked.to_str().map_err(|_| QueryError::CacheControl)?)?;
        }
        self.is_ours(options.datacenter.as_deref().unwrap_or(""))?;
        if options.near.as_deref() == Some(NEAR_AGENT) {
            options.near = Some(self.api.identity.node_name.to_string());
        }
        Ok(options)
    }

    /// Refuses a datacenter that is not ours; none is ours.
    pub(super) fn is_ours(&self, datacenter: &str) -> Result<(), Failure> {
        let ours = datacenter.is_empty() || datacenter.eq_ignore_ascii_case(self.api.datacenter());
        if ours { Ok(()) } else { Err(Failure::Datacenter) }
    }

    /// What the caller may do, in the present state.
    pub(super) fn access(&self) -> Result<Access, Failure> {
        match self.api.acl.is_enabled() {
            true => self.access_in(&self.api.cluster.registry()),
            false => Ok(Access::unrestricted()),
        }
    }

    /// What the caller may do, in the state that the answer comes from.
    pub(super) fn access_in(&self, registry: &Registry) -> Result<Access, Failure> {
        Ok(self.api.acl.access(registry, self.token.as_ref())?)
    }

    /// Refuses what the caller may not do. Resources without names are asked for with an empty one.
    pub(super) fn permit(&self, resource: Resource, name: &str, level: Level) -> Result<(), Failure> {
        Ok(self.access()?.permit(resource, name, level)?)
    }

    /// Whether the answer is for people.
    pub(super) fn pretty(&self) -> bool {
        self.params.has("pretty") || self.api.identity.dev
    }

    /// The argument in the path.
    pub(super) fn argument(&self, missing: &str) -> Result<&str, Failure> {
        if self.rest.is_empty() { Err(Failure::BadRequest(missing.to_owned())) } else { Ok(self.rest) }
    }

    /// The whole body, up to a bound. What lies beyond it stays where it is.
    pub(super) async fn body(&mut self, max: usize) -> Result<Bytes, Failure> {
        let Some(sent) = &mut self.body else { return Ok(Bytes::new()) };
        if let Some(length) = sent.length().filter(|length| *length > max as u64) {
            return Err(too_large(Some(length), max));
        }
        let mut body = Limited::new(sent.ask(), max);
        let mut whole: Option<Cow<'static, [u8]>> = None;
        let mut only = Bytes::new();
        loop {
            let frame = match tokio::time::timeout(BODY_IDLE_MAX, body.frame()).await {
                Err(_) => return Err(Failure::Incomplete(format!("nothing came for {BODY_IDLE_MAX:?}"))),
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large(None, max)),
                Ok(Some(Err(error))) => return Err(Failure::Incomplete(error.to_string())),
            };
            let Ok(data) = frame.into_data() else { continue };
            // One piece, the usual case, is not copied.
            match &mut whole {
                Some(whole) => whole.to_mut().extend_from_slice(&data),
                None if only.is_empty() => only = data,
                None => whole = Some(Cow::Owned([&only[..], &data[..]].concat())),
            }
        }
        self.body = None;
        Ok(whole.map_or(only, |whole| Bytes::from(whole.into_owned())))
    }

    /// The node that an agent route is about: this one, or the one that the process names.
    pub(super) fn scope(&self) -> Result<Scope, Failure> {
        let identity = &self.api.identity;
        let Some(name) = self.params.filled(NODE_PARAM) else {
            return Ok(Scope { node: identity.node(), update: NodeUpdate::Ensure, own: true });
        };
        let name = NodeName::parse(name).map_err(|error| InvalidRequest(format!("Invalid node: {error}")))?;
        if name.folded() == identity.node_name.folded() {
            return Ok(Scope { node: identity.node(), update: NodeUpdate::Ensure, own: true });
        }
        let address = self.params.filled(NODE_ADDRESS_PARAM).unwrap_or("");
        let address = valid::text(NODE_ADDRESS_PARAM, address, 512)?;
        let update = if address.is_empty() { NodeUpdate::Skip } else { NodeUpdate::Put };
        Ok(Scope { node: Node { name, address, ..Node::default() }, update, own: false })
    }
}

/// The node that an agent route is about.
pub(super) struct Scope {
    pub(super) node: Node,
    pub(super) update: NodeUpdate,
    /// Whether it is this control node.
    pub(super) own: bool,
}

fn too_large(length: Option<u64>, max: usize) -> Failure {
    let size = length.map(|length| format!("({length} bytes)")).unwrap_or_default();
    Failure::TooLarge(format!(
        "Request body{size} too large, max size: {max} bytes. The value is too large for the registry; keep it elsewhere and store a reference."
    ))
}

//! Reads of one table of access control: its rows, or one of them. They wait, and are refused, in one way.
//!
//! Which rows and how they are shown is said by the families; tokens, which show themselves to their own holder as well,
//! ask in a way of their own.

use bytes::Bytes;
use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::filter::{Document, Shape};
use http::StatusCode;
use serde::Serialize;

use super::acl::absent;
use super::blocking::{Answer, Question, read};
use super::reply::{Failure, Response, encode};
use super::request::Call;
use super::select::filter;
use crate::acl::{Access, Denial};
use crate::registry::{AclTopic, Registry, Topic};

/// What to say about a row that is not there.
pub(super) type Missing = (StatusCode, &'static str);

struct Shown<F> {
    table: AclTopic,
    /// The answer; none when the one row that is asked for is not there.
    find: F,
    missing: Option<Missing>,
}

impl<F: Fn(&Registry) -> Option<Bytes>> Question for Shown<F> {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Acl(self.table)]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.acl_index(self.table)
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        self.missing.is_some() && (self.find)(registry).is_none()
    }

    fn permit(&self, access: &Access) -> Result<(), Denial> {
        access.permit(Resource::Acl, "", Level::Read)
    }

    fn answer(&self, registry: &Registry, _access: &Access) -> Answer {
        match ((self.find)(registry), self.missing) {
            (Some(body), _) => Answer::Json(body),
            (None, Some((status, text))) => absent(status, text),
            (None, None) => Answer::Absent,
        }
    }
}

/// Answers with the rows of a table that the filter of the read keeps.
pub(super) async fn rows<S: Shape, T: Serialize>(
    call: &Call<'_>,
    table: AclTopic,
    rows: impl Fn(&Registry) -> Vec<T> + Send + Sync,
) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let options = call.read_options()?;
    let filter = filter::<Document<S>>(&options)?;
    let pretty = call.pretty();
    let find = move |registry: &Registry| {
        let mut rows = rows(registry);
        rows.retain(|row| filter.matches(&Document::of(row)));
        Some(encode(&rows, pretty))
    };
    read(call, &options, &Shown { table, find, missing: None }).await
}

/// Answers with one row of a table.
pub(super) async fn row<T: Serialize>(
    call: &Call<'_>,
    table: AclTopic,
    row: impl Fn(&Registry) -> Option<T> + Send + Sync,
    missing: Missing,
) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let pretty = call.pretty();
    let find = move |registry: &Registry| row(registry).map(|row| encode(&row, pretty));
    read(call, &call.read_options()?, &Shown { table, find, missing: Some(missing) }).await
}

//! `/v1/connect/ca…`: the authority of the mesh, for everyone who must know whom to trust, and for operators.

use bytes::Bytes;
use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::connect::{CaConfigurationShown, CaRootShown, CaRoots};
use callboard_proto::api::query::parse_bool;
use callboard_proto::text::Text;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use time::OffsetDateTime;

use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::reply::{self, Failure, Response, encode, json};
use super::request::{BODY_MAX, Call};
use super::routes::{self, Route};
use crate::acl::Access;
use crate::connect::{Error, domain};
use crate::registry::{CaRoot, Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/connect/ca/roots",
        operations: &[routes::get("The roots that certificates of the mesh are trusted by", |call| {
            Box::pin(roots(call, Shape::AsAsked))
        })
        .with(&[READ, PEM])
        .gives(Body::Several(&[shaped::<CaRoots>(), Body::Media(PEM_CHAIN)]))],
    },
    Route {
        path: "/v1/connect/ca/configuration",
        operations: &[
            routes::get("The settings of the certificate authority", |call| Box::pin(configuration(call)))
                .gives(shaped::<CaConfigurationShown>()),
            routes::put("Changes the settings of the certificate authority, and its root", |call| {
                Box::pin(configure(call))
            })
            .takes(Body::Object(CA_SETTINGS))
            .gives(Body::Empty),
        ],
    },
];

/// The media type of certificates, one after the other.
const PEM_CHAIN: &str = "application/pem-certificate-chain";
const CA_SETTINGS: &[Member] =
    &[("Provider", Kind::Text), ("Config", Kind::Object), ("ForceWithoutCrossSigning", Kind::Bool)];
const PEM: &[Parameter] = &[parameter("pem", "The certificates alone, in PEM", Value::Flag)];

/// In which form roots are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// JSON, or with `?pem` the certificates alone.
    AsAsked,
    /// JSON.
    Json,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        use crate::connect::{SettingsError, SignError};
        match error {
            Error::Cluster(error) => Failure::Cluster(error),
            Error::Settings(SettingsError::Decode(_) | SettingsError::Invalid(_))
            | Error::Sign(SignError::Own { .. }) => Failure::BadRequest(error.to_string()),
            Error::Disabled | Error::Busy | Error::TooManyLeaves { .. } | Error::Sign(SignError::Library(_)) => {
                Failure::Refused(error.to_string())
            }
        }
    }
}

/// The time of day in seconds since 1970.
pub(super) fn now() -> i64 {
    crate::connect::now().unix_timestamp()
}

/// Seconds since 1970 as RFC 3339.
pub(super) fn rfc3339(seconds: i64) -> Text {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z").into()
}

pub(super) async fn roots(call: &mut Call<'_>, shape: Shape) -> Result<Response, Failure> {
    let options = call.read_options()?;
    call.api.authority.begun().await?;
    let pem = shape == Shape::AsAsked
        && call.params.get("pem").is_some_and(|asked| asked.is_empty() || parse_bool(asked) == Some(true));
    read(call, &options, &Roots { pretty: call.pretty(), pem }).await
}

async fn configuration(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.read_options()?;
    call.permit(Resource::Operator, "", Level::Read)?;
    let registry = call.api.authority.begun().await?;
    let settings = registry.ca_settings();
    let shown = CaConfigurationShown {
        provider: "consul".into(),
        config: serde_json::from_str(&settings.body).unwrap_or_default(),
        state: None,
        force_without_cross_signing: settings.force_without_cross_signing,
        create_index: settings.created,
        modify_index: settings.modified,
    };
    Ok(json(&shown, call.pretty()))
}

async fn configure(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    call.permit(Resource::Operator, "", Level::Write)?;
    let body = call.body(BODY_MAX).await?;
    call.api.authority.configure(&body).await?;
    Ok(reply::empty())
}

fn show(root: &CaRoot, trust_domain: &Text) -> CaRootShown {
    CaRootShown {
        id: root.id.clone(),
        name: root.name.clone(),
        serial_number: root.serial,
        signing_key_id: root.signing_key_id.clone(),
        external_trust_domain: trust_domain.clone(),
        not_before: rfc3339(root.not_before),
        not_after: rfc3339(root.not_after),
        root_cert: root.certificate.clone(),
        intermediate_certs: (!root.cross_signed.is_empty()).then(|| root.cross_signed.clone()),
        active: root.active,
        private_key_type: root.key_type.clone(),
        private_key_bits: root.key_bits,
        create_index: root.created,
        modify_index: root.modified,
    }
}

/// Every root.
struct Roots {
    pretty: bool,
    pem: bool,
}

impl Question for Roots {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::CaRoots]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.ca_index()
    }

    fn is_cacheable(&self) -> bool {
        true
    }

    fn answer(&self, registry: &Registry, _access: &Access) -> Answer {
        if self.pem {
            let all: String = registry.ca_roots().map(|root| &*root.certificate).collect();
            let mut response = reply::json_bytes(Bytes::from(all));
            let kind = HeaderValue::from_static(PEM_CHAIN);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            return Answer::Ready(Box::new(response));
        }
        let shown = CaRoots {
            active_root_id: registry.ca_active().map(|root| root.id.clone()).unwrap_or_default(),
            trust_domain: domain(registry.trust_domain()).into(),
            roots: registry.ca_roots().map(|root| show(root, registry.trust_domain())).collect(),
        };
        Answer::Json(encode(&shown, self.pretty))
    }
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(&*rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(&*rfc3339(1_795_356_304), "2026-11-22T14:05:04Z");
    }
}

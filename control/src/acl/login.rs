//! From a proof of identity to a token: JSON Web Tokens (RFC 7519) that one of the method's public keys signed.
//!
//! Keys come with the settings, so nothing is fetched; methods that would have to fetch theirs can be kept, and a login
//! there says so. What is signed is mapped to names by the settings, and binding rules say what these are good for.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_proto::acl::rows::{
    AuthMethodRow, BindingRuleRow, NodeIdentityRow, ServiceIdentityRow, Sources, TemplatedRow, TokenRow,
};
use callboard_proto::acl::templates::Template;
use callboard_proto::api::acl::LoginRequest;
use callboard_proto::duration::GoDuration;
use callboard_proto::filter::{Field, Fields, Filter, Keyed, Kind, Schema, Value};
use callboard_proto::text::Text;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{AclSettings, Secret, seed};
use crate::registry::Registry;

/// The most public keys of one method, and the longest proof, in bytes.
const KEYS_MAX: usize = 16;
const PROOF_MAX: usize = 16 * 1024;
/// How long after its end a proof is still taken, and how long before its beginning, unless told otherwise.
const LEEWAY: Duration = Duration::from_secs(150);
/// How far clocks may be apart, unless told otherwise.
const SKEW: Duration = Duration::from_secs(60);
/// The longest description made of what a client says about a login.
const META_MAX: usize = 2048;

/// Algorithms with a public key (RFC 7518 and RFC 8037); those with a shared secret would make the public key one.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Why a login fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The proof does not hold.
    #[error("Permission denied: {0}")]
    Refused(String),
    /// The proof holds, and is good for nothing.
    #[error("Permission denied: no binding rule of the auth method fits this login")]
    NoRule,
    /// The method cannot be used here.
    #[error("{0}")]
    Unsupported(String),
    /// The method's settings or rules cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// The settings of a method of type `jwt`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct JwtSettings {
    #[serde(rename = "JWTValidationPubKeys")]
    keys: Vec<String>,
    #[serde(rename = "JWTSupportedAlgs")]
    algorithms: Vec<String>,
    bound_issuer: String,
    bound_audiences: Vec<String>,
    claim_mappings: BTreeMap<String, String>,
    list_claim_mappings: BTreeMap<String, String>,
    expiration_leeway: GoDuration,
    not_before_leeway: GoDuration,
    clock_skew_leeway: GoDuration,
    #[serde(rename = "JWKSURL")]
    jwks_url: String,
    #[serde(rename = "JWKSCACert")]
    _jwks_ca: String,
    #[serde(rename = "OIDCDiscoveryURL")]
    discovery_url: String,
    #[serde(rename = "OIDCDiscoveryCACert")]
    _discovery_ca: String,
}

/// Checks the settings of a method of type `jwt`.
///
/// # Errors
/// Names the setting, and what would be accepted.
pub(crate) fn check(config: &Map<String, Json>) -> Result<(), String> {
    let settings = read(config)?;
    if settings.keys.is_empty() && settings.jwks_url.is_empty() && settings.discovery_url.is_empty() {
        return Err("one of JWTValidationPubKeys, JWKSURL, OIDCDiscoveryURL must be set".to_owned());
    }
    if settings.keys.len() > KEYS_MAX {
        return Err(format!("JWTValidationPubKeys: at most {KEYS_MAX} are accepted"));
    }
    for (place, key) in settings.keys.iter().enumerate() {
        if keys(key).is_empty() {
            return Err(format!("JWTValidationPubKeys: number {place} is no public key of RSA, EC or Ed25519 in PEM"));
        }
    }
    algorithms(&settings).map(|_| ())
}

/// Checks a binding rule.
///
/// # Errors
/// Names the field, and what would be accepted.
pub(crate) fn check_rule(rule: &BindingRuleRow) -> Result<(), String> {
    const KINDS: [&str; 5] = ["service", "node", "role", "policy", "templated-policy"];
    if !KINDS.contains(&&*rule.bind_type) {
        return Err(format!("BindType {:?} is none of {}", rule.bind_type, KINDS.join(", ")));
    }
    if rule.bind_name.is_empty() {
        return Err("BindName is missing".to_owned());
    }
    if &*rule.bind_type == "templated-policy" && Template::from_name(&rule.bind_name).is_none() {
        return Err(format!("BindName {:?} is no templated policy", rule.bind_name));
    }
    Filter::<Claims>::parse(&rule.selector).map_err(|error| format!("Selector: {error}"))?;
    for text in [&rule.bind_name, &rule.bind_variable] {
        filled(text, |_| Some("x".to_owned())).map_err(|error| format!("BindName: {error}"))?;
    }
    Ok(())
}

fn read(config: &Map<String, Json>) -> Result<JwtSettings, String> {
    JwtSettings::deserialize(Json::Object(config.clone())).map_err(|error| format!("Config: {error}"))
}

fn algorithms(settings: &JwtSettings) -> Result<Vec<Algorithm>, String> {
    let known = |name: &String| {
        let found = ALGORITHMS.iter().find(|(known, _)| known == name).map(|(_, algorithm)| *algorithm);
        found.ok_or_else(|| {
            format!("JWTSupportedAlgs: {name:?} is none of {}", ALGORITHMS.map(|(name, _)| name).join(", "))
        })
    };
    match settings.algorithms.is_empty() {
        true => Ok(ALGORITHMS.iter().map(|(_, algorithm)| *algorithm).collect()),
        false => settings.algorithms.iter().map(known).collect(),
    }
}

/// The key that a PEM text may be.
fn keys(pem: &str) -> Vec<DecodingKey> {
    let pem = pem.as_bytes();
    [DecodingKey::from_rsa_pem(pem), DecodingKey::from_ec_pem(pem), DecodingKey::from_ed_pem(pem)]
        .into_iter()
        .flatten()
        .collect()
}

/// The token that a login makes, if its proof holds and a rule fits.
///
/// # Errors
/// See [`LoginError`].
pub(crate) fn token(
    registry: &Registry,
    settings: &AclSettings,
    method: &AuthMethodRow,
    request: &LoginRequest,
    secret: &Secret,
    now: Duration,
) -> Result<TokenRow, LoginError> {
    if &*method.kind != "jwt" {
        let text = format!("logins of type {} are not supported here; those of type jwt are", method.kind);
        return Err(LoginError::Unsupported(text));
    }
    let config: Map<String, Json> =
        serde_json::from_str(&method.config).map_err(|error| LoginError::Settings(error.to_string()))?;
    let jwt = read(&config).map_err(LoginError::Settings)?;
    if jwt.keys.is_empty() {
        let text = "keys are not fetched here; logins need JWTValidationPubKeys in the settings of the auth method";
        return Err(LoginError::Unsupported(text.to_owned()));
    }
    let claims = claims(&jwt, &verified(&jwt, &request.bearer_token, now)?);
    let (sources, roles) = bound(registry, settings, method, &claims)?;
    if sources == Sources::default() && roles.is_empty() {
        return Err(LoginError::NoRule);
    }
    let meta = match request.meta.is_empty() {
        true => String::new(),
        false => format!(": {}", serde_json::to_string(&request.meta).unwrap_or_default()),
    };
    if meta.len() > META_MAX {
        return Err(LoginError::Refused(format!("Meta has more than {META_MAX} bytes")));
    }
    let token = seed::token(secret, &format!("token created via login{meta}"), sources, now);
    Ok(seed::digested(TokenRow {
        roles,
        auth_method: method.name.clone(),
        local: &*method.locality != "global",
        expires: (!method.token_ttl_max.is_zero()).then(|| now.saturating_add(method.token_ttl_max)),
        ..token
    }))
}

/// What a proof says, if one of the keys signed it for us and now.
fn verified(settings: &JwtSettings, proof: &str, now: Duration) -> Result<Map<String, Json>, LoginError> {
    let refused = |text: &str| LoginError::Refused(text.to_owned());
    if proof.len() > PROOF_MAX {
        return Err(LoginError::Refused(format!("BearerToken has more than {PROOF_MAX} bytes")));
    }
    let header = decode_header(proof).map_err(|_| refused("BearerToken is no JSON Web Token"))?;
    let allowed = algorithms(settings).map_err(LoginError::Settings)?;
    if !allowed.contains(&header.alg) {
        return Err(refused("the algorithm of BearerToken is not accepted"));
    }
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    // Times are compared below, with this method's leeways.
    validation.validate_exp = false;
    validation.validate_aud = !settings.bound_audiences.is_empty();
    if !settings.bound_audiences.is_empty() {
        validation.set_audience(&settings.bound_audiences);
        validation.required_spec_claims.insert("aud".to_owned());
    }
    if !settings.bound_issuer.is_empty() {
        validation.set_issuer(&[&settings.bound_issuer]);
        validation.required_spec_claims.insert("iss".to_owned());
    }
    let signed = settings.keys.iter().flat_map(|pem| keys(pem));
    let mut signed = signed.filter_map(|key| decode::<Map<String, Json>>(proof, &key, &validation).ok());
    let claims = signed.next().map(|data| data.claims);
    let claims =
        claims.ok_or_else(|| refused("BearerToken is not signed by a key of the auth method, or not for us"))?;
    let time = |name: &str| claims.get(name).and_then(Json::as_f64).map(Duration::try_from_secs_f64);
    let leeway = |given: GoDuration, default: Duration| given.positive().unwrap_or(default);
    let skew = leeway(settings.clock_skew_leeway, SKEW);
    match time("exp") {
        Some(Ok(end)) if now < end.saturating_add(skew + leeway(settings.expiration_leeway, LEEWAY)) => {}
        Some(_) => return Err(refused("BearerToken is over")),
        None => return Err(refused("BearerToken has no end (claim exp)")),
    }
    match time("nbf") {
        None => {}
        Some(Ok(begin)) if begin <= now.saturating_add(skew + leeway(settings.not_before_leeway, LEEWAY)) => {}
        Some(_) => return Err(refused("BearerToken does not hold yet")),
    }
    Ok(claims)
}

/// What a login says, under the names that the method's settings give.
#[derive(Debug, Default)]
struct Claims {
    value: Named<String>,
    list: Named<Vec<Text>>,
}

#[derive(Debug, Default)]
struct Named<T>(BTreeMap<String, T>);

impl Fields for Claims {
    fn schema() -> &'static Schema {
        static SCHEMA: Schema =
            Schema { fields: &[Field { name: "value", kind: Kind::Map }, Field { name: "list", kind: Kind::Map }] };
        &SCHEMA
    }

    fn get(&self, field: usize) -> Value<'_> {
        if field == 0 { Value::Keyed(&self.value) } else { Value::Keyed(&self.list) }
    }
}

impl Keyed for Named<String> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, key: &str) -> Value<'_> {
        self.0.get(key).map_or(Value::Missing, |text| Value::Text(text))
    }
}

impl Keyed for Named<Vec<Text>> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, key: &str) -> Value<'_> {
        self.0.get(key).map_or(Value::Missing, |list| Value::Many(list))
    }
}

fn claims(settings: &JwtSettings, said: &Map<String, Json>) -> Claims {
    let said = Json::Object(said.clone());
    let find = |claim: &str| if claim.starts_with('/') { said.pointer(claim) } else { said.get(claim) };
    let word = |value: &Json| match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    let words = |value: &Json| match value {
        Json::Array(list) => list.iter().filter_map(word).map(Text::from).collect(),
        value => word(value).map(Text::from).into_iter().collect::<Vec<_>>(),
    };
    let values = settings.claim_mappings.iter();
    let lists = settings.list_claim_mappings.iter();
    Claims {
        value: Named(values.filter_map(|(claim, name)| Some((name.clone(), word(find(claim)?)?))).collect()),
        list: Named(lists.filter_map(|(claim, name)| Some((name.clone(), words(find(claim)?)))).collect()),
    }
}

/// What the rules of a method say that a login is good for.
fn bound(
    registry: &Registry,
    settings: &AclSettings,
    method: &AuthMethodRow,
    claims: &Claims,
) -> Result<(Sources, Vec<Text>), LoginError> {
    let (mut sources, mut roles) = (Sources::default(), Vec::new());
    let rules = registry.acl_binding_rules().filter(|rule| rule.auth_method.eq_ignore_ascii_case(&method.name));
    for rule in rules {
        let filter = Filter::<Claims>::parse(&rule.selector);
        if !filter.map_err(|error| LoginError::Settings(error.to_string()))?.matches(claims) {
            continue;
        }
        let value = |name: &str| claims.value.0.get(name.strip_prefix("value.")?).cloned();
        let fill = |text: &str| filled(text, value).map_err(LoginError::Settings);
        let name = fill(&rule.bind_name)?;
        match &*rule.bind_type {
            "service" => {
                let service = identity(&name)?;
                sources.services.push(ServiceIdentityRow { service, datacenters: Vec::new() });
            }
            "node" => {
                let node = identity(&name)?;
                sources.nodes.push(NodeIdentityRow { node, datacenter: settings.datacenter.clone() });
            }
            // A role or a policy that is not there grants nothing; it may come later.
            "role" => roles.extend(registry.acl_role_named(&name).map(|role| role.id.clone())),
            "policy" => sources.policies.extend(registry.acl_policy_named(&name).map(|policy| policy.id.clone())),
            _ => {
                let variable = fill(&rule.bind_variable)?;
                let takes_name = Template::from_name(&name).is_some_and(Template::takes_name);
                let name_of = if takes_name { identity(&variable)? } else { Text::default() };
                sources.templated.push(TemplatedRow { template: name.into(), name: name_of, datacenters: Vec::new() });
            }
        }
    }
    Ok((sources, roles))
}

/// A name that a claim gave, as services and nodes have names.
fn identity(name: &str) -> Result<Text, LoginError> {
    let name = name.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    match !name.is_empty() && name.len() <= 256 && name.bytes().all(plain) {
        true => Ok(name.into()),
        false => Err(LoginError::Refused("a binding rule makes a name of this login that none can have".to_owned())),
    }
}

/// A text with `${…}` replaced by what it stands for.
fn filled(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let (name, end) = after[2..].split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without its end"))?;
        out.push_str(before);
        let found = value(name.trim());
        out.push_str(
            &found.ok_or_else(|| format!("{text:?} asks for {:?}, which this login does not say", name.trim()))?,
        );
        rest = end;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests;

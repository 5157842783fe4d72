//! Logins with keys made here: what is signed counts, nothing else does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callboard_proto::Index;
use jsonwebtoken::{EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::registry::{AclCommand, Command, Outcome, Touched, Write};

const NOW: Duration = Duration::from_secs(1_800_000_000);

/// Of the encoding of a P-256 key (RFC 5480), all but the point.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

struct Signer {
    key: EncodingKey,
    pem: String,
}

impl Signer {
    fn new() -> Signer {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap();
        let body = STANDARD.encode([&SPKI[..], pair.public_key().as_ref()].concat());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        Signer { key: EncodingKey::from_ec_der(made.as_ref()), pem }
    }

    fn proof(&self, change: impl Fn(&mut Json)) -> String {
        let mut claims = json!({
            "iss": "us", "aud": "callboard", "exp": NOW.as_secs() + 60, "sub": "Web", "groups": ["dev", "ops"],
        });
        change(&mut claims);
        encode(&Header::new(Algorithm::ES256), &claims, &self.key).unwrap()
    }
}

fn world(signer: &Signer, rules: &[(&str, &str, &str)]) -> (Registry, AuthMethodRow) {
    let config = json!({
        "JWTValidationPubKeys": [signer.pem], "BoundIssuer": "us", "BoundAudiences": ["callboard"],
        "ClaimMappings": {"sub": "name"}, "ListClaimMappings": {"groups": "groups"},
    });
    assert_eq!(check(config.as_object().unwrap()), Ok(()));
    let method = AuthMethodRow {
        name: "m".into(),
        kind: "jwt".into(),
        display_name: Text::default(),
        description: Text::default(),
        token_ttl_max: Duration::from_secs(300),
        locality: Text::default(),
        config: config.to_string().into(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    let mut registry = Registry::default();
    let mut write = |command| {
        assert_eq!(registry.apply(Command::Acl(command), &mut Touched::default()), Outcome::Done);
    };
    write(AclCommand::AuthMethodPut { method: Box::new(method.clone()), write: Write::Create });
    for (place, (kind, name, selector)) in rules.iter().enumerate() {
        let rule = BindingRuleRow {
            id: format!("r{place}").into(),
            description: Text::default(),
            auth_method: "m".into(),
            selector: (*selector).into(),
            bind_type: (*kind).into(),
            bind_name: (*name).into(),
            bind_variable: Text::default(),
            created: Index::ZERO,
            modified: Index::ZERO,
        };
        assert_eq!(check_rule(&rule), Ok(()));
        write(AclCommand::BindingRulePut { rule: Box::new(rule), write: Write::Create });
    }
    (registry, method)
}

fn log_in(signer: &Signer, rules: &[(&str, &str, &str)], proof: &str) -> Result<TokenRow, LoginError> {
    let (registry, method) = world(signer, rules);
    let settings = AclSettings { datacenter: "dc1".into(), ..AclSettings::default() };
    let request = LoginRequest { bearer_token: proof.to_owned(), ..LoginRequest::default() };
    token(&registry, &settings, &method, &request, &Secret::new("s"), NOW)
}

const ANY: &[(&str, &str, &str)] = &[("service", "${value.name}", "")];

#[test]
fn what_is_signed_becomes_rights() {
    let signer = Signer::new();
    let rules = &[
        ("service", "${value.name}-api", "value.name == Web and \"ops\" in list.groups"),
        ("node", "n-${value.name}", "value.name == Other"),
        ("role", "missing", ""),
    ];
    let token = log_in(&signer, rules, &signer.proof(|_| {})).unwrap();
    assert_eq!(token.sources.services[0].service.as_ref(), "web-api");
    assert!(token.sources.nodes.is_empty() && token.roles.is_empty() && token.local);
    assert_eq!((&*token.auth_method, token.expires), ("m", Some(NOW + Duration::from_secs(300))));
}

#[test]
fn what_is_not_signed_for_us_and_now_is_refused() {
    let signer = Signer::new();
    let check = |proof: &str, part: &str| {
        let error = log_in(&signer, ANY, proof).unwrap_err().to_string();
        assert!(error.starts_with("Permission denied: ") && error.contains(part), "{error}");
    };
    check("not a token", "no JSON Web Token");
    check(&Signer::new().proof(|_| {}), "not signed by a key");
    check(&signer.proof(|claims| claims["iss"] = json!("them")), "not for us");
    check(&signer.proof(|claims| claims["aud"] = json!("else")), "not for us");
    check(&signer.proof(|claims| claims["exp"] = json!(NOW.as_secs() - 211)), "is over");
    check(&signer.proof(|claims| claims["exp"] = json!(null)), "no end");
    check(&signer.proof(|claims| claims["nbf"] = json!(NOW.as_secs() + 211)), "not hold yet");
    check(&signer.proof(|claims| claims["sub"] = json!("a b")), "a name");
    // The public key as a shared secret.
    let key = EncodingKey::from_secret(signer.pem.as_bytes());
    check(&encode(&Header::new(Algorithm::HS256), &json!({"exp": 9e9}), &key).unwrap(), "algorithm");
    assert!(log_in(&signer, ANY, &signer.proof(|claims| claims["exp"] = json!(NOW.as_secs() - 209))).is_ok());
}

#[test]
fn a_login_that_no_rule_fits_is_refused() {
    let signer = Signer::new();
    let rules = &[("service", "x", "value.name == Nobody")];
    assert!(matches!(log_in(&signer, rules, &signer.proof(|_| {})), Err(LoginError::NoRule)));
}

#[test]
fn what_cannot_be_used_is_named() {
    let wrong = |config: Json, part: &str| {
        let error = check(config.as_object().unwrap()).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    wrong(json!({}), "must be set");
    wrong(json!({"JWTValidationPubKeys": ["x"]}), "number 0 is no public key");
    wrong(json!({"JWKSURL": "https://x", "JWTSupportedAlgs": ["HS256"]}), "JWTSupportedAlgs");
    wrong(json!({"JWKSURL": "https://x", "Wings": 2}), "unknown field `Wings`");
    assert_eq!(check(json!({"JWKSURL": "https://x"}).as_object().unwrap()), Ok(()));
}

//! Tokens of Cube clients: JSON Web Tokens signed with a shared secret (HS256, HS384, HS512), with a configured public
//! key, or with the keys of an identity provider ([`super::jwks`]).
//!
//! The algorithms are fixed to the key's own family, so neither `none` nor a public key used as a secret can pass. Header
//! and claims are read strictly: a repeated name, or an extension the token calls critical, makes a token invalid.
//! Tokens are never logged.

mod strict;

use super::context::{ContextRules, SecurityContext};
use super::jwks::{Jwks, Key};
use crate::limits::TOKEN_BYTES_MAX;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::ProjectId;
use engine::clock::{Micros, SECOND_MICROS};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};
use std::str::FromStr;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Seconds that the clocks of signer and server may differ.
pub const LEEWAY_SECONDS: i64 = 30;

/// Seconds a minted token is valid when nothing else is asked.
pub const TTL_SECONDS_DEFAULT: u64 = 30 * 86_400;

/// Characters of a key's name that a message repeats.
const KID_CHARS_SHOWN: usize = 100;

/// Why a request was refused. The texts are Cube's where Cube has one; clients compare them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Neither header carries a token.
    #[error("Authorization header isn't set")]
    Missing,
    /// The signature, the form or the time of the token is wrong.
    #[error("Invalid token")]
    Invalid,
    /// Keys are told apart by name, and the token cannot be read so far.
    #[error("Unable to decode JWT key")]
    Undecodable,
    /// Keys are told apart by name, and the token names none.
    #[error("JWT without kid inside headers")]
    NoKid,
    /// The provider has no key of the name that the token gives.
    #[error("Unable to verify, JWK with kid: \"{0}\" not found")]
    UnknownKid(String),
    /// The provider's keys cannot be had.
    #[error("The keys that verify tokens cannot be fetched at the moment")]
    Unavailable,
    /// The token is genuine but does not say for which project.
    #[error(
        "The token names no project. Add the claim appId with the project's id, or have exactly one project on the server"
    )]
    NoProject,
}

/// What signs tokens.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Secrets, any of which may have signed: the current one and those being rotated out.
    Secrets(Vec<Vec<u8>>),
    /// A public key in PEM.
    Pem(String),
    /// An identity provider.
    Provider(Arc<Jwks>),
}

impl Default for KeySource {
    fn default() -> Self {
        KeySource::Secrets(Vec::new())
    }
}

/// What a token must fulfil.
#[derive(Debug, Clone, Default)]
pub struct TokenRules {
    /// What signs.
    pub keys: KeySource,
    /// Accepted algorithms. Empty: all that fit the key.
    pub algorithms: Vec<Algorithm>,
    /// Accepted `aud` values. Empty: any, and a token without the claim too.
    pub audiences: Vec<String>,
    /// Accepted `iss` values. Empty: any, and a token without the claim too.
    pub issuers: Vec<String>,
    /// Required `sub`, if any.
    pub subject: Option<String>,
    /// Whether `exp` must be present. Tokens of Cube clients often lack it.
    pub require_exp: bool,
    /// What the claims mean.
    pub context: ContextRules,
}

/// Checks tokens against [`TokenRules`].
pub struct Verifier {
    keys: Keys,
    rules: TokenRules,
}

enum Keys {
    Fixed(Vec<Arc<Key>>),
    Provider(Arc<Jwks>),
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = match &self.keys {
            Keys::Fixed(keys) => keys.len().to_string(),
            Keys::Provider(_) => "of a provider".to_owned(),
        };
        f.debug_struct("Verifier").field("keys", &keys).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for `rules`.
    ///
    /// # Errors
    /// `Invalid` when a public key cannot be read, or when no allowed algorithm fits the key.
    pub fn new(rules: TokenRules) -> engine::Result<Self> {
        let allowed = |of_kind: &[Algorithm]| -> Vec<Algorithm> {
            let fits = |algorithm: &&Algorithm| rules.algorithms.is_empty() || rules.algorithms.contains(algorithm);
            of_kind.iter().filter(fits).copied().collect()
        };
        let keys = match &rules.keys {
            KeySource::Provider(jwks) => Keys::Provider(Arc::clone(jwks)),
            KeySource::Secrets(secrets) => {
                let algorithms = allowed(&[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]);
                let key = |secret: &Vec<u8>| {
                    Arc::new(Key {
                        key: DecodingKey::from_secret(secret),
                        algorithms: algorithms.clone(),
                    })
                };
                Keys::Fixed(secrets.iter().map(key).collect())
            }
            KeySource::Pem(pem) => {
                let (key, of_kind) = public_key(pem)?;
                let algorithms = allowed(of_kind);
                Keys::Fixed(vec![Arc::new(Key { key, algorithms })])
            }
        };
        if let Keys::Fixed(keys) = &keys
            && keys.iter().any(|key| key.algorithms.is_empty())
        {
            return Err(engine::Error::invalid(format!(
                "jwt_algs allows {:?}, none of which fits the key that verifies tokens",
                rules.algorithms
            )));
        }
        Ok(Self { keys, rules })
    }

    /// The context of the token in `headers`.
    ///
    /// # Errors
    /// [`AuthError`], to be answered with status 403 and its text.
    pub async fn authorize(
        &self,
        headers: &HeaderMap,
        now: Micros,
        only_project: impl FnOnce() -> Option<ProjectId>,
    ) -> Result<SecurityContext, AuthError> {
        let token = token_of(headers).ok_or(AuthError::Missing)?;
        self.context(token, now, only_project).await
    }

    /// The context of `token`.
    ///
    /// # Errors
    /// As [`Verifier::authorize`].
    pub async fn context(
        &self,
        token: &str,
        now: Micros,
        only_project: impl FnOnce() -> Option<ProjectId>,
    ) -> Result<SecurityContext, AuthError> {
        let claims = self.verify(token, now).await?;
        SecurityContext::from_claims(claims, &self.rules.context, only_project)
    }

    /// The claims of `token`.
    ///
    /// # Errors
    /// [`AuthError`] when the token is not genuine, not meant for this server, not yet valid or expired.
    pub async fn verify(&self, token: &str, now: Micros) -> Result<Map<String, Value>, AuthError> {
        let unreadable = match &self.keys {
            Keys::Provider(_) => AuthError::Undecodable,
            Keys::Fixed(_) => AuthError::Invalid,
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid);
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, _] = parts.as_slice() else {
            return Err(unreadable);
        };
        let object = |part: &str| strict::object(&URL_SAFE_NO_PAD.decode(part).ok()?);
        let header = object(header).ok_or(unreadable)?;
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(|name| Algorithm::from_str(name).ok());
        let algorithm = algorithm
            .filter(|_| !header.contains_key("crit"))
            .ok_or(AuthError::Invalid)?;
        self.check_signature(token, algorithm, &header).await?;
        let claims = object(claims).ok_or(AuthError::Invalid)?;
        self.check_times(&claims, now / SECOND_MICROS)?;
        self.check_parties(&claims)?;
        Ok(claims)
    }

    async fn check_signature(
        &self,
        token: &str,
        algorithm: Algorithm,
        header: &Map<String, Value>,
    ) -> Result<(), AuthError> {
        let named;
        let candidates = match &self.keys {
            Keys::Fixed(keys) => keys.as_slice(),
            Keys::Provider(jwks) => {
                let kid = header.get("kid").and_then(Value::as_str).ok_or(AuthError::NoKid)?;
                let found = jwks.key(kid).await?;
                let shown = || kid.chars().take(KID_CHARS_SHOWN).collect();
                named = [found.ok_or_else(|| AuthError::UnknownKid(shown()))?];
                named.as_slice()
            }
        };
        for key in candidates.iter().filter(|key| key.algorithms.contains(&algorithm)) {
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation(algorithm)) {
                Ok(_) => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(_) => return Err(AuthError::Invalid),
            }
        }
        Err(AuthError::Invalid)
    }

    fn check_times(&self, claims: &Map<String, Value>, now_seconds: i64) -> Result<(), AuthError> {
        let expires = seconds_claim(claims, "exp")?;
        let begins = seconds_claim(claims, "nbf")?;
        seconds_claim(claims, "iat")?;
        let missing = self.rules.require_exp && expires.is_none();
        let expired = expires.is_some_and(|exp| exp.saturating_add(LEEWAY_SECONDS) <= now_seconds);
        let early = begins.is_some_and(|nbf| nbf.saturating_sub(LEEWAY_SECONDS) > now_seconds);
        if missing || expired || early {
            return Err(AuthError::Invalid);
        }
        Ok(())
    }

    /// Who made the token, for whom, about whom.
    fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), AuthError> {
        let texts = |name: &str| -> Vec<&str> {
            match claims.get(name) {
                Some(Value::String(text)) => vec![text],
                Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            }
        };
        let among = |accepted: &[String], given: &[&str]| {
            accepted.is_empty() || given.iter().any(|one| accepted.iter().any(|known| known == one))
        };
        let issuer = claims.get("iss").and_then(Value::as_str);
        let subject = claims.get("sub").and_then(Value::as_str);
        let right = among(&self.rules.audiences, &texts("aud"))
            && among(&self.rules.issuers, issuer.as_slice())
            && self
                .rules
                .subject
                .as_deref()
                .is_none_or(|wanted| subject == Some(wanted));
        match right {
            true => Ok(()),
            false => Err(AuthError::Invalid),
        }
    }
}

/// Only the signature is left to the library: times are checked against the engine's clock, the rest against
/// [`TokenRules`].
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// The algorithms of an RSA key.
pub(super) const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A public key with the algorithms of its kind.
fn public_key(pem: &str) -> engine::Result<(DecodingKey, &'static [Algorithm])> {
    if let Ok(key) = DecodingKey::from_rsa_pem(pem.as_bytes()) {
        return Ok((key, RSA));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem.as_bytes()) {
        return Ok((key, &[Algorithm::ES256, Algorithm::ES384]));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem.as_bytes()) {
        return Ok((key, &[Algorithm::EdDSA]));
    }
    Err(engine::Error::invalid(
        "jwt_key begins like a key in PEM but is no public key of RSA, EC or Ed25519",
    ))
}

/// A time claim in seconds; a claim that is present but no number is no valid token.
fn seconds_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, AuthError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().filter(|s| s.is_finite()).ok_or(AuthError::Invalid)?;
    Ok(Some(seconds as i64))
}

/// The token of a request: `x-cube-authorization` before `authorization`; the second word of the value, or the whole
/// value when it is one word. Empty values count as absent.
pub fn token_of(headers: &HeaderMap) -> Option<&str> {
    let value = |name: &str| headers.get(name)?.to_str().ok().filter(|v| !v.is_empty());
    let value = value("x-cube-authorization").or_else(|| value("authorization"))?;
    let token = match value.split_once(' ') {
        Some((_, rest)) => rest.split(' ').next().unwrap_or_default(),
        None => value,
    };
    Some(token).filter(|t| !t.is_empty())
}

/// A token for `project`, signed with `secret`, valid for `ttl_seconds` from `now`.
///
/// # Errors
/// `Internal` when signing fails.
pub fn mint(secret: &[u8], claim: &str, project: &ProjectId, now: Micros, ttl_seconds: u64) -> engine::Result<String> {
    let issued = now / SECOND_MICROS;
    let expires = issued.saturating_add(i64::try_from(ttl_seconds).unwrap_or(i64::MAX));
    let claims = json!({claim: project.as_str(), "iat": issued, "exp": expires});
    jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret),
    )
    .map_err(|error| engine::Error::internal("cannot sign a token").with_source(error))
}

//! Tokens of Cube clients: JSON Web Tokens signed with a shared secret (HS256, HS384, HS512).
//!
//! The algorithms are fixed to the secret's own family, so neither `none` nor a public key used as a secret can pass.
//! Tokens are never logged.

use super::context::{ProjectClaims, SecurityContext};
use crate::limits::TOKEN_BYTES_MAX;
use axum::http::HeaderMap;
use engine::ProjectId;
use engine::clock::{Micros, SECOND_MICROS};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

#[cfg(test)]
mod tests;

/// Seconds that the clocks of signer and server may differ.
pub const LEEWAY_SECONDS: i64 = 30;

/// Seconds a minted token is valid when nothing else is asked.
pub const TTL_SECONDS_DEFAULT: u64 = 30 * 86_400;

/// Why a request was refused. The texts are Cube's where Cube has one; clients compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Neither header carries a token.
    #[error("Authorization header isn't set")]
    Missing,
    /// The signature, the form or the time of the token is wrong.
    #[error("Invalid token")]
    Invalid,
    /// The token is genuine but does not say for which project.
    #[error(
        "The token names no project. Add the claim appId with the project's id, or have exactly one project on the server"
    )]
    NoProject,
}

/// What a token must fulfil.
#[derive(Debug, Clone, Default)]
pub struct TokenRules {
    /// Secrets, any of which may have signed: the current one and those being rotated out.
    pub secrets: Vec<Vec<u8>>,
    /// Accepted `aud` values. Empty: any, and a token without the claim too.
    pub audiences: Vec<String>,
    /// Accepted `iss` values. Empty: any, and a token without the claim too.
    pub issuers: Vec<String>,
    /// Whether `exp` must be present. Tokens of Cube clients often lack it.
    pub require_exp: bool,
    /// Which claims name the project.
    pub project: ProjectClaims,
}

/// Checks tokens against [`TokenRules`].
pub struct Verifier {
    keys: Vec<DecodingKey>,
    validation: Validation,
    require_exp: bool,
    project: ProjectClaims,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("secrets", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for `rules`.
    pub fn new(rules: &TokenRules) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        validation.required_spec_claims.clear();
        // Times are checked here against the engine's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = !rules.audiences.is_empty();
        if !rules.audiences.is_empty() {
            validation.set_audience(&rules.audiences);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if !rules.issuers.is_empty() {
            validation.set_issuer(&rules.issuers);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Self {
            keys: rules.secrets.iter().map(|s| DecodingKey::from_secret(s)).collect(),
            validation,
            require_exp: rules.require_exp,
            project: rules.project.clone(),
        }
    }

    /// The context of the token in `headers`.
    ///
    /// # Errors
    /// [`AuthError`], to be answered with status 403 and its text.
    pub fn authorize(
        &self,
        headers: &HeaderMap,
        now: Micros,
        only_project: impl FnOnce() -> Option<ProjectId>,
    ) -> Result<SecurityContext, AuthError> {
        let token = token_of(headers).ok_or(AuthError::Missing)?;
        let claims = self.verify(token, now)?;
        SecurityContext::from_claims(claims, &self.project, only_project)
    }

    /// The claims of `token`.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] when the token is not genuine, not yet valid or expired.
    pub fn verify(&self, token: &str, now: Micros) -> Result<Map<String, Value>, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid);
        }
        let claims = self.signed_claims(token)?;
        self.check_times(&claims, now / SECOND_MICROS)?;
        Ok(claims)
    }

    fn signed_claims(&self, token: &str) -> Result<Map<String, Value>, AuthError> {
        for key in &self.keys {
            match jsonwebtoken::decode::<Map<String, Value>>(token, key, &self.validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(_) => return Err(AuthError::Invalid),
            }
        }
        Err(AuthError::Invalid)
    }

    fn check_times(&self, claims: &Map<String, Value>, now_seconds: i64) -> Result<(), AuthError> {
        let expires = seconds_claim(claims, "exp")?;
        let begins = seconds_claim(claims, "nbf")?;
        let missing = self.require_exp && expires.is_none();
        let expired = expires.is_some_and(|exp| exp.saturating_add(LEEWAY_SECONDS) <= now_seconds);
        let early = begins.is_some_and(|nbf| nbf.saturating_sub(LEEWAY_SECONDS) > now_seconds);
        if missing || expired || early {
            return Err(AuthError::Invalid);
        }
        Ok(())
    }
}

/// A time claim in seconds; a claim that is present but no number is no valid token.
fn seconds_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, AuthError> {
    let Some(value) = claims.get(name).filter(|v| !v.is_null()) else {
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

//! Tokens of the operator: what the command line shows a running server, so that nobody else can flush, erase or restore.
//!
//! They are made from the API secret, which only this machine's data folder and settings hold, and live for a minute. The
//! key that signs them is derived from the secret, so that no token of a client, whatever its claims, is one of them, and
//! none of them is a token of a client.

use crate::config::Secret;
use axum::http::{HeaderMap, header};
use engine::clock::{Micros, SECOND_MICROS};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Whom such a token is for.
const AUDIENCE: &str = "tally-admin";
/// What the signing key is derived for; another text makes another key.
const KEY_CONTEXT: &str = "tally 2026-11 tokens of the operator";
/// Seconds a token is valid: one request.
const TTL_SECONDS: i64 = 60;
/// Seconds that the clocks of the two processes may differ.
const LEEWAY_SECONDS: i64 = 30;
/// Bytes of a token; more is not looked at.
const TOKEN_BYTES_MAX: usize = 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    aud: String,
    iat: i64,
    exp: i64,
}

/// A token of the operator, for one request.
///
/// # Errors
/// `Internal` when signing fails.
pub fn mint(secret: &Secret, now: Micros) -> engine::Result<String> {
    let iat = now / SECOND_MICROS;
    let claims = Claims {
        aud: AUDIENCE.to_owned(),
        iat,
        exp: iat + TTL_SECONDS,
    };
    let key = EncodingKey::from_secret(&key(secret));
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|error| engine::Error::internal("cannot sign a token").with_source(error))
}

/// Whether `headers` carry a token of the operator, signed with one of `secrets` and valid at `now`. The signature is
/// compared in constant time.
pub fn is_operator<'a>(headers: &HeaderMap, secrets: impl Iterator<Item = &'a Secret>, now: Micros) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = value.and_then(|value| value.strip_prefix("Bearer ")) else {
        return false;
    };
    if token.len() > TOKEN_BYTES_MAX {
        return false;
    }
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_audience(&[AUDIENCE]);
    // Times are compared with the engine's clock.
    rules.validate_exp = false;
    let now_seconds = now / SECOND_MICROS;
    let claims = |secret: &Secret| {
        let key = DecodingKey::from_secret(&key(secret));
        jsonwebtoken::decode::<Claims>(token, &key, &rules).ok()
    };
    secrets.filter_map(claims).any(|decoded| {
        let Claims { iat, exp, .. } = decoded.claims;
        iat - LEEWAY_SECONDS <= now_seconds && now_seconds < exp + LEEWAY_SECONDS && exp - iat <= TTL_SECONDS
    })
}

fn key(secret: &Secret) -> [u8; 32] {
    blake3::derive_key(KEY_CONTEXT, secret.expose().as_bytes())
}

#[cfg(test)]
mod tests;

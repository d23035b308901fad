//! Public keys of an identity provider: a JSON Web Key Set, fetched from the one URL that the settings name.
//!
//! Nothing in a token decides what is fetched: `jku`, `x5u` and `iss` are not looked at, and `kid` is only compared. A
//! stranger's tokens cannot make the server ask the provider more often than once a minute.

use super::jwt::{AuthError, RSA};
use axum::body::Bytes;
use futures::future::BoxFuture;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long keys are kept when the provider does not say.
const MAX_AGE_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Keys are kept at least this long, whatever the provider says: each fetch delays requests.
const MAX_AGE_LEAST: Duration = Duration::from_secs(30);
/// Keys are kept this long at the most, so that a withdrawn key does not live on.
const MAX_AGE_MOST: Duration = Duration::from_secs(24 * 3600);
/// Time between two fetches for keys that are not known.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(60);
/// Time after a fetch that failed before the next.
const FAILURE_INTERVAL: Duration = Duration::from_secs(10);
/// How long known keys serve on while the provider cannot be reached.
const OUTLIVES_PROVIDER: Duration = Duration::from_secs(3600);
/// Tries of one fetch.
const TRIES: u32 = 3;
/// Time before the second try, doubled before the third.
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// Time of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a key set.
const BYTES_MAX: usize = 1024 * 1024;
/// Keys of a key set that are looked at.
const KEYS_MAX: usize = 256;
/// Bytes of a key's name.
const KID_BYTES_MAX: usize = 256;

/// What a fetch brought.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The key set.
    pub body: Bytes,
    /// How long it may be kept, when the provider says.
    pub max_age: Option<Duration>,
}

/// How the key set is fetched: over HTTP, in tests from memory.
pub trait Fetch: Send + Sync {
    /// One try.
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, String>>;
}

/// A key that verifies tokens.
pub struct Key {
    /// The key.
    pub key: DecodingKey,
    /// Algorithms it may be used with, all of one family.
    pub algorithms: Vec<Algorithm>,
}

#[derive(Default)]
struct State {
    keys: HashMap<String, Arc<Key>>,
    expires: Option<Instant>,
    unknown_asked: Option<Instant>,
    failed: Option<Instant>,
}

/// The keys of the provider.
pub struct Jwks {
    fetch: Box<dyn Fetch>,
    /// Algorithms that the settings allow; empty: all.
    allowed: Vec<Algorithm>,
    state: RwLock<State>,
    /// What time it is; tests let it run.
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    /// Time before the second try.
    wait: Duration,
    /// Held by the one request that fetches.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks")
            .field("keys", &self.state.read().keys.len())
            .finish_non_exhaustive()
    }
}

/// What is known of a key without asking the provider.
enum Known {
    Key(Arc<Key>),
    Missing,
    Unsure,
}

impl Jwks {
    /// Keys from what `fetch` brings, to be used with the algorithms `allowed`, or with all when it is empty.
    pub fn new(fetch: Box<dyn Fetch>, allowed: Vec<Algorithm>) -> Self {
        Self {
            fetch,
            allowed,
            state: RwLock::default(),
            clock: Box::new(Instant::now),
            wait: RETRY_WAIT,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Fetches the keys, so that the first request need not wait. A failure is logged and tried again by requests.
    pub async fn prefetch(&self) {
        let _turn = self.turn.lock().await;
        if self.state.read().expires.is_none() {
            self.refresh().await;
        }
    }

    /// The key of this name; `None` when the provider has none.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] when the provider cannot be reached and nothing is known.
    pub async fn key(&self, kid: &str) -> Result<Option<Arc<Key>>, AuthError> {
        if let Some(known) = self.known(kid) {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        // Another request may have fetched while this one waited.
        if let Some(known) = self.known(kid) {
            return Ok(known);
        }
        let now = (self.clock)();
        let fresh = self.state.read().expires.is_some_and(|expires| now < expires);
        if fresh {
            self.state.write().unknown_asked = Some(now);
        }
        let recently = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) < FAILURE_INTERVAL);
        let failed = self.state.read().failed;
        if !recently(failed) {
            self.refresh().await;
        }
        let state = self.state.read();
        let now = (self.clock)();
        match (state.keys.get(kid), state.expires) {
            (Some(key), Some(expires)) if now < expires + OUTLIVES_PROVIDER => Ok(Some(Arc::clone(key))),
            (_, Some(expires)) if now < expires => Ok(None),
            _ => Err(AuthError::Unavailable),
        }
    }

    /// The answer when the provider need not be asked.
    fn known(&self, kid: &str) -> Option<Option<Arc<Key>>> {
        let state = self.state.read();
        let now = (self.clock)();
        let fresh = state.expires.is_some_and(|expires| now < expires);
        let asked = state.unknown_asked;
        let known = match state.keys.get(kid) {
            _ if !fresh => Known::Unsure,
            Some(key) => Known::Key(Arc::clone(key)),
            None if asked.is_some_and(|at| now.duration_since(at) < UNKNOWN_KEY_INTERVAL) => Known::Missing,
            None => Known::Unsure,
        };
        match known {
            Known::Key(key) => Some(Some(key)),
            Known::Missing => Some(None),
            Known::Unsure => None,
        }
    }

    async fn refresh(&self) {
        let mut wait = self.wait;
        let mut last = String::new();
        for tried in 1..=TRIES {
            let fetched = tokio::time::timeout(TRY_TIMEOUT, self.fetch.fetch()).await;
            match fetched.unwrap_or_else(|_| Err("it took too long".to_owned())) {
                Ok(fetched) => match keys(&fetched.body, &self.allowed) {
                    Ok(keys) => {
                        let age = fetched.max_age.unwrap_or(MAX_AGE_DEFAULT);
                        let mut state = self.state.write();
                        state.keys = keys;
                        state.expires = Some((self.clock)() + age.clamp(MAX_AGE_LEAST, MAX_AGE_MOST));
                        state.failed = None;
                        return;
                    }
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
            if tried < TRIES {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        tracing::warn!("the keys that verify tokens could not be fetched: {last}");
        self.state.write().failed = Some((self.clock)());
    }
}

/// The keys of a key set by their names. Keys that cannot verify a signature are passed over: those for encryption,
/// those of unknown kinds, and symmetric ones, which have no place in a public set.
fn keys(body: &[u8], allowed: &[Algorithm]) -> Result<HashMap<String, Arc<Key>>, String> {
    let set: Value = serde_json::from_slice(body).map_err(|error| format!("no key set: {error}"))?;
    let listed = set.get("keys").and_then(Value::as_array);
    let listed = listed.ok_or_else(|| "no key set: `keys` is missing".to_owned())?;
    let mut keys = HashMap::new();
    for one in listed.iter().take(KEYS_MAX) {
        let Ok(jwk) = serde_json::from_value::<Jwk>(one.clone()) else {
            continue;
        };
        let Some(kid) = jwk.common.key_id.clone().filter(|kid| kid.len() <= KID_BYTES_MAX) else {
            continue;
        };
        let mut algorithms = algorithms(&jwk);
        algorithms.retain(|algorithm| allowed.is_empty() || allowed.contains(algorithm));
        if let (false, Ok(key)) = (algorithms.is_empty(), DecodingKey::from_jwk(&jwk)) {
            keys.insert(kid, Arc::new(Key { key, algorithms }));
        }
    }
    Ok(keys)
}

/// The algorithms that a key may be used with: the one that it names, else those of its kind.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    if jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|used| *used != PublicKeyUse::Signature)
    {
        return Vec::new();
    }
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA,
        AlgorithmParameters::EllipticCurve(params) => match params.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
        _ => &[],
    };
    let named = jwk.common.key_algorithm.as_ref().map(KeyAlgorithm::to_string);
    let fits = |algorithm: &&Algorithm| named.as_ref().is_none_or(|name| format!("{algorithm:?}") == *name);
    of_kind.iter().filter(fits).copied().collect()
}

/// Fetches over HTTP.
pub struct HttpFetch {
    url: String,
    client: reqwest::Client,
}

impl HttpFetch {
    /// Fetches `url`. Redirects are not followed, so that no other address is asked.
    ///
    /// # Errors
    /// `Invalid` when no client can be made.
    pub fn new(url: &str) -> engine::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TRY_TIMEOUT)
            .user_agent("tally")
            .build()
            .map_err(|error| engine::Error::invalid(format!("no HTTP client for jwk_url: {error}")))?;
        Ok(Self {
            url: url.to_owned(),
            client,
        })
    }

    async fn get(&self) -> Result<Fetched, String> {
        // Errors of the client name the URL, which may hold credentials.
        let text = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.client.get(&self.url).send().await.map_err(text)?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()));
        }
        let max_age = response
            .headers()
            .get("cache-control")
            .and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(text)? {
            if body.len() + chunk.len() > BYTES_MAX {
                return Err(format!("more than {BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched {
            body: body.into(),
            max_age,
        })
    }
}

impl Fetch for HttpFetch {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, String>> {
        Box::pin(self.get())
    }
}

/// `max-age` of a `Cache-Control` header; nothing is kept long that must not be stored.
fn max_age(value: &str) -> Option<Duration> {
    let directives: Vec<&str> = value.split(',').map(str::trim).collect();
    if directives.iter().any(|one| matches!(*one, "no-store" | "no-cache")) {
        return Some(Duration::ZERO);
    }
    let seconds = directives
        .iter()
        .find_map(|one| one.strip_prefix("max-age=")?.trim_matches('"').parse().ok());
    seconds.map(Duration::from_secs)
}

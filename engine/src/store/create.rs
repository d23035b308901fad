//! Put-if-absent that knows its own success.
//!
//! A put can succeed and its answer be lost; a retry inside the HTTP client then meets its own object and reports that
//! it exists. A service may also answer "conflict" and have written nothing. So no answer but success is believed: the
//! object itself is read back, and its bytes say whose it is.

use crate::error::{Error, Result};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::sync::Arc;
use std::time::Duration;

/// First wait between two tries; doubles up to [`WAIT_MAX`]. Tests have thousands of tries.
const WAIT_FIRST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 50 });
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_millis(if cfg!(test) { 8 } else { 2_000 });

/// Whose object is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// Exactly the bytes that were to be put, now or by an earlier try.
    Ours,
    /// Other bytes.
    Theirs(Bytes),
}

/// Puts `bytes` at `name` unless there is an object. Bytes must be unlike any rival's. While the store neither takes the
/// object nor shows one, the put is repeated until `gives_up`, which is told the number of failed tries.
///
/// # Errors
/// `Storage` after giving up. The outcome is then unknown: the object may appear later.
pub async fn create(
    store: &Arc<dyn ObjectStore>,
    name: &Path,
    bytes: &Bytes,
    gives_up: impl Fn(u32) -> bool,
) -> Result<Created> {
    let mut tries = 0;
    let mut wait = WAIT_FIRST;
    loop {
        let create = PutOptions::from(PutMode::Create);
        let refused = match store.put_opts(name, bytes.clone().into(), create).await {
            Ok(_) => return Ok(Created::Ours),
            Err(error) => error,
        };
        let error = match read(store, name).await {
            Ok(found) if found == *bytes => return Ok(Created::Ours),
            Ok(found) => return Ok(Created::Theirs(found)),
            Err(object_store::Error::NotFound { .. }) => refused,
            Err(error) => error,
        };
        tries += 1;
        if gives_up(tries) {
            let text = format!("{name} could not be put after {tries} tries, and may or may not be there: {error}");
            return Err(Error::storage(text).with_source(error));
        }
        if tries.is_power_of_two() {
            tracing::warn!(%name, %error, tries, "the store does not take an object; it is tried again");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

async fn read(store: &Arc<dyn ObjectStore>, name: &Path) -> object_store::Result<Bytes> {
    store.get(name).await?.bytes().await
}

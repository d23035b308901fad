//! Opening an object store by its URL: one table of backends, a durable local one, and the start-up self-test.

mod cached;
#[cfg(test)]
pub mod chaos;
mod durable_local;
mod staged;
mod watched;

#[cfg(test)]
pub mod slow;
#[cfg(test)]
mod tests;

use super::paths;
use crate::error::{Error, Result};
use crate::limits;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions, RetryConfig};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

pub use cached::{CachedStore, DiskOptions};
pub use durable_local::DurableLocal;
pub use staged::{forget_blocks, forget_staged, local_folder};
pub use watched::Watched;

type Options = [(String, String)];

/// A kind of store.
struct Backend {
    scheme: &'static str,
    example: &'static str,
    open: fn(&Url, &Options) -> Result<Arc<dyn ObjectStore>>,
    /// Whether put-if-absent is proven at every start, because some services only claim to have it.
    is_probed: bool,
}

/// A remote store by its library's builder. The library's own way from a URL to a store leaves its patience at three
/// minutes for a request, which a query cannot wait and a flush need not.
macro_rules! remote {
    ($builder:ty, $key:ty) => {
        |url, options| {
            let mut builder = <$builder>::new().with_url(url.as_str()).with_retry(retry());
            for (name, value) in options {
                // The library passes over names it does not know, which would turn a typing error into a confusing
                // refusal later.
                let unknown = |_| Error::invalid(format!("`{name}` is no option of a {} store", url.scheme()));
                let key = <$key>::from_str(&name.to_ascii_lowercase()).map_err(unknown)?;
                builder = builder.with_config(key, value);
            }
            let store = builder.build().map_err(|error| not_opened(url, error))?;
            below_prefix(url, store)
        }
    };
}

const BACKENDS: &[Backend] = &[
    Backend {
        scheme: "file",
        example: "file:///var/lib/tally/store",
        open: open_file,
        is_probed: false,
    },
    Backend {
        scheme: "s3",
        example: "s3://bucket/prefix",
        open: remote!(AmazonS3Builder, AmazonS3ConfigKey),
        is_probed: true,
    },
    Backend {
        scheme: "gs",
        example: "gs://bucket/prefix",
        open: remote!(GoogleCloudStorageBuilder, GoogleConfigKey),
        is_probed: true,
    },
    Backend {
        scheme: "az",
        example: "az://container/prefix",
        open: remote!(MicrosoftAzureBuilder, AzureConfigKey),
        is_probed: true,
    },
    Backend {
        scheme: "memory",
        example: "memory:",
        open: |_, _| Ok(Arc::new(InMemory::new())),
        is_probed: false,
    },
];

/// Opens the store at `url`; its names start at the URL's path. A remote store must show that it can create an object
/// only if it is absent, which is what makes commits safe.
///
/// # Errors
/// `Invalid` for a URL or option that is not understood, `Storage` when the store does not answer or fails the test.
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn ObjectStore>> {
    let (backend, parsed) = backend_of(url)?;
    let store = (backend.open)(&parsed, options)?;
    if backend.is_probed {
        probe(&store, url).await?;
    }
    Ok(store)
}

/// As [`open`], for a process that only reads: the store is not put to the test, and nothing is written.
///
/// # Errors
/// `Invalid` for a URL or option that is not understood.
pub fn open_to_read(url: &str, options: &Options) -> Result<Arc<dyn ObjectStore>> {
    let (backend, parsed) = backend_of(url)?;
    (backend.open)(&parsed, options)
}

fn backend_of(url: &str) -> Result<(&'static Backend, Url)> {
    let examples = || {
        let examples: Vec<&str> = BACKENDS.iter().map(|backend| backend.example).collect();
        examples.join(", ")
    };
    let parsed = Url::parse(url).map_err(|error| {
        Error::invalid(format!(
            "`{url}` is no store URL ({error}); possible are {}",
            examples()
        ))
    })?;
    let backend = BACKENDS.iter().find(|backend| backend.scheme == parsed.scheme());
    let backend = backend.ok_or_else(|| {
        Error::invalid(format!(
            "`{url}` names an unknown kind of store; possible are {}",
            examples()
        ))
    })?;
    Ok((backend, parsed))
}

/// Whether the store at `url` is reached over a network: its blocks are worth keeping on this machine.
pub fn is_remote(url: &str) -> bool {
    let scheme = url.split(':').next().unwrap_or_default();
    BACKENDS
        .iter()
        .any(|backend| backend.scheme == scheme && backend.is_probed)
}

fn open_file(url: &Url, _: &Options) -> Result<Arc<dyn ObjectStore>> {
    let folder = url
        .to_file_path()
        .map_err(|()| Error::invalid(format!("`{url}` is no absolute folder; write file:///absolute/path")))?;
    Ok(Arc::new(DurableLocal::new(&folder)?))
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: limits::STORE_RETRIES_MAX,
        retry_timeout: Duration::from_millis(limits::STORE_RETRY_MS_MAX),
        ..RetryConfig::default()
    }
}

fn not_opened(url: &Url, error: object_store::Error) -> Error {
    Error::invalid(format!("the store {url} cannot be opened: {error}")).with_source(error)
}

/// The store with all names below the URL's path.
fn below_prefix(url: &Url, store: impl ObjectStore) -> Result<Arc<dyn ObjectStore>> {
    let (_, prefix) = ObjectStoreScheme::parse(url).map_err(|error| not_opened(url, error.into()))?;
    Ok(if prefix == Path::default() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    })
}

/// Shows that the store keeps the promises that commits and the log rest on: put-if-absent, and that whoever reads or lists
/// after a put or a delete sees it.
async fn probe(store: &Arc<dyn ObjectStore>, url: &str) -> Result<()> {
    let folder = paths::probe();
    let name = folder.clone().join("0");
    let tested = probe_in(store, url, &folder, &name).await;
    if tested.is_err()
        && let Err(error) = store.delete(&name).await
    {
        tracing::debug!(%name, %error, "the probe object could not be deleted; it is harmless");
    }
    tested
}

async fn probe_in(store: &Arc<dyn ObjectStore>, url: &str, folder: &Path, name: &Path) -> Result<()> {
    let refused = |what: &'static str| {
        move |error: object_store::Error| {
            Error::storage(format!(
                "the store {url} does not {what}: {error}; check its address, credentials and rights (it must allow to \
                 put, get, list and delete)"
            ))
            .with_source(error)
        }
    };
    let broken = |what: &str| {
        Error::storage(format!(
            "the store {url} {what}; acknowledged events could be lost that way, so Tally does not use it: update the \
             service or choose another"
        ))
    };
    let create = || PutOptions::from(PutMode::Create);
    let put = store.put_opts(name, "tally".into(), create()).await;
    put.map_err(refused("take a write"))?;
    match store.put_opts(name, "tally again".into(), create()).await {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
        Ok(_) => {
            return Err(broken(
                "overwrites an object that it was told to create only if absent (If-None-Match)",
            ));
        }
        Err(error) => return Err(refused("take a write")(error)),
    }
    let read = store.get(name).await.map_err(refused("give back what was put"))?;
    let read = read.bytes().await.map_err(refused("give back what was put"))?;
    if read != "tally" {
        return Err(broken("gives back other bytes than were put"));
    }
    let list = async || -> object_store::Result<Vec<Path>> {
        store
            .list(Some(folder))
            .map_ok(|object| object.location)
            .try_collect()
            .await
    };
    if list().await.map_err(refused("list"))? != [name.clone()] {
        return Err(broken("does not list an object that was put a moment before"));
    }
    store.delete(name).await.map_err(refused("delete"))?;
    let is_gone = matches!(store.head(name).await, Err(object_store::Error::NotFound { .. }));
    if !is_gone || !list().await.map_err(refused("list"))?.is_empty() {
        return Err(broken("still shows an object that was deleted a moment before"));
    }
    Ok(())
}

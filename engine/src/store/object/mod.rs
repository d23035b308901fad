//! Opening an object store by its URL: one table of backends, a durable local one, and the start-up self-test.

mod durable_local;
mod watched;

#[cfg(test)]
mod tests;

use super::paths;
use crate::error::{Error, Result};
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::str::FromStr;
use std::sync::Arc;
use url::Url;

pub use durable_local::DurableLocal;
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
        open: open_remote::<AmazonS3ConfigKey>,
        is_probed: true,
    },
    Backend {
        scheme: "gs",
        example: "gs://bucket/prefix",
        open: open_remote::<GoogleConfigKey>,
        is_probed: true,
    },
    Backend {
        scheme: "az",
        example: "az://container/prefix",
        open: open_remote::<AzureConfigKey>,
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
    let store = (backend.open)(&parsed, options)?;
    if backend.is_probed {
        probe(&store, url).await?;
    }
    Ok(store)
}

fn open_file(url: &Url, _: &Options) -> Result<Arc<dyn ObjectStore>> {
    let folder = url
        .to_file_path()
        .map_err(|()| Error::invalid(format!("`{url}` is no absolute folder; write file:///absolute/path")))?;
    Ok(Arc::new(DurableLocal::new(&folder)?))
}

fn open_remote<K: FromStr>(url: &Url, options: &Options) -> Result<Arc<dyn ObjectStore>> {
    // The library passes over names it does not know, which would turn a typing error into a confusing refusal later.
    for (name, _) in options {
        if K::from_str(&name.to_ascii_lowercase()).is_err() {
            return Err(Error::invalid(format!(
                "`{name}` is no option of a {} store",
                url.scheme()
            )));
        }
    }
    let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (store, prefix) = object_store::parse_url_opts(url, options)
        .map_err(|error| Error::invalid(format!("the store {url} cannot be opened: {error}")).with_source(error))?;
    Ok(if prefix == Path::default() {
        Arc::from(store)
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    })
}

/// Puts the same new object twice; the second put must be refused.
async fn probe(store: &Arc<dyn ObjectStore>, url: &str) -> Result<()> {
    let name = paths::probe();
    let create = || PutOptions::from(PutMode::Create);
    let refused = |error: object_store::Error| {
        Error::storage(format!(
            "the store {url} does not take a write: {error}; check its address, credentials and rights"
        ))
        .with_source(error)
    };
    store.put_opts(&name, "tally".into(), create()).await.map_err(refused)?;
    let second = store.put_opts(&name, "tally again".into(), create()).await;
    if let Err(error) = store.delete(&name).await {
        tracing::warn!(%name, %error, "the probe object could not be deleted; it is harmless");
    }
    match second {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
        Ok(_) => Err(Error::storage(format!(
            "the store {url} overwrites an object that it was told to create only if absent (If-None-Match); two \
             writers would destroy each other's commits, so Tally does not use it: update the service or choose another"
        ))),
        Err(error) => Err(refused(error)),
    }
}

//! A store in memory that fails as the real ones do: before a write, after it, with a conflict that wrote nothing, slowly.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// How often a read is tried.
const READ_TRIES: usize = 20;

/// Numbers that are the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A view of one store through one client's bad connection. Clones of the inner store are other clients' views.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<InMemory>,
    random: Mutex<Random>,
    /// Requests in a hundred that go wrong.
    per_cent: u64,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

enum Fault {
    None,
    Before,
    After,
    /// "It exists", and nothing was written.
    Conflict,
}

impl Faulty {
    pub(crate) fn over(inner: &Arc<InMemory>, seed: u64, per_cent: u64) -> Arc<dyn ObjectStore> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            random: Mutex::new(Random::new(seed)),
            per_cent,
        })
    }

    /// Waits as long as a request may take, and says what becomes of it.
    async fn fault(&self) -> Fault {
        let (wait, fault) = {
            let mut random = self.random.lock();
            let wait = match random.below(10) {
                0 => random.below(40),
                _ => random.below(2),
            };
            let fault = if random.below(100) < self.per_cent {
                match random.below(3) {
                    0 => Fault::Before,
                    1 => Fault::After,
                    _ => Fault::Conflict,
                }
            } else {
                Fault::None
            };
            (wait, fault)
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        fault
    }
}

fn failed() -> object_store::Error {
    object_store::Error::Generic {
        store: "Faulty",
        source: "503 Slow Down".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let is_create = matches!(opts.mode, PutMode::Create);
        match self.fault().await {
            Fault::None => self.inner.put_opts(location, payload, opts).await,
            Fault::Conflict if is_create => Err(object_store::Error::AlreadyExists {
                path: location.to_string(),
                source: "409 ConditionalRequestConflict".into(),
            }),
            Fault::Before | Fault::Conflict => Err(failed()),
            Fault::After => {
                self.inner.put_opts(location, payload, opts).await?;
                // The answer takes its time as well, and then is lost.
                self.fault().await;
                Err(failed())
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        // What only reads is repeated by the clients of real stores themselves; without that no long log could be read
        // over a bad connection.
        for _ in 0..READ_TRIES {
            if matches!(self.fault().await, Fault::None) {
                return self.inner.get_opts(location, options).await;
            }
        }
        Err(failed())
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

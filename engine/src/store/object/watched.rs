//! Every request of the object store passes here: counted, timed, its failures told, its answers measured.
//!
//! A failure is what is no answer: the store could not be reached, refused, or broke off. It is wrapped in
//! [`StoreFailure`], by which errors far above are known for what they are. An answer that ends before its time is a
//! failure too: a table's log cut at the end of a line would read as a shorter log.

use crate::error::StoreFailure;
use crate::health::{Health, Part, Severity};
use crate::metrics::{Histogram, Metrics};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// A store that is watched. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watched {
    inner: Arc<dyn ObjectStore>,
    watch: Watch,
}

#[derive(Debug, Clone)]
struct Watch {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// A kind of request, as the metrics have it.
#[derive(Debug, Clone, Copy)]
enum Op {
    Get,
    Put,
    List,
    Delete,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Put => "put",
            Op::List => "list",
            Op::Delete => "delete",
        }
    }

    fn seconds(self, metrics: &Metrics) -> &Histogram {
        match self {
            Op::Get => &metrics.store_get_seconds,
            Op::Put => &metrics.store_put_seconds,
            Op::List => &metrics.store_list_seconds,
            Op::Delete => &metrics.store_delete_seconds,
        }
    }
}

impl Watch {
    /// Counts what became of a request. An answer of any kind shows that the store is well.
    fn seen<T>(&self, op: Op, result: Result<T>) -> Result<T> {
        let outcome = match &result {
            Ok(_) => "ok",
            Err(Error::NotFound { .. }) => "absent",
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => "exists",
            // A defect of the caller, which says nothing of the store.
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. } | Error::InvalidPath { .. }) => {
                return result;
            }
            Err(_) => "failed",
        };
        self.metrics.store_requests.add(op.name(), outcome);
        match result {
            Err(error) if outcome == "failed" => Err(self.failure(error)),
            other => {
                if self.health.clear(Part::Store) {
                    tracing::info!("the object store answers again");
                }
                other
            }
        }
    }

    fn failure(&self, error: Error) -> Error {
        let reason = "the object store does not answer or refuses; ingest goes on until its buffer is full";
        if self.health.report(Part::Store, Severity::Warning, reason) {
            tracing::warn!(%error, "the object store failed; what needs it is tried again");
        }
        Error::Generic {
            store: "object store",
            source: Box::new(StoreFailure(error)),
        }
    }

    fn listed(self, list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let watch = self.clone();
        // Only reached when nothing failed: whoever reads a list stops at its first error.
        let end = futures::stream::once(async move { watch.seen(Op::List, Ok(())) });
        let end = end.filter_map(|_| futures::future::ready(None));
        list.map(move |item| match item {
            Ok(meta) => Ok(meta),
            Err(error) => self.seen(Op::List, Err(error)),
        })
        .chain(end)
        .boxed()
    }

    async fn timed<T>(&self, op: Op, request: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let result = request.await;
        op.seconds(&self.metrics).observe(started.elapsed());
        self.seen(op, result)
    }
}

impl Watched {
    /// Watches `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self {
            inner,
            watch: Watch { metrics, health },
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// The bytes of an answer, with an error at the end when they are fewer than was said.
fn measured(
    stream: BoxStream<'static, Result<bytes::Bytes>>,
    expected: u64,
    location: Path,
    watch: Watch,
) -> BoxStream<'static, Result<bytes::Bytes>> {
    let state = (stream, expected, Some((location, watch)));
    let step = |(mut stream, left, mut rest): (
        BoxStream<'static, Result<bytes::Bytes>>,
        u64,
        Option<(Path, Watch)>,
    )| async move {
        let (location, watch) = rest.take()?;
        match stream.next().await {
            Some(Ok(bytes)) => {
                watch.metrics.store_read_bytes.add(bytes.len() as u64);
                let left = left.saturating_sub(bytes.len() as u64);
                Some((Ok(bytes), (stream, left, Some((location, watch)))))
            }
            Some(Err(error)) => Some((watch.seen(Op::Get, Err(error)), (stream, left, None))),
            None if left == 0 => None,
            None => {
                let source = format!("the answer for {location} ended {left} bytes early").into();
                let short = Error::Generic {
                    store: "object store",
                    source,
                };
                Some((watch.seen(Op::Get, Err(short)), (stream, left, None)))
            }
        }
    };
    futures::stream::unfold(state, step).fuse().boxed()
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let put = self.inner.put_opts(location, payload, opts);
        let result = self.watch.timed(Op::Put, put).await?;
        self.watch.metrics.store_written_bytes.add(bytes);
        Ok(result)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(location, opts);
        let inner = self.watch.timed(Op::Put, begun).await?;
        Ok(Box::new(Upload {
            inner,
            watch: self.watch.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let mut found = self
            .watch
            .timed(Op::Get, self.inner.get_opts(location, options))
            .await?;
        let expected = found.range.end.saturating_sub(found.range.start);
        found.payload = match found.payload {
            GetResultPayload::Stream(stream) if !is_head => {
                let stream = measured(stream, expected, location.clone(), self.watch.clone());
                GetResultPayload::Stream(stream)
            }
            file => {
                self.watch
                    .metrics
                    .store_read_bytes
                    .add(if is_head { 0 } else { expected });
                file
            }
        };
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let watch = self.watch.clone();
        let deleted = self.inner.delete_stream(locations);
        deleted.map(move |result| watch.seen(Op::Delete, result)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watch.clone().listed(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watch.clone().listed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.watch.timed(Op::List, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.watch.timed(Op::Put, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.watch
            .timed(Op::Put, self.inner.rename_opts(from, to, options))
            .await
    }
}

/// An upload in parts, each of them watched.
#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    watch: Watch,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (watch, bytes) = (self.watch.clone(), data.content_length() as u64);
        let part = self.inner.put_part(data);
        Box::pin(async move {
            watch.timed(Op::Put, part).await?;
            watch.metrics.store_written_bytes.add(bytes);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.watch.timed(Op::Put, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.watch.timed(Op::Delete, self.inner.abort()).await
    }
}

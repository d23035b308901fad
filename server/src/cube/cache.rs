//! Answers that are given again: what was computed for the same question, the same asker, the same model and the same
//! rows is right for as long as none of them changes.
//!
//! An answer is kept under who asks what in which form and under which model ([`super::load::key`]), together with the
//! version of the rows it was made from; it is used only while that is still the version. Therefore all of Cube's cache
//! modes give the newest answer: `stale-if-slow`, `stale-while-revalidate` and `must-revalidate` may use a kept one, which
//! is never stale, and `no-cache` computes it in any case. Where a model's SQL reads the clock, an answer is used for
//! [`CLOCK_ANSWER_MICROS_MAX`].

use super::error::ApiResult;
use super::pending::{Key, Landed, Patience, Pending};
use axum::body::Bytes;
use engine::DataVersion;
use engine::clock::Micros;
use engine::metrics::Metrics;
use futures::FutureExt;
use futures::future::BoxFuture;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Microseconds for which an answer is used that depends on the clock: what a model's author expects of `now()` on a
/// dashboard.
const CLOCK_ANSWER_MICROS_MAX: Micros = 10_000_000;
/// The part of the memory budget that kept answers may take: ingest takes a quarter, queries a half.
const BUDGET_PART: usize = 16;
/// An answer larger than this part of the cache is not kept: it would drive out many that are asked more often.
const ANSWER_PART_MAX: usize = 8;
/// What an entry costs beside its bytes: the key, the links, the allocation.
const ENTRY_BYTES: u64 = 256;
/// Bytes of a usual answer, from which the number of entries is estimated.
const ANSWER_BYTES_USUAL: usize = 4096;
/// Parts of the cache that are locked on their own. Few, so that a part has room for large answers.
const SHARDS: usize = 2;

/// How long an answer is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// As long as the rows are the same.
    WhileRowsStay,
    /// For some seconds: it depends on the clock.
    Moments,
    /// It must not be used again.
    No,
}

/// A body ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The bytes.
    pub body: Bytes,
    /// How long they are right.
    pub lasting: Lasting,
}

/// A request for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Who asks what in which form, of which model.
    pub key: Key,
    /// The version of the rows, read before anything else.
    pub version: DataVersion,
    /// The instant.
    pub now: Micros,
    /// Whether it must be computed, as `no-cache` demands.
    pub anew: bool,
}

#[derive(Debug, Clone)]
struct Kept {
    body: Bytes,
    version: DataVersion,
    /// When it was computed, if that matters.
    computed_at: Option<Micros>,
}

impl Kept {
    fn is_right_for(&self, asked: &Asked) -> bool {
        let fresh = |at: Micros| (0..CLOCK_ANSWER_MICROS_MAX).contains(&asked.now.saturating_sub(at));
        self.version == asked.version && self.computed_at.is_none_or(fresh)
    }
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Kept> for Bytewise {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        kept.body.len() as u64 + ENTRY_BYTES
    }
}

/// The kept answers and the queries in flight, of all projects.
pub struct Answers {
    kept: Arc<Cache<Key, Kept, Bytewise>>,
    pending: Pending<Bytes>,
    answer_bytes_max: usize,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("bytes", &self.kept.weight())
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl Answers {
    /// An empty cache for an engine with this memory budget. Clients whose query takes longer than `continue_wait` are
    /// told to ask again.
    pub fn new(memory_bytes: usize, continue_wait: Duration, metrics: Arc<Metrics>) -> Self {
        let bytes = memory_bytes / BUDGET_PART;
        let options = quick_cache::OptionsBuilder::new()
            .estimated_items_capacity((bytes / ANSWER_BYTES_USUAL).max(16))
            .weight_capacity(bytes as u64)
            .shards(SHARDS)
            .build();
        let kept = match options {
            Ok(options) => Cache::with_options(options, Bytewise, Default::default(), Default::default()),
            // Both capacities are given above, which is all that the builder asks for.
            Err(_) => Cache::with_weighter(16, bytes as u64, Bytewise),
        };
        Self {
            kept: Arc::new(kept),
            pending: Pending::new(Patience::answering_within(continue_wait)),
            answer_bytes_max: bytes / ANSWER_PART_MAX,
            metrics,
        }
    }

    /// Forgets all kept answers: what they were made of may have been erased.
    pub fn clear(&self) {
        self.kept.clear();
        self.metrics.answer_cache_bytes.set(self.kept.weight());
    }

    /// The answer to `asked`: a kept one, the one that is just being computed, or that of `start`. `None` when it takes
    /// too long; the client is to ask again.
    ///
    /// # Errors
    /// Those of `start`. They are not kept.
    pub async fn answer<W>(&self, asked: Asked, start: impl FnOnce() -> W) -> ApiResult<Option<Bytes>>
    where
        W: Future<Output = ApiResult<Written>> + Send + 'static,
    {
        if !asked.anew
            && let Some(kept) = self.kept.get(&asked.key)
            && kept.is_right_for(&asked)
        {
            self.metrics.answers_cached.add(1);
            return Ok(Some(kept.body));
        }
        // Who wants it computed does not get what another began to compute before.
        let flight = if asked.anew { apart(asked.key) } else { asked.key };
        let start = || self.keeping(asked, start());
        match self.pending.answer(flight, asked.version, start).await? {
            Landed::Computed(body) => {
                self.metrics.answers_computed.add(1);
                Ok(Some(body))
            }
            Landed::Joined(body) => {
                self.metrics.answers_shared.add(1);
                Ok(Some(body))
            }
            Landed::NotYet => Ok(None),
        }
    }

    /// `work`, which puts its answer here when it is done, whether or not somebody still waits for it.
    fn keeping(
        &self,
        asked: Asked,
        work: impl Future<Output = ApiResult<Written>> + Send + 'static,
    ) -> BoxFuture<'static, ApiResult<Bytes>> {
        let (kept, metrics, bytes_max) = (Arc::clone(&self.kept), Arc::clone(&self.metrics), self.answer_bytes_max);
        async move {
            let Written { body, lasting } = work.await?;
            if body.len() <= bytes_max && lasting != Lasting::No {
                let entry = Kept {
                    body: body.clone(),
                    version: asked.version,
                    computed_at: (lasting == Lasting::Moments).then_some(asked.now),
                };
                kept.insert(asked.key, entry);
                metrics.answer_cache_bytes.set(kept.weight());
            }
            Ok(body)
        }
        .boxed()
    }
}

/// Another key for the same question.
fn apart(mut key: Key) -> Key {
    for byte in &mut key {
        *byte = !*byte;
    }
    key
}

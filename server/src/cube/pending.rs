//! Long queries: a client that has waited long enough is told to ask again, and finds the query still running.
//!
//! Cube's clients send the same request again at once when they read `Continue wait`. Until then a query belongs to its
//! connection and ends with it.

use super::error::{ApiError, ApiResult};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

#[cfg(test)]
mod tests;

/// What a request asks and for whom, hashed.
pub type Key = [u8; 32];

/// How requests wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Time after which a client is told to ask again.
    pub answer: Duration,
    /// Time after which a query that nobody asks for any more is dropped.
    pub abandoned: Duration,
    /// Queries that run on without a connection at the most. When there are more, clients simply wait.
    pub detached: usize,
}

impl Default for Patience {
    fn default() -> Self {
        use crate::limits;
        Self {
            answer: limits::CONTINUE_WAIT,
            abandoned: limits::DETACHED_QUERY_MAX,
            detached: limits::DETACHED_QUERIES_MAX,
        }
    }
}

/// An answer's text, or why there is none.
type Answered = ApiResult<String>;

struct Detached {
    since: Instant,
    running: JoinHandle<Answered>,
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The queries that run on without a connection.
#[derive(Default)]
pub struct Pending {
    patience: Patience,
    detached: Mutex<HashMap<Key, Detached>>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("detached", &self.detached.lock().len())
            .finish()
    }
}

impl Pending {
    /// The answer to `key`: of the query that already runs for it, or of `start`. `None` when it takes too long.
    ///
    /// # Errors
    /// Those of the query.
    pub async fn answer(&self, key: Key, start: BoxFuture<'static, Answered>) -> ApiResult<Option<String>> {
        let earlier = self.detached.lock().remove(&key);
        if let Some(mut earlier) = earlier {
            return match tokio::time::timeout(self.patience.answer, &mut earlier.running).await {
                Ok(finished) => finished.unwrap_or_else(|_| Err(lost())).map(Some),
                Err(_) => {
                    earlier.since = Instant::now();
                    self.detached.lock().insert(key, earlier);
                    Ok(None)
                }
            };
        }
        let mut work = start;
        if let Ok(finished) = tokio::time::timeout(self.patience.answer, &mut work).await {
            return finished.map(Some);
        }
        if !self.has_room() {
            return work.await.map(Some);
        }
        let detached = Detached {
            since: Instant::now(),
            running: tokio::spawn(work),
        };
        self.detached.lock().insert(key, detached);
        Ok(None)
    }

    fn has_room(&self) -> bool {
        let mut detached = self.detached.lock();
        detached.retain(|_, query| query.since.elapsed() < self.patience.abandoned);
        detached.len() < self.patience.detached
    }
}

fn lost() -> ApiError {
    engine::Error::internal("a detached query ended without an answer").into()
}

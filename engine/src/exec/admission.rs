//! How many queries run at once, and how many may wait.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Waiting queries for each running one. More would only time out in the queue.
const WAITING_PER_RUNNING: usize = 16;

/// Admits queries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    running_max: usize,
    waiting_max: usize,
}

/// A query's right to run; dropping it lets the next one in.
#[derive(Debug)]
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
}

/// Counts one waiting query for as long as it lives.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    /// Admits `running_max` queries at once.
    pub fn new(running_max: usize) -> Self {
        let running_max = running_max.max(1);
        Self {
            running: Arc::new(Semaphore::new(running_max)),
            waiting: Arc::new(AtomicUsize::new(0)),
            running_max,
            waiting_max: running_max * WAITING_PER_RUNNING,
        }
    }

    /// Queries that run, and that wait.
    pub fn counts(&self) -> (usize, usize) {
        let running = self.running_max.saturating_sub(self.running.available_permits());
        (running, self.waiting.load(Ordering::Acquire))
    }

    /// Waits for a place, first come first served.
    ///
    /// # Errors
    /// `Overloaded` when too many wait already.
    pub async fn admit(&self) -> Result<Admitted> {
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(Arc::clone(&self.waiting));
        if ahead >= self.waiting_max {
            return Err(Error::overloaded(format!(
                "{ahead} queries wait already; try again in a few seconds"
            )));
        }
        let permit = Arc::clone(&self.running).acquire_owned().await;
        drop(waiting);
        let permit = permit.map_err(|_| Error::overloaded("the engine is closing"))?;
        Ok(Admitted { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_so_many_run_and_wait() {
        let admission = Admission::new(1);
        let first = admission.admit().await.unwrap();
        let waiters: Vec<_> = (0..WAITING_PER_RUNNING)
            .map(|_| {
                let admission = admission.clone();
                tokio::spawn(async move { admission.admit().await.map(drop) })
            })
            .collect();
        while admission.waiting.load(Ordering::Acquire) < WAITING_PER_RUNNING {
            tokio::task::yield_now().await;
        }
        let refused = admission.admit().await.unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::Overloaded);
        drop(first);
        for waiter in waiters {
            waiter.await.unwrap().unwrap();
        }
        admission.admit().await.unwrap();
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_leaves_the_queue() {
        let admission = Admission::new(1);
        let _first = admission.admit().await.unwrap();
        let gave_up = tokio::time::timeout(std::time::Duration::from_millis(5), admission.admit()).await;
        assert!(gave_up.is_err());
        assert_eq!(admission.waiting.load(Ordering::Acquire), 0);
    }
}

//! How many queries run at once, and how many may wait.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Waiting queries for each running one. More would only time out in the queue.
const WAITING_PER_RUNNING: usize = 16;

/// Admits queries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// Queries admitted so far.
    admitted: Arc<AtomicU64>,
    running_max: usize,
    waiting_max: usize,
}

/// A query's right to run; dropping it lets the next one in.
#[derive(Debug)]
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
    since: Since,
}

impl Admitted {
    /// What is to be known later of who else ran meanwhile.
    pub fn since(&self) -> Since {
        self.since
    }
}

/// The moment at which a query was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// Queries that had been admitted, this one included.
    admitted: u64,
    /// Whether others ran.
    with_others: bool,
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
            admitted: Arc::new(AtomicU64::new(0)),
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
        self.place(1, waiting).await
    }

    /// Waits until no other query runs, and keeps all others waiting.
    ///
    /// # Errors
    /// `Overloaded` when the engine closes.
    pub async fn admit_alone(&self) -> Result<Admitted> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(Arc::clone(&self.waiting));
        self.place(self.running_max, waiting).await
    }

    /// Whether other queries ran while the one did that was admitted at `since`.
    pub fn had_company(&self, since: Since) -> bool {
        since.with_others || self.admitted.load(Ordering::Acquire) > since.admitted
    }

    async fn place(&self, places: usize, waiting: Waiting) -> Result<Admitted> {
        let closing = |_| Error::overloaded("the engine is closing");
        let count = u32::try_from(places).map_err(|_| Error::internal("more places than can be counted"))?;
        let permit = Arc::clone(&self.running).acquire_many_owned(count).await;
        let permit = permit.map_err(closing)?;
        drop(waiting);
        let admitted = self.admitted.fetch_add(1, Ordering::AcqRel) + 1;
        let with_others = self.counts().0 > places;
        Ok(Admitted {
            _permit: permit,
            since: Since { admitted, with_others },
        })
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
    async fn one_runs_alone_and_it_is_known_who_had_company() {
        let admission = Admission::new(2);
        let first = admission.admit().await.unwrap();
        assert!(!admission.had_company(first.since()));
        let second = admission.admit().await.unwrap();
        assert!(admission.had_company(first.since()), "another came");
        assert!(admission.had_company(second.since()), "another was there");
        let mut alone = std::pin::pin!(admission.admit_alone());
        assert!(futures::poll!(&mut alone).is_pending());
        drop(first);
        assert!(futures::poll!(&mut alone).is_pending(), "one still runs");
        drop(second);
        let alone = alone.await.unwrap();
        let mut next = std::pin::pin!(admission.admit());
        assert!(futures::poll!(&mut next).is_pending());
        assert!(!admission.had_company(alone.since()));
        drop(alone);
        next.await.unwrap();
        assert_eq!(admission.counts(), (0, 0));
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

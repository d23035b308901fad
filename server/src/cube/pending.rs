//! Queries in flight: equal requests share one, and a client that has waited long enough is told to ask again, and finds
//! its query still running.
//!
//! Cube's clients send the same request again at once when they read `Continue wait`. A query ends when nobody waits for
//! it any more; one whose clients were told to ask again runs on for a while without them.

use super::error::ApiResult;
use engine::DataVersion;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
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
    /// Time for which a finished answer that nobody fetched is kept for a client that was told to ask again.
    pub unfetched: Duration,
    /// Queries that run on without a connection at the most. When there are more, clients simply wait.
    pub detached: usize,
}

impl Patience {
    /// The usual bounds, and clients that are told to ask again after `answer`.
    pub fn answering_within(answer: Duration) -> Self {
        use crate::limits;
        Self {
            answer,
            abandoned: limits::DETACHED_QUERY_MAX,
            unfetched: limits::UNFETCHED_ANSWER_MAX,
            detached: limits::DETACHED_QUERIES_MAX,
        }
    }
}

type Outcome<T> = Shared<BoxFuture<'static, ApiResult<T>>>;

/// A query that runs on without a connection.
struct Detached<T> {
    /// Keeps the answer for who comes for it.
    _outcome: Outcome<T>,
    driver: JoinHandle<()>,
    asked_at: Instant,
}

impl<T> Drop for Detached<T> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

struct Flight<T> {
    /// Tells this flight from a later one of the same key.
    number: u64,
    version: DataVersion,
    /// Lives as long as somebody waits.
    outcome: WeakShared<BoxFuture<'static, ApiResult<T>>>,
    detached: Option<Detached<T>>,
}

struct Flights<T> {
    by_key: HashMap<Key, Flight<T>>,
    started: u64,
}

/// The queries in flight.
pub struct Pending<T> {
    patience: Patience,
    flights: Mutex<Flights<T>>,
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("flights", &self.flights.lock().by_key.len())
            .finish()
    }
}

/// One request's share of a flight. The flight's entry goes with the last of them.
struct Ticket<'a, T> {
    pending: &'a Pending<T>,
    key: Key,
    number: u64,
    outcome: Option<Outcome<T>>,
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        self.outcome = None;
        let mut flights = self.pending.flights.lock();
        if let Some(flight) = flights.by_key.get(&self.key)
            && flight.number == self.number
            && flight.detached.is_none()
            && flight.outcome.upgrade().is_none()
        {
            flights.by_key.remove(&self.key);
        }
    }
}

/// How a request came to its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landed<T> {
    /// It started the query.
    Computed(T),
    /// The query ran already.
    Joined(T),
    /// It takes too long: the client must ask again.
    NotYet,
}

impl<T: Clone + Send + Sync + 'static> Pending<T> {
    /// An empty list.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            flights: Mutex::new(Flights {
                by_key: HashMap::new(),
                started: 0,
            }),
        }
    }

    /// The answer to `key` over the rows of `version`: of the query that runs for it already, or of `start`. A query over
    /// older rows is only joined by clients that were told to ask again: otherwise a long query over data that keeps
    /// changing would never end.
    ///
    /// # Errors
    /// Those of the query.
    pub async fn answer(
        &self,
        key: Key,
        version: DataVersion,
        start: impl FnOnce() -> BoxFuture<'static, ApiResult<T>>,
    ) -> ApiResult<Landed<T>> {
        let (ticket, joined) = self.board(key, version, start);
        let Some(outcome) = ticket.outcome.clone() else {
            return Ok(Landed::NotYet);
        };
        let finished = match tokio::time::timeout(self.patience.answer, outcome.clone()).await {
            Ok(finished) => finished,
            Err(_) if self.detach(&ticket, &outcome) => return Ok(Landed::NotYet),
            Err(_) => outcome.await,
        };
        self.land(&ticket);
        finished.map(if joined { Landed::Joined } else { Landed::Computed })
    }

    /// A share of the flight of `key`, and whether it was under way.
    fn board(
        &self,
        key: Key,
        version: DataVersion,
        start: impl FnOnce() -> BoxFuture<'static, ApiResult<T>>,
    ) -> (Ticket<'_, T>, bool) {
        let mut flights = self.flights.lock();
        let ticket = |number, outcome| Ticket {
            pending: self,
            key,
            number,
            outcome: Some(outcome),
        };
        if let Some(flight) = flights.by_key.get_mut(&key)
            && let Some(outcome) = flight.outcome.upgrade()
        {
            let fetched_in_time = |detached: &Detached<T>| {
                outcome.peek().is_none() || detached.asked_at.elapsed() < self.patience.unfetched
            };
            if flight.version == version || flight.detached.as_ref().is_some_and(fetched_in_time) {
                return (ticket(flight.number, outcome), true);
            }
        }
        flights.started += 1;
        let number = flights.started;
        let outcome = start().shared();
        if let Some(weak) = outcome.downgrade() {
            let flight = Flight {
                number,
                version,
                outcome: weak,
                detached: None,
            };
            flights.by_key.insert(key, flight);
        }
        (ticket(number, outcome), false)
    }

    /// Lets the flight go on without a connection; false when there is no room or another flight has taken its place.
    fn detach(&self, ticket: &Ticket<'_, T>, outcome: &Outcome<T>) -> bool {
        let mut flights = self.flights.lock();
        let Patience { abandoned, .. } = self.patience;
        flights.by_key.retain(|_, flight| {
            let detached = flight.detached.as_ref();
            detached.is_none_or(|detached| detached.asked_at.elapsed() < abandoned)
        });
        let running = flights
            .by_key
            .values()
            .filter(|flight| flight.detached.is_some())
            .count();
        let Some(flight) = flights.by_key.get_mut(&ticket.key) else {
            return false;
        };
        if flight.number != ticket.number {
            return false;
        }
        if let Some(detached) = &mut flight.detached {
            detached.asked_at = Instant::now();
            return true;
        }
        if running >= self.patience.detached {
            return false;
        }
        flight.detached = Some(Detached {
            _outcome: outcome.clone(),
            driver: tokio::spawn(outcome.clone().map(drop)),
            asked_at: Instant::now(),
        });
        true
    }

    /// Forgets a flight whose answer has been fetched.
    fn land(&self, ticket: &Ticket<'_, T>) {
        let mut flights = self.flights.lock();
        let arrived = flights.by_key.get(&ticket.key);
        if arrived.is_some_and(|flight| flight.number == ticket.number) {
            flights.by_key.remove(&ticket.key);
        }
    }
}

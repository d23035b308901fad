//! The whole write path over a store that fails in every way, many lives long: append, flush, commit, merge, sweep, crash,
//! replay. The ledger is the oracle: what was acknowledged is there once, nothing is there twice, and nobody is fenced.
//!
//! Every seed has two phases: while things fail nothing may go wrong, and when they stop everything must come to rest within
//! a bound. `TALLY_CHAOS_SEEDS` is the number of seeds, `TALLY_CHAOS_SEED` the first. Time is a clock of the simulation's.

use super::disk::{Disk, DiskWal, NextWrite};
use super::*;
use crate::ingest::compactor::{CompactionBudget, Rounds};
use crate::ingest::flusher::Which;
use crate::ingest::replay::replay;
use crate::store::object::Watched;
use crate::store::object::chaos::{ChaosStore, Fault, Weather};
use crate::store::paths;
use futures::TryStreamExt;
use object_store::path::Path;
use std::collections::{BTreeSet, HashMap};

const PROJECTS: usize = 2;
/// Milliseconds after the faults within which everything must be in files: the longest wait after failures, and some.
const LIVENESS_MS: i64 = 2 * limits::FLUSH_RETRY_MS_MAX as i64;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What one project was sent, and what of it was acknowledged.
#[derive(Default)]
struct Ledger {
    sent: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
    rejected_sent: usize,
    rejected_acknowledged: usize,
}

/// One service, one disk, one clock.
struct World {
    random: Random,
    clock: Arc<FixedClock>,
    truth: Arc<InMemory>,
    chaos: ChaosStore,
    disk: Disk,
    ids: Vec<ProjectId>,
    ledgers: Vec<Ledger>,
    /// Ids in data files, which never change.
    read: parking_lot::Mutex<HashMap<Path, Vec<String>>>,
    next_id: usize,
    /// Whether the log fails now and then.
    log_fails: bool,
    figures: Figures,
}

#[derive(Default, Debug)]
struct Figures {
    acknowledged: usize,
    lives: usize,
    looks: usize,
    unanswered_looks: usize,
    failed_flushes: u64,
    merges: u64,
    swept: u64,
    faults: BTreeMap<Fault, u64>,
}

/// One life of the process.
struct Life {
    shared: Arc<Shared>,
    wal: Arc<DiskWal>,
    rounds: Rounds,
}

/// Trouble of the store may be told; a rival or a defect there is none.
fn harmless(error: &crate::Error) {
    let is_harmless = matches!(error.kind(), crate::ErrorKind::Unavailable | crate::ErrorKind::Storage);
    assert!(is_harmless, "{:?}: {error:?}", error.kind());
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = FixedClock::new(START);
        let truth = Arc::new(InMemory::new());
        let mut random = Random(seed);
        let weather = match random.below(4) {
            0 => Weather::storm(),
            1 => Weather::showers(5),
            2 => Weather::showers(20),
            _ => Weather::showers(60),
        };
        let chaos = ChaosStore::new(Arc::clone(&truth), seed, Arc::clone(&clock), weather);
        Self {
            random,
            clock,
            truth,
            chaos,
            disk: Disk::default(),
            ids: (0..PROJECTS).map(|n| project(&format!("p{n}"))).collect(),
            ledgers: (0..PROJECTS).map(|_| Ledger::default()).collect(),
            read: parking_lot::Mutex::default(),
            next_id: 0,
            log_fails: true,
            figures: Figures::default(),
        }
    }

    fn wait_ms(&self, millis: i64) {
        self.clock.set(self.clock.now_micros() + millis * 1000);
    }

    /// A process starts, again and again while the store does not let it.
    async fn start(&mut self) -> Life {
        self.figures.lives += 1;
        // What the process before had on its way arrives before its successor reads the marks.
        self.chaos.deliver(true).await;
        // Every try reads the tables' whole logs, and needs each request to succeed at once: here nobody repeats one, as the
        // client of a real store does. Where six of seven fail, a start with some twenty requests never ends, so a storm
        // passes at last.
        for tries in 0..2_000 {
            if tries == 1_000 {
                self.chaos.set_weather(Weather::showers(20));
            }
            let clock: Arc<dyn Clock> = Arc::<FixedClock>::clone(&self.clock);
            let wal = Arc::new(DiskWal::open(&self.disk, Arc::clone(&clock)));
            let metrics = Arc::new(Metrics::default());
            let health = Arc::new(Health::new(Arc::clone(&clock)));
            let store = Watched::new(Arc::new(self.chaos.clone()), Arc::clone(&metrics), Arc::clone(&health));
            let shared = Arc::new(Shared {
                wal: Arc::<DiskWal>::clone(&wal),
                store: Arc::new(store),
                clock,
                admission: Admission::new(1 << 20),
                projects: Projects::default(),
                fence: None,
                metrics,
                health,
                compaction: CompactionBudget::new(1 << 24),
                life: crate::ingest::life::Life::default(),
                policy: FlushPolicy {
                    interval_ms: 10_000,
                    rows_max: 12,
                    bytes_max: 1 << 18,
                },
                applied_seq: AtomicU64::new(0),
                followed_at: AtomicI64::new(0),
                small_flushes: SmallFlushes::default(),
                flush_soon: Notify::new(),
            });
            match replay(&shared).await {
                Ok(()) => {
                    return Life {
                        shared,
                        wal,
                        rounds: Rounds::default(),
                    };
                }
                Err(error) => harmless(&error),
            }
            self.wait_ms(1_000);
        }
        panic!("the process cannot start");
    }

    /// Sends a batch: new events, sometimes old ones again, of one day or another. `false` when the log failed.
    fn append(&mut self, life: &Life) -> bool {
        let at = self.random.below(PROJECTS as u64) as usize;
        let mut batch = Batch::default();
        for _ in 0..1 + self.random.below(4) {
            let known = self.ledgers[at].sent.len() as u64;
            let is_again = known > 0 && self.random.below(5) == 0;
            let id = if is_again {
                let nth = self.random.below(known) as usize;
                self.ledgers[at].sent.iter().nth(nth).unwrap().clone()
            } else {
                self.next_id += 1;
                format!("e{:06}", self.next_id)
            };
            // A visitor and a day belong to an id, as with a real event that is sent again.
            let number: u64 = id[1..].parse().unwrap();
            let ts = START - i64::from(number.is_multiple_of(3)) * DAY_MICROS + number as i64;
            batch.events.push(event(&id, &format!("v{}", number % 7), ts));
        }
        if self.random.below(4) == 0 {
            batch.rejected.push(rejected("not an event"));
        }
        if self.log_fails && self.random.below(80) == 0 {
            let next = [NextWrite::FailsBefore, NextWrite::FailsAfter][self.random.below(2) as usize];
            life.wal.set_next(next);
        }
        let ids: Vec<String> = batch
            .events
            .iter()
            .map(|e| e.text(Column::EventId).unwrap().to_owned())
            .collect();
        let ledger = &mut self.ledgers[at];
        ledger.sent.extend(ids.iter().cloned());
        ledger.rejected_sent += batch.rejected.len();
        let (events, rejected) = (batch.events.len() as u64, batch.rejected.len());
        match group_commit::append_now(&life.shared, &self.ids[at], batch) {
            Ok(receipt) => {
                assert_eq!(receipt.stored + receipt.duplicate, events);
                assert_eq!(receipt.rejected as usize, rejected);
                ledger.acknowledged.extend(ids);
                ledger.rejected_acknowledged += rejected;
                self.figures.acknowledged += events as usize;
                true
            }
            Err(error) => {
                harmless(&error);
                false
            }
        }
    }

    async fn ids_of(&self, snapshot: &Snapshot) -> Vec<String> {
        let truth: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(&self.truth);
        let mut ids = Vec::new();
        for file in &snapshot.files {
            let found = truth.head(&file.path).await;
            assert!(found.is_ok(), "{} is in the table and not in the store", file.path);
            let known = self.read.lock().get(&file.path).cloned();
            let known = match known {
                Some(known) => known,
                None => {
                    let one = Snapshot {
                        version: None,
                        files: vec![Arc::clone(file)],
                    };
                    let column_name = if file.path.as_ref().contains("/rejected/") {
                        "detail"
                    } else {
                        "event_id"
                    };
                    let found = column(&read_files(&truth, &one).await, column_name);
                    self.read.lock().insert(file.path.clone(), found.clone());
                    found
                }
            };
            ids.extend(known);
        }
        ids
    }

    fn check(
        &self,
        at: usize,
        what: &str,
        ids: Vec<String>,
        rejected: usize,
        acknowledged: &BTreeSet<String>,
        rejected_min: usize,
    ) {
        let ledger = &self.ledgers[at];
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for id in ids {
            *counts.entry(id).or_default() += 1;
        }
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
        assert!(twice.is_empty(), "{what}: stored more than once: {twice:?}");
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|id| !counts.contains_key(*id))
            .take(5)
            .collect();
        assert!(lost.is_empty(), "{what}: acknowledged and not there: {lost:?}");
        let unknown: Vec<_> = counts.keys().filter(|id| !ledger.sent.contains(*id)).take(5).collect();
        assert!(unknown.is_empty(), "{what}: never sent: {unknown:?}");
        assert!(
            (rejected_min..=ledger.rejected_sent).contains(&rejected),
            "{what}: {rejected} rejected events of {rejected_min} to {}",
            ledger.rejected_sent
        );
    }

    /// A query: all that was acknowledged before it is there once. Returns whether the store let it be asked.
    async fn look(&self, life: &Life, at: usize) -> bool {
        let acknowledged = self.ledgers[at].acknowledged.clone();
        let rejected_min = self.ledgers[at].rejected_acknowledged;
        let opened = life.shared.projects.get(&self.ids[at]);
        let view = match opened.view(&life.shared.store, &life.shared.clock).await {
            Ok(view) => view,
            Err(error) => {
                harmless(&error);
                return false;
            }
        };
        let mut ids = self.ids_of(&view.events).await;
        ids.extend(column(&view.buffered_events, "event_id"));
        let mut rejected = self.ids_of(&view.rejected).await.len();
        rejected += view.buffered_rejected.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.check(at, "a view", ids, rejected, &acknowledged, rejected_min);
        true
    }

    /// Flushes and merges at the same time as queries look.
    async fn work(&self, life: &mut Life, which: Which, at: usize) -> bool {
        let shared = Arc::clone(&life.shared);
        let rounds = std::mem::take(&mut life.rounds);
        let flush = async {
            if let Err(error) = shared.flush_round(which).await {
                harmless(&error);
            }
        };
        let merge = async {
            let mut rounds = rounds;
            if let Some(Err(error)) = rounds.round(&shared).await {
                harmless(&error);
            }
            rounds
        };
        let life_now: &Life = life;
        let ((), rounds, seen) = tokio::join!(flush, merge, self.look(life_now, at));
        life.rounds = rounds;
        seen
    }

    async fn live(&mut self, life: &mut Life) {
        for _ in 0..8 + self.random.below(16) {
            let at = self.random.below(PROJECTS as u64) as usize;
            match self.random.below(10) {
                0..5 => {
                    if !self.append(life) {
                        return;
                    }
                }
                5 => {
                    let seen = self.look(life, at).await;
                    self.figures.looks += 1;
                    self.figures.unanswered_looks += usize::from(!seen);
                }
                6 => {
                    let millis = self.random.below(40_000);
                    self.wait_ms(millis as i64);
                }
                7 => {
                    // Long enough for a day to be merged whole, and for what nobody holds to be deleted.
                    self.wait_ms(limits::REMOVED_FILE_KEEP_MS as i64 + 60_000);
                    self.work(life, Which::Due, at).await;
                }
                8 => {
                    self.work(life, Which::All, at).await;
                }
                _ => {
                    self.work(life, Which::Due, at).await;
                }
            }
        }
    }

    fn end(&mut self, life: Life) {
        let metrics = &life.shared.metrics;
        self.figures.failed_flushes += metrics.flush_failures.get();
        self.figures.merges += metrics.compactions.get();
        self.figures.swept += metrics.swept_files.get();
    }

    /// The faults have stopped: everything comes to rest.
    async fn settle(&mut self, life: &mut Life) {
        let until = self.clock.now_micros() + LIVENESS_MS * 1000;
        while life.shared.projects.first_seq().is_some() {
            assert!(
                self.clock.now_micros() < until,
                "rows are still buffered {LIVENESS_MS} ms after the last fault"
            );
            self.wait_ms(1_000);
            life.shared.flush_round(Which::Due).await.unwrap();
            self.look(life, 0).await;
        }
        life.shared.flush_round(Which::All).await.unwrap();
        assert_eq!(life.wal.size_bytes(), 0, "the log holds records that are in the tables");
        for at in 0..PROJECTS {
            self.look(life, at).await;
        }
        // Until there is nothing to merge and what nobody holds has been seen so for long enough.
        let mut idle_rounds = 0;
        for _ in 0..100 {
            self.wait_ms(limits::REMOVED_FILE_KEEP_MS as i64 + 60_000);
            match life.rounds.round(&life.shared).await {
                Some(result) => {
                    result.unwrap();
                    idle_rounds = 0;
                }
                None => idle_rounds += 1,
            }
            if idle_rounds == 2 {
                return;
            }
        }
        panic!("the files never come to rest");
    }

    /// What is in the store, read without any of the process's knowledge.
    async fn audit(&self) {
        let truth: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(&self.truth);
        for (at, id) in self.ids.iter().enumerate() {
            let ledger = &self.ledgers[at];
            let mut tables = Vec::new();
            for kind in [TableKind::Events, TableKind::Rejected] {
                let table = crate::store::Table::open(&truth, id, kind).await.unwrap();
                let root = paths::table(id, kind);
                let listed: Vec<_> = truth
                    .list(Some(&root))
                    .map_ok(|meta| meta.location)
                    .try_collect()
                    .await
                    .unwrap();
                let held: BTreeSet<&Path> = table.snapshot().files.iter().map(|file| &file.path).collect();
                let left: Vec<_> = listed
                    .iter()
                    .filter(|path| paths::is_data_file(&root, path) && !held.contains(path))
                    .collect();
                assert!(left.is_empty(), "files of no table are left: {left:?}");
                let entries = listed.iter().filter(|path| path.as_ref().ends_with(".json")).count() as u64;
                let versions = table.snapshot().version.map_or(0, |version| version + 1);
                assert_eq!(entries, versions, "the log of {root} has gaps");
                tables.push(self.ids_of(table.snapshot()).await);
            }
            let rejected = tables.pop().unwrap().len();
            let events = tables.pop().unwrap();
            self.check(
                at,
                "the store",
                events,
                rejected,
                &ledger.acknowledged,
                ledger.rejected_acknowledged,
            );
        }
    }
}

async fn run(seed: u64) -> Figures {
    let mut world = World::new(seed);
    let lives = 1 + world.random.below(3);
    for _ in 0..lives {
        let mut life = world.start().await;
        world.live(&mut life).await;
        world.end(life);
    }
    let faults = world.chaos.seen();
    world.chaos.set_weather(Weather::calm());
    world.chaos.deliver(world.random.below(2) == 0).await;
    let mut life = world.start().await;
    world.settle(&mut life).await;
    for at in 0..PROJECTS {
        assert!(
            world.look(&life, at).await,
            "the store is well and a query is not answered"
        );
    }
    world.chaos.deliver(true).await;
    world.audit().await;
    world.end(life);
    // And once more from what is stored alone.
    let life = world.start().await;
    for at in 0..PROJECTS {
        assert!(world.look(&life, at).await);
    }
    world.figures.faults = faults;
    world.figures
}

/// A store that is down does not stop ingest: events are acknowledged and seen until the buffer is full, then refused with
/// the advice to come back. When the store is back all is as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_stops_no_ingest_and_is_named_by_queries() {
    let mut world = World::new(0);
    world.chaos.set_weather(Weather::calm());
    world.log_fails = false;
    let life = world.start().await;
    for _ in 0..10 {
        assert!(world.append(&life));
    }
    life.shared.flush_round(Which::All).await.unwrap();
    let filed = world
        .ledgers
        .iter()
        .position(|ledger| !ledger.acknowledged.is_empty())
        .unwrap();
    world.chaos.set_weather(Weather::down());
    let mut appended = 0;
    let refused = loop {
        match life.shared.admission.admit(2_000) {
            Ok(permit) => drop(permit),
            Err(error) => break error,
        }
        assert!(world.append(&life));
        appended += 1;
        if appended % 50 == 0 {
            let error = life.shared.flush_round(Which::All).await.unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Unavailable, "{error:?}");
        }
        assert!(appended < 100_000, "never refused");
    };
    assert_eq!(refused.kind(), crate::ErrorKind::Overloaded);
    assert!(appended > 100, "refused after {appended} requests");
    for at in 0..PROJECTS {
        assert!(
            world.look(&life, at).await,
            "what is known of the tables is enough for a view"
        );
    }
    // Whoever has to ask the store says what is wrong.
    let view = life
        .shared
        .projects
        .get(&world.ids[filed])
        .view(&life.shared.store, &life.shared.clock)
        .await
        .unwrap();
    let read = life.shared.store.get(&view.events.files[0].path).await.unwrap_err();
    assert_eq!(crate::Error::from(read).kind(), crate::ErrorKind::Unavailable);
    assert_eq!(life.shared.health.troubles().len(), 1);
    world.wait_ms(2 * limits::STORE_DOWN_MS as i64);
    life.shared.flush_round(Which::All).await.unwrap_err();
    assert!(!life.shared.health.is_ready());
    world.chaos.set_weather(Weather::calm());
    life.shared.flush_round(Which::All).await.unwrap();
    assert!(life.shared.health.is_ready() && life.shared.health.troubles().is_empty());
    assert!(life.shared.admission.admit(2_000).is_ok());
    for at in 0..PROJECTS {
        assert!(world.look(&life, at).await);
    }
    world.audit().await;
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Seeds that failed once, run before all others. In both a merge's answer was lost: 57 took the absence of its files for another
/// writer, 346 committed the merge again, and its rows were there twice.
const FOUND: [u64; 2] = [57, 346];

#[test]
#[allow(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn seeds_of_a_failing_store_lose_nothing_double_nothing_and_fence_nobody() {
    let (first, seeds) = (from_env("TALLY_CHAOS_SEED", 1), from_env("TALLY_CHAOS_SEEDS", 20));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let started = std::time::Instant::now();
    let found = FOUND
        .iter()
        .copied()
        .filter(|seed| seeds > 1 && !(first..first + seeds).contains(seed));
    let all: Vec<u64> = found.chain(first..first + seeds).collect();
    let next = AtomicUsize::new(0);
    let total = parking_lot::Mutex::new(Figures::default());
    let failed = parking_lot::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = all.get(next.fetch_add(1, Ordering::SeqCst)).copied();
                    let Some(seed) = seed.filter(|_| failed.lock().is_empty()) else {
                        return;
                    };
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed))));
                    match ran {
                        Ok(figures) => total.lock().add(&figures),
                        Err(_) => failed.lock().push(seed),
                    }
                }
            });
        }
    });
    println!(
        "{seeds} seeds from {first} in {:.1?}: {:?}",
        started.elapsed(),
        total.lock()
    );
    let failed = failed.into_inner();
    assert!(
        failed.is_empty(),
        "seeds {failed:?} failed, see above; each again: TALLY_CHAOS_SEED=<seed> TALLY_CHAOS_SEEDS=1"
    );
    if seeds >= 20 {
        let total = total.lock();
        let unseen: Vec<_> = Fault::ALL
            .iter()
            .filter(|fault| !total.faults.contains_key(fault))
            .collect();
        assert!(unseen.is_empty(), "faults that never happened: {unseen:?}");
        assert!(
            total.failed_flushes > 0 && total.merges > 0 && total.swept > 0,
            "{total:?}"
        );
    }
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        self.acknowledged += other.acknowledged;
        self.lives += other.lives;
        self.looks += other.looks;
        self.unanswered_looks += other.unanswered_looks;
        self.failed_flushes += other.failed_flushes;
        self.merges += other.merges;
        self.swept += other.swept;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}

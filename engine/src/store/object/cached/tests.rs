use super::*;
use crate::clock::FixedClock;
use crate::error::StoreFailure;
use crate::health::Health;
use crate::store::object::Watched;
use crate::store::object::chaos::{ChaosStore, Weather};
use crate::store::object::slow::Slow;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

const FILE: &str = "projects/p/events/date=2025-10-09/a.vte.parquet";

struct Fixture {
    slow: Arc<Slow>,
    metrics: Arc<Metrics>,
    bytes: Bytes,
}

impl Fixture {
    async fn new(length: usize) -> Self {
        let bytes: Bytes = (0..length).map(|at| (at * 31 / 7) as u8).collect::<Vec<_>>().into();
        let inner = InMemory::new();
        inner.put(&FILE.into(), bytes.clone().into()).await.unwrap();
        Self {
            slow: Arc::new(Slow::new(inner, Duration::from_millis(1))),
            metrics: Arc::new(Metrics::default()),
            bytes,
        }
    }

    fn cached(&self, memory_bytes: usize, folder: Option<&std::path::Path>) -> CachedStore {
        let disk = folder.map(|folder| DiskOptions {
            folder: folder.to_owned(),
            bytes_max: 0,
        });
        let inner: Arc<dyn ObjectStore> = Arc::<Slow>::clone(&self.slow);
        CachedStore::new(inner, memory_bytes, disk, Arc::clone(&self.metrics)).unwrap()
    }

    fn gets(&self) -> usize {
        self.slow.gets.load(Ordering::SeqCst)
    }

    fn expected(&self, range: &Range<u64>) -> Bytes {
        self.bytes.slice(range.start as usize..range.end as usize)
    }

    async fn kept_on_disk(&self, cached: &CachedStore, blocks: usize) {
        for _ in 0..500 {
            let files = walk(cached.cache.disk.as_ref().unwrap());
            if files.len() >= blocks && cached.disk_bytes() > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("blocks do not reach the disk");
    }
}

fn walk(tier: &DiskTier) -> Vec<std::path::PathBuf> {
    let shards = std::fs::read_dir(tier.folder()).into_iter().flatten().flatten();
    let files = shards.flat_map(|shard| std::fs::read_dir(shard.path()).into_iter().flatten().flatten());
    files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none())
        .collect()
}

const BLOCK: u64 = CACHE_BLOCK_BYTES;

#[tokio::test(flavor = "multi_thread")]
async fn neighbouring_blocks_share_a_request_and_readers_share_blocks() {
    let fixture = Fixture::new(20 * BLOCK as usize + 77).await;
    let cached = fixture.cached(64 << 20, None);
    let end = 20 * BLOCK + 77;
    let ranges = [10..20, BLOCK - 5..BLOCK + 5, 3 * BLOCK..4 * BLOCK, end - 9..end];
    let read = cached.get_ranges(&FILE.into(), &ranges).await.unwrap();
    for (range, bytes) in ranges.iter().zip(&read) {
        assert_eq!(bytes, &fixture.expected(range));
    }
    // Blocks 0 to 3 in one request, the third with its neighbours; block 20 in another.
    assert_eq!(fixture.gets(), 2);
    assert_eq!(
        cached
            .get_range(&FILE.into(), 2 * BLOCK..2 * BLOCK + 1)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(fixture.gets(), 2, "what came along is kept");
    let read = cached.get_ranges(&FILE.into(), &[7..7, 0..3]).await.unwrap();
    assert_eq!(
        (read[0].len(), read[1].len(), fixture.gets()),
        (0, 3, 2),
        "an empty range costs nothing"
    );

    let fresh = fixture.cached(64 << 20, None);
    let readers = (0..20).map(|n| {
        let (fresh, range) = (fresh.clone(), n..BLOCK * 2 + 100 + n);
        async move { fresh.get_range(&FILE.into(), range).await.unwrap() }
    });
    let read = futures::future::join_all(readers).await;
    assert!(
        read.iter()
            .enumerate()
            .all(|(n, bytes)| *bytes == fixture.expected(&(n as u64..BLOCK * 2 + 100 + n as u64)))
    );
    assert_eq!(fixture.gets(), 3, "twenty readers, one request");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_data_files_are_kept() {
    let fixture = Fixture::new(100).await;
    let cached = fixture.cached(64 << 20, None);
    let log: Path = "projects/p/events/_delta_log/00000000000000000000.json".into();
    for text in ["first", "other"] {
        cached.put(&log, text.into()).await.unwrap();
        assert_eq!(cached.get_range(&log, 0..5).await.unwrap(), text);
    }
    assert_eq!(cached.memory_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_on_disk_survive_a_restart_and_damage_is_found() {
    let fixture = Fixture::new(3 * BLOCK as usize).await;
    let folder = tempfile::tempdir().unwrap();
    let path: Path = FILE.into();
    let cached = fixture.cached(64 << 20, Some(folder.path()));
    cached.get_range(&path, 0..3 * BLOCK).await.unwrap();
    fixture.kept_on_disk(&cached, 3).await;
    drop(cached);

    let cached = fixture.cached(64 << 20, Some(folder.path()));
    fixture.kept_on_disk(&cached, 3).await;
    let gets = fixture.gets();
    let whole = 5..3 * BLOCK - 5;
    assert_eq!(
        cached.get_ranges(&path, std::slice::from_ref(&whole)).await.unwrap()[0],
        fixture.expected(&whole)
    );
    assert_eq!((fixture.gets(), fixture.metrics.cache_disk_hits.get()), (gets, 3));

    let files = walk(cached.cache.disk.as_ref().unwrap());
    for (round, at) in [0, 9, 16, 5_000, BLOCK as usize + 15].into_iter().enumerate() {
        for file in &files {
            let mut bytes = std::fs::read(file).unwrap_or_default();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            std::fs::write(file, bytes).unwrap();
        }
        let cached = fixture.cached(64 << 20, Some(folder.path()));
        fixture.kept_on_disk(&cached, 1).await;
        assert_eq!(
            cached.get_ranges(&path, std::slice::from_ref(&whole)).await.unwrap()[0],
            fixture.expected(&whole)
        );
        assert!(fixture.metrics.cache_damaged.get() > round as u64, "byte {at}");
        fixture.kept_on_disk(&cached, 3).await;
    }

    std::fs::remove_dir_all(folder.path()).unwrap();
    let cached = fixture.cached(0, Some(folder.path()));
    for _ in 0..3 {
        assert_eq!(
            cached.get_ranges(&path, std::slice::from_ref(&whole)).await.unwrap()[0],
            fixture.expected(&whole)
        );
        let _ = std::fs::remove_dir_all(folder.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_tiers_stay_within_their_bounds() {
    let fixture = Fixture::new(100 * BLOCK as usize).await;
    let folder = tempfile::tempdir().unwrap();
    let memory = 20 * BLOCK as usize;
    let cached = fixture.cached(memory, Some(folder.path()));
    for number in 0..100 {
        cached
            .get_range(&FILE.into(), number * BLOCK..(number + 1) * BLOCK)
            .await
            .unwrap();
        assert!(cached.memory_bytes() <= memory as u64);
        while cached.cache.disk.as_ref().unwrap().is_writing() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let bytes: u64 = walk(cached.cache.disk.as_ref().unwrap())
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!((4 << 20..=8 << 20).contains(&bytes), "{bytes} bytes on disk");
    assert_eq!(cached.disk_bytes(), bytes);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_given_up() {
    let mut fixture = Fixture::new(10).await;
    Arc::get_mut(&mut fixture.slow).unwrap().wait = Duration::from_secs(3600);
    let cached = fixture.cached(64 << 20, None);
    let path: Path = FILE.into();
    let read = tokio::time::timeout(Duration::from_millis(30), cached.get_range(&path, 0..5)).await;
    assert!(read.is_err());
    assert_eq!((fixture.gets(), fixture.slow.ended.load(Ordering::SeqCst)), (1, 0));
    assert!(
        cached
            .cache
            .in_flight
            .lock()
            .values()
            .all(|fetch| fetch.upgrade().is_none())
    );
    let read = tokio::time::timeout(Duration::from_millis(30), cached.get_range(&path, 0..5)).await;
    assert!(read.is_err() && fixture.gets() == 2, "it is asked anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_reach_every_reader_and_are_not_kept() {
    let (clock, truth) = (FixedClock::new(0), Arc::new(InMemory::new()));
    truth.put(&FILE.into(), "0123456789".into()).await.unwrap();
    let chaos = ChaosStore::new(truth, 1, Arc::clone(&clock), Weather::down());
    let metrics = Arc::new(Metrics::default());
    let health = Arc::new(Health::new(clock));
    let watched = Watched::new(Arc::new(chaos.clone()), Arc::clone(&metrics), Arc::clone(&health));
    let cached = CachedStore::new(Arc::new(watched), 1 << 20, None, metrics).unwrap();
    let path: Path = FILE.into();
    let both = tokio::join!(cached.get_range(&path, 0..5), cached.get_range(&path, 2..7));
    for error in [both.0.unwrap_err(), both.1.unwrap_err()] {
        assert!(StoreFailure::is_behind(&error), "{error:?}");
        assert_eq!(crate::Error::from(error).kind(), crate::ErrorKind::Unavailable);
    }
    assert_eq!(health.troubles().len(), 1);
    chaos.set_weather(Weather::calm());
    assert_eq!(cached.get_range(&path, 2..7).await.unwrap(), "23456");
    assert!(health.troubles().is_empty());
    let absent = cached
        .get_range(&"projects/p/events/date=2025-10-09/b.parquet".into(), 0..5)
        .await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");
    let beyond = cached.get_range(&path, 5..11).await.unwrap_err();
    assert!(beyond.to_string().contains("ends before byte 11"), "{beyond}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reads_through_the_cache_equal_plain_reads(
        length in 1_u64..5 * BLOCK,
        reads in prop::collection::vec(prop::collection::vec((any::<u64>(), 1_u64..2 * BLOCK), 1..5), 1..8),
        memory_blocks in 0_usize..6,
        on_disk in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new(length as usize).await;
            let folder = tempfile::tempdir().unwrap();
            let cached = fixture.cached(memory_blocks * BLOCK as usize, on_disk.then_some(folder.path()));
            for ranges in &reads {
                let ranges: Vec<Range<u64>> = ranges
                    .iter()
                    .map(|(start, length_wanted)| {
                        let start = start % length;
                        start..(start + length_wanted).min(length)
                    })
                    .collect();
                let read = cached.get_ranges(&FILE.into(), &ranges).await.unwrap();
                for (range, bytes) in ranges.iter().zip(&read) {
                    assert_eq!(bytes, &fixture.expected(range), "{range:?}");
                }
            }
        });
    }
}

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::error::ErrorKind;
use crate::event::{Column, Event, batch};
use crate::project::ProjectId;
use crate::store::flush::{Rows, flush};
use crate::store::{Table, TableKind, compact, schema};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

const DAY: i64 = 1_767_225_600_000_000;

fn event(n: u64) -> Event {
    let mut event = Event::default();
    // Texts that do not compress, so that there are many blocks.
    let noise = blake3::hash(&n.to_le_bytes()).to_hex();
    event.set(Column::EventId, format!("e{n}").as_str());
    event.set_ts(Column::Ts, DAY + i64::try_from(n).unwrap());
    event.set_ts(Column::ReceivedAt, DAY);
    event.set(Column::VisitorId, noise.as_str());
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event.set(Column::Properties, format!("{{\"x\":\"{noise}\"}}").as_str());
    event
}

async fn table(rows: std::ops::Range<u64>, flushes: usize) -> (Arc<dyn ObjectStore>, ProjectId, Table) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let project = ProjectId::new("p").unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    let events: Vec<Event> = rows.map(event).collect();
    for (at, part) in events.chunks(events.len().div_ceil(flushes)).enumerate() {
        let rows = Rows {
            rows: vec![batch::from_events(part.iter()).unwrap()].into(),
            writer: "w",
            seq: at as u64 + 1,
        };
        flush(&store, &mut table, &project, TableKind::Events, rows, &clock)
            .await
            .unwrap();
    }
    (store, project, table)
}

async fn read(store: &Arc<dyn ObjectStore>, file: &Arc<DataFile>) -> crate::Result<Vec<RecordBatch>> {
    let schema = schema::of_files(TableKind::Events);
    let rows = compact::rows_of(store, file, &schema).await?;
    Ok(rows.try_collect().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_gets_into_no_row() {
    let (store, _, table) = table(0..6_000, 1).await;
    let file = Arc::clone(&table.snapshot().files[0]);
    let checksums = file.checksums.clone().unwrap();
    assert!(
        checksums.footer_start > 4 * super::super::checksum::BLOCK_BYTES,
        "{checksums:?}"
    );
    let right = store.get(&file.path).await.unwrap().bytes().await.unwrap();
    checksums.check_whole(&file.path, &blake3::hash(&right)).unwrap();
    let rows = read(&store, &file).await.unwrap();
    let size = right.len();
    let start = usize::try_from(checksums.footer_start).unwrap();
    let spread = (0..40).map(|n| n * size / 40);
    let edges = [0, 3, 4, 65_535, 65_536, start - 1, start, start + 1, size - 9, size - 1];
    for at in spread.chain(edges) {
        let mut wrong = right.to_vec();
        wrong[at] ^= 0x10;
        assert!(checksums.check_whole(&file.path, &blake3::hash(&wrong)).is_err());
        store.put(&file.path, wrong.into()).await.unwrap();
        match read(&store, &file).await {
            Ok(read) => assert_eq!(read, rows, "byte {at} of {size} belongs to no column"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
                assert!(error.message().contains(file.path.as_ref()), "{at}: {error}");
            }
        }
    }
    let short = right.slice(..size - 100);
    store.put(&file.path, short.into()).await.unwrap();
    assert!(read(&store, &file).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_takes_no_damaged_byte_along() {
    let (store, project, mut table) = table(0..4_000, 2).await;
    let files = table.snapshot().files.clone();
    let job = compact::Job {
        date: files[0].date.clone(),
        files: files.clone(),
    };
    let pool: Arc<dyn datafusion::execution::memory_pool::MemoryPool> =
        Arc::new(datafusion::execution::memory_pool::GreedyMemoryPool::new(64 << 20));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let merge = async || compact::merge(&store, &pool, &project, TableKind::Events, &job, &clock).await;
    let right = store.get(&files[0].path).await.unwrap().bytes().await.unwrap();
    let mut wrong = right.to_vec();
    wrong[70_000] ^= 1;
    store.put(&files[0].path, wrong.into()).await.unwrap();
    let error = merge().await.unwrap_err();
    assert!(error.message().contains(files[0].path.as_ref()), "{error}");
    store.put(&files[0].path, right.into()).await.unwrap();
    let merged = merge().await.unwrap();
    let snapshot = table.replace(&files, &[merged.file], 1).await.unwrap();
    let file = &snapshot.files[0];
    let bytes = store.get(&file.path).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, file.size_bytes);
    let checksums = file.checksums.as_ref().unwrap();
    checksums.check_whole(&file.path, &blake3::hash(&bytes)).unwrap();
    let rows: usize = read(&store, file)
        .await
        .unwrap()
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    assert_eq!(rows, 4_000);
    let reopened = Table::open(&store, &project, TableKind::Events).await.unwrap();
    assert_eq!(reopened.snapshot().files, snapshot.files);
}

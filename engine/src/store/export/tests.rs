use super::*;
use crate::clock::{Clock, SystemClock};
use crate::event::{Event, Value, batch};
use crate::store::flush::{Rows, flush};
use arrow::array::AsArray;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::memory::InMemory;

const DAY: i64 = 1_767_225_600_000_000;

fn event(n: i64) -> Event {
    let mut event = Event::default();
    event.set(Column::EventId, format!("e{n}").as_str());
    event.set_ts(Column::Ts, DAY + n * DAY_MICROS / 2 + 7);
    event.set_ts(Column::ReceivedAt, DAY);
    event.set(Column::VisitorId, "v");
    event.set(Column::EventType, "page");
    event.set(Column::Protocol, "native");
    event.set(Column::PageTitle, "=1+1");
    event.set(Column::Referrer, "'quoted");
    event.set(Column::Properties, "{\"a\": 1.50, \"b\":\"x\\ny\"}");
    event.set(Column::Extra, "{\n\"lines\":1}");
    event.set(Column::PixelRatio, 1.25);
    event.set(Column::IsBot, false);
    event.set(Column::Revenue, Value::Decimal(-12_340_000));
    event.set(Column::ScreenW, Value::Int(-3));
    event
}

async fn exported(format: Format, from: Option<i64>, to: Option<i64>) -> (Vec<String>, Vec<u8>, u64) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let project = ProjectId::new("p").unwrap();
    let mut table = Table::open(&store, &project, TableKind::Events).await.unwrap();
    for (seq, part) in [(1, 0..3), (2, 3..6)] {
        let events: Vec<Event> = part.map(event).collect();
        let rows = Rows {
            rows: vec![batch::from_events(events.iter()).unwrap()].into(),
            writer: "w",
            seq,
        };
        flush(&store, &mut table, &project, TableKind::Events, rows, &clock)
            .await
            .unwrap();
    }
    let selection = Selection {
        kind: TableKind::Events,
        from,
        to,
    };
    let export = Export::open(&store, &project, selection).await.unwrap();
    let days: Vec<String> = export.days().map(|(day, _)| day.to_owned()).collect();
    let progress = Arc::new(Progress::default());
    let (bytes, rows) = export.write(&days, format, Vec::new(), &progress).await.unwrap();
    (days, bytes, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_say_everything() {
    let (days, bytes, rows) = exported(Format::Ndjson, None, None).await;
    assert_eq!(days, ["2026-01-01", "2026-01-02", "2026-01-03"]);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!((rows, text.lines().count()), (6, 6));
    let first = text.lines().next().unwrap();
    for part in [
        "\"ts\":\"2026-01-01T00:00:00.000007Z\"",
        "\"properties\":{\"a\": 1.50, \"b\":\"x\\ny\"}",
        "\"extra\":\"{\\n\\\"lines\\\":1}\"",
        "\"pixel_ratio\":1.25",
        "\"is_bot\":false",
        "\"revenue\":-12.34",
        "\"screen_w\":-3",
        "\"page_title\":\"=1+1\"",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(!first.contains("user_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_not_run_by_a_spreadsheet() {
    let (_, bytes, _) = exported(Format::Csv, None, None).await;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let headers = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let value = |name: &str| {
        row.get(headers.iter().position(|header| header == name).unwrap())
            .unwrap()
    };
    assert_eq!(value("page_title"), "'=1+1");
    assert_eq!(value("referrer"), "''quoted");
    assert_eq!(value("revenue"), "-12.34");
    assert_eq!(value("extra"), "{\n\"lines\":1}");
    assert_eq!(value("user_id"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_time_is_cut_exactly() {
    let (days, bytes, rows) = exported(Format::Parquet, Some(DAY + DAY_MICROS), Some(DAY + 2 * DAY_MICROS)).await;
    assert_eq!((days.as_slice(), rows), (["2026-01-02".to_owned()].as_slice(), 2));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))
        .unwrap()
        .build()
        .unwrap();
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    let ids: Vec<&str> = batches[0]["event_id"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["e2", "e3"]);
    let (days, _, rows) = exported(Format::Arrow, Some(DAY + DAY_MICROS / 2 + 8), None).await;
    assert_eq!((days.len(), rows), (3, 4));
}

use super::*;
use crate::config::Settings;
use engine::clock::SystemClock;
use engine::event::Column;
use std::sync::Arc;

async fn app(folder: &std::path::Path) -> crate::SharedApp {
    let settings = Settings {
        data_dir: folder.to_owned(),
        memory_bytes: 128 * 1024 * 1024,
        ..Settings::default()
    };
    App::open(settings, Arc::new(SystemClock)).await.unwrap()
}

fn row(protocol: &str, raw: &str) -> RejectedRow {
    RejectedRow {
        received_at: 1_800_000_000_000_000,
        protocol: protocol.to_owned(),
        reason: "invalid_field".to_owned(),
        detail: String::new(),
        raw: raw.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_tries_its_events_again() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path()).await;
    let project = ProjectId::new("shop").unwrap();
    let cases = [
        (
            "native",
            r#"{"type":"page","url":"https://shop.example/","user_id":"u-1"}"#,
        ),
        (
            "jitsu1",
            r#"{"event_type":"pageview","url":"https://shop.example/","user":{"id":"u-1"}}"#,
        ),
        (
            "snowplow",
            r#"{"e":"pv","url":"https://shop.example/","uid":"u-1","p":"web","aid":"some-key"}"#,
        ),
    ];
    for (protocol, raw) in cases {
        let ids: Vec<String> = (0..2)
            .map(|_| match again(&app, &project, &row(protocol, raw)).unwrap() {
                Again::Event(event) => {
                    assert_eq!(event.text(Column::VisitorId), Some("u-1"), "{protocol}");
                    assert_eq!(event.micros(Column::ReceivedAt), Some(1_800_000_000_000_000));
                    event.text(Column::EventId).unwrap().to_owned()
                }
                other => panic!("{protocol}: {other:?}"),
            })
            .collect();
        assert_eq!(ids[0], ids[1], "{protocol}: the same event gets the same id");
    }
    assert_eq!(PROTOCOLS.len(), cases.len(), "a dialect without a case");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tried_again_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path()).await;
    let project = ProjectId::new("shop").unwrap();
    let cut = format!("{{\"a\":\"{}", "x".repeat(REJECTED_RAW_BYTES_MAX - 6));
    let cases = [
        ("native", "", "nothing"),
        ("native", cut.as_str(), "beginning"),
        ("native", "{", "no JSON"),
        ("gone", "{}", "dialect"),
        ("native", r#"{"received_at":1,"protocol":"native"}"#, "decoded"),
    ];
    for (protocol, raw, why) in cases {
        match again(&app, &project, &row(protocol, raw)).unwrap() {
            Again::Not(said) => assert!(said.contains(why), "{said}"),
            other => panic!("{raw}: {other:?}"),
        }
    }
    for raw in ["17", "[1,2]", r#""text""#] {
        match again(&app, &project, &row("native", raw)).unwrap() {
            Again::Rejected(code) => assert_eq!(code, "not_an_object"),
            other => panic!("{raw}: {other:?}"),
        }
    }
}

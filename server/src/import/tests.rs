use super::*;
use crate::config::Settings;
use engine::clock::SystemClock;
use engine::event::{Column, Value};
use engine::maintenance::Field;
use std::sync::Arc;

fn mapping(names: &[&str]) -> Mapping {
    Mapping::new(names.iter().copied(), None, &BTreeMap::new()).unwrap()
}

fn row(fields: &[(&str, &str)]) -> Row {
    Row {
        fields: fields
            .iter()
            .map(|(name, text)| ((*name).into(), Field::Text((*text).to_owned())))
            .collect(),
    }
}

fn event(fields: &[(&str, &str)]) -> std::result::Result<Event, (RejectReason, String)> {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let mapping = mapping(&names);
    let project = ProjectId::new("p").unwrap();
    let enricher = crate::ingest::enrich::Enricher::new().unwrap();
    let translator = Translator::new(&mapping, InputFormat::Csv, &project, &enricher, [1; 32]);
    translator.event(&row(fields), 1_800_000_000_000_000)
}

#[test]
fn a_row_of_jitsu_becomes_its_event() {
    let event = event(&[
        ("eventn_ctx_event_id", "j1"),
        ("_timestamp", "2023-04-05 06:07:09"),
        ("utc_time", "2023-04-05T06:07:08.123000Z"),
        ("event_type", "signup"),
        ("user_anonymous_id", "anon"),
        ("user_email", "a@b.example"),
        ("url", "https://shop.example/cart?utm_source=mail"),
        ("doc_path", "/cart"),
        ("screen_resolution", "1280x720"),
        ("source_ip", "203.0.113.9"),
        ("local_tz_offset", "-60"),
        ("plan", "pro"),
        ("api_key", "js.key"),
    ])
    .unwrap();
    let text = |column| event.text(column);
    assert_eq!(text(Column::EventId), Some("j1"));
    assert_eq!(event.micros(Column::Ts), Some(1_680_674_828_123_000));
    assert_eq!(event.micros(Column::ReceivedAt), Some(1_680_674_829_000_000));
    assert_eq!(
        (text(Column::EventType), text(Column::EventName)),
        (Some("track"), Some("signup"))
    );
    assert_eq!(text(Column::VisitorId), Some("anon"));
    assert_eq!(text(Column::PageHost), Some("shop.example"));
    assert_eq!(text(Column::UtmSource), Some("mail"));
    assert_eq!(text(Column::Ip), Some("203.0.113.0"), "addresses are cut");
    assert_eq!(event.get(Column::ScreenW), Some(&Value::Int(1280)));
    assert_eq!(event.get(Column::TzOffsetMin), Some(&Value::Int(60)));
    assert_eq!(text(Column::Properties), Some("{\"plan\":\"pro\"}"));
    assert_eq!(text(Column::UserTraits), Some("{\"email\":\"a@b.example\"}"));
    assert_eq!(text(Column::Protocol), Some("jitsu1"));
}

#[test]
fn a_row_of_gitlabs_snowplow_becomes_its_event() {
    let event = event(&[
        ("event_id", "s1"),
        ("derived_tstamp", "2024-01-02 03:04:05.678"),
        ("collector_tstamp", "2024-01-02 03:04:06.000"),
        ("event", "page_view"),
        ("domain_userid", "duid"),
        ("domain_sessionidx", "3"),
        ("page_urlpath", "/x"),
        ("custom_event_props", "{\"a\": 1}"),
        ("custom_user_props", "{\"plan\":\"pro\"}"),
        ("agent_name", "Firefox"),
        ("viewport_size", "800x600"),
        ("platform", "web"),
        ("something_new", "kept"),
    ])
    .unwrap();
    let text = |column| event.text(column);
    assert_eq!(
        (text(Column::EventType), text(Column::VisitorId)),
        (Some("page"), Some("duid"))
    );
    assert_eq!(event.micros(Column::Ts), Some(1_704_164_645_678_000));
    assert_eq!(event.get(Column::SessionIndex), Some(&Value::Int(3)));
    assert_eq!(text(Column::Properties), Some("{\"a\":1}"));
    assert_eq!(text(Column::UserTraits), Some("{\"plan\":\"pro\"}"));
    assert_eq!(text(Column::Extra), Some("{\"something_new\":\"kept\"}"));
    assert_eq!(event.get(Column::ViewportH), Some(&Value::Int(600)));
    assert_eq!(text(Column::Origin), Some("browser"));
}

#[test]
fn a_row_that_is_no_event_says_why() {
    let (reason, detail) = event(&[("event_id", "1"), ("visitor_id", "v"), ("event_type", "page")]).unwrap_err();
    assert_eq!(reason, RejectReason::MissingField);
    assert!(detail.contains("`ts`"), "{detail}");
    let bad = [("ts", "yesterday"), ("visitor_id", "v"), ("event_type", "page")];
    let (reason, detail) = event(&bad).unwrap_err();
    assert_eq!(reason, RejectReason::InvalidField);
    assert!(detail.contains("yesterday"), "{detail}");
    let bad = [("ts", "2026-01-01"), ("visitor_id", "v"), ("event_type", "dance")];
    assert_eq!(event(&bad).unwrap_err().0, RejectReason::UnsupportedType);
}

#[test]
fn a_row_without_id_has_the_same_one_each_time() {
    let fields = [
        ("ts", "2026-01-01T00:00:00Z"),
        ("visitor_id", "'=v"),
        ("event_type", "page"),
    ];
    let (one, two) = (event(&fields).unwrap(), event(&fields).unwrap());
    assert_eq!(one, two);
    assert_eq!(one.text(Column::VisitorId), Some("=v"));
    let other = [
        ("ts", "2026-01-01T00:00:01Z"),
        ("visitor_id", "'=v"),
        ("event_type", "page"),
    ];
    assert_ne!(event(&other).unwrap().text(Column::EventId), one.text(Column::EventId));
}

#[test]
fn columns_say_where_they_come_from() {
    assert_eq!(
        mapping(&["event_id", "ts", "visitor_id", "user_id"]).source,
        Source::Native
    );
    assert_eq!(
        mapping(&["eventn_ctx_event_id", "_timestamp", "user_id"]).source,
        Source::Jitsu
    );
    assert_eq!(
        mapping(&["derived_tstamp", "page_urlpath", "user_id"]).source,
        Source::Snowplow
    );
    let error = Mapping::new(["a", "b"].into_iter(), None, &BTreeMap::new()).unwrap_err();
    assert!(error.message().contains("--map"), "{error}");
    let columns = BTreeMap::from([
        ("a".to_owned(), "ts".to_owned()),
        ("b".to_owned(), "nothing".to_owned()),
    ]);
    let error = Mapping::new(["a", "b"].into_iter(), None, &columns).unwrap_err();
    assert!(error.message().contains("`nothing`"), "{error}");
}

async fn app(folder: &Path) -> crate::app::SharedApp {
    let settings = Settings {
        data_dir: folder.to_owned(),
        memory_bytes: 256 << 20,
        query_threads: 1,
        ..Settings::default()
    };
    let app = App::open(settings, Arc::new(SystemClock)).await.unwrap();
    let project = ProjectId::new("p").unwrap();
    app.projects.add(&project, "p", &[], "2024-01-01T00:00:00Z").unwrap();
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_and_stores_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(&folder.path().join("data")).await;
    let file = folder.path().join("history.csv");
    let mut text = String::from("ts,visitor_id,event_type,event_id\n");
    for n in 0..4_500 {
        text.push_str(&format!("2026-01-01T00:00:00Z,v{},page,e{n}\n", n % 9));
    }
    text.push_str("nonsense,v,page,e\n");
    std::fs::write(&file, text).unwrap();
    let wanted = Wanted {
        project: "p".to_owned(),
        file,
        format: None,
        source: None,
        columns: BTreeMap::new(),
        again: false,
    };
    let mut told = 0;
    let first = import(&app, &wanted, |_| told += 1).await.unwrap();
    assert_eq!((first.rows, first.stored, first.rejected, told), (4_501, 4_500, 1, 3));
    let second = import(&app, &wanted, |_| {}).await.unwrap();
    assert_eq!((second.rows, second.skipped, second.stored), (4_501, 4_501, 4_500));
    let again = Wanted { again: true, ..wanted };
    let third = import(&app, &again, |_| {}).await.unwrap();
    assert_eq!((third.stored, third.duplicate, third.rejected), (0, 4_500, 1));
    let stats = app.engine.stats(&ProjectId::new("p").unwrap());
    assert_eq!(stats.stored, 4_500);
    let unknown = Wanted {
        project: "q".to_owned(),
        ..again
    };
    let error = import(&app, &unknown, |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    app.engine.close().await.unwrap();
}

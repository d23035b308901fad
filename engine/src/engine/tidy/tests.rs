use super::*;
use crate::clock::FixedClock;
use crate::engine::{Engine, EngineOptions};
use crate::event::Column;
use crate::ingest::Batch;
use crate::project::ProjectId;
use crate::query::tests::{parse, samples};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn footers_of_files_that_are_gone_are_given_up() {
    let (folder, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let model = include_str!("../../query/tests/model.yml");
    std::fs::write(models.path().join("m.yml"), model).unwrap();
    let options = EngineOptions {
        models_dir: Some(models.path().to_owned()),
        ..EngineOptions::by_hand(folder.path(), FixedClock::new(1_735_689_600_000_000))
    };
    let engine = Engine::open(options).await.unwrap();
    let project = ProjectId::new("p").unwrap();
    let filter = json!([{"member": "Events.path", "operator": "set"}]);
    let query = parse(&json!({"measures": ["Events.count"], "filters": filter})).unwrap();
    let ask = async || engine.query(&project, &query).await.unwrap().rows;
    let kept = || engine.queries.footers().memory_bytes();
    let mut event = samples().swap_remove(0);
    for n in 0..12 {
        event.set(Column::EventId, format!("e{n}"));
        let batch = Batch {
            events: vec![event.clone()],
            rejected: Vec::new(),
        };
        engine.append(&project, batch).await.unwrap();
        engine.flush().await.unwrap();
        ask().await;
    }
    engine.compact().await.unwrap();
    let before = ask().await;
    let of_all = kept();
    tidy(&engine.shared, engine.queries.footers());
    let of_merged = kept();
    assert!(of_merged > 0 && of_merged < of_all, "{of_merged} of {of_all}");
    assert_eq!(ask().await, before);
    assert_eq!(kept(), of_merged, "those of files that are there stay");
}

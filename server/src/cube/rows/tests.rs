use super::*;
use crate::cube::batch::Batch;
use crate::cube::normalize::Defaults;
use serde_json::{Value, json};

fn answer() -> Answer {
    let time = |day: u8| Cell::Time(format!("2024-02-0{day}T00:00:00.000"));
    Answer {
        columns: vec!["T.d".to_owned(), "T.t.day".to_owned(), "T.c".to_owned()],
        rows: vec![
            vec![Cell::Text("é".to_owned()), time(1), Cell::Number("5".to_owned())],
            vec![Cell::Null, time(2), Cell::Bool(true)],
        ],
        total: None,
        as_of: 0,
        reads_clock: false,
    }
}

fn written(format: Option<&str>, extra: Extra) -> Value {
    let mut query = json!({"measures": ["T.c"], "dimensions": ["T.d"],
        "timeDimensions": [{"dimension": "T.t", "granularity": "day", "dateRange": ["2024-02-01", "2024-02-02"]}]});
    if let Some(format) = format {
        query["responseFormat"] = json!(format);
    }
    let batch = Batch::new(&query, None, Defaults::at(0)).unwrap();
    serde_json::to_value(Rows::new(&answer(), &batch.queries[0], extra)).unwrap()
}

#[test]
fn objects_hold_each_bucket_under_both_names() {
    assert_eq!(
        written(None, Extra::None)[0],
        json!({"T.d": "é", "T.t.day": "2024-02-01T00:00:00.000", "T.c": "5", "T.t": "2024-02-01T00:00:00.000"})
    );
    assert_eq!(written(None, Extra::None)[1]["T.d"], Value::Null);
    assert_eq!(
        written(None, Extra::CompareDateRange)[0]["compareDateRange"],
        "2024-02-01T00:00:00.000 - 2024-02-02T23:59:59.999"
    );
    assert_eq!(
        written(None, Extra::BlendedTime)[1]["time.day"],
        "2024-02-02T00:00:00.000"
    );
}

#[test]
fn compact_and_columnar_name_the_members_once() {
    let members = json!(["T.d", "T.t.day", "T.c", "T.t"]);
    let compact = written(Some("compact"), Extra::None);
    assert_eq!(compact["members"], members);
    assert_eq!(
        compact["dataset"][1],
        json!([null, "2024-02-02T00:00:00.000", true, "2024-02-02T00:00:00.000"])
    );
    let columnar = written(Some("columnar"), Extra::None);
    assert_eq!(columnar["members"], members);
    assert_eq!(columnar["columns"][0], json!(["é", null]));
}

#[test]
fn no_rows_have_no_members() {
    let query = json!({"measures": ["T.c"], "responseFormat": "compact"});
    let batch = Batch::new(&query, None, Defaults::at(0)).unwrap();
    let empty = Answer {
        rows: Vec::new(),
        ..answer()
    };
    let rows = Rows::new(&empty, &batch.queries[0], Extra::None);
    assert_eq!(
        serde_json::to_value(rows).unwrap(),
        json!({"members": [], "dataset": []})
    );
}

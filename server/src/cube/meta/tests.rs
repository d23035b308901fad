//! `data/cube/models.jsonl`: small models with what Cube 1.7.43 makes of them, extended meta or errors.

use super::*;
use engine::clock::FixedClock;
use engine::model::{Builtin, Catalog, CatalogOptions};

/// Where the answer is another on purpose: the case and why.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "dup_crosskind",
        "a measure and a dimension of one name could not be told apart",
    ),
    ("twopaths", "two ways to one cube are refused in YAML too"),
    (
        "nested_view",
        "the type of a measure stays what it is in a view of a view",
    ),
    ("geo_string", "coordinates go with geo only"),
    ("case_noelse", "a number is a label"),
    ("title_num", "a number is a title"),
    ("foreign", "a column of another cube is a matter of the join"),
    ("g_multi_ok", "a date without quotes is an origin"),
    ("split", "a view that is split off names its file too"),
];

fn load(text: &str) -> (std::sync::Arc<Model>, Vec<String>) {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("model.yml"), text).unwrap();
    let catalog = Catalog::open(CatalogOptions {
        builtin: Builtin::None,
        models_dir: Some(dir.path().to_owned()),
        clock: FixedClock::new(0),
        check_sql: None,
    });
    let catalog = catalog.unwrap();
    let project = engine::ProjectId::new("p").unwrap();
    let problems = catalog
        .problems(&project)
        .into_iter()
        .filter(|problem| problem.is_error());
    (
        catalog.model(&project),
        problems.map(|problem| problem.message).collect(),
    )
}

/// Cube 1.7 writes `ID` where 1.6, which is followed, writes `Id`.
fn older_titles(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(older_titles),
        Value::Object(entries) => {
            for (key, value) in entries.iter_mut() {
                match value {
                    Value::String(text) if key == "title" || key == "shortTitle" => {
                        let words = text.split(' ').map(|word| if word == "ID" { "Id" } else { word });
                        *text = words.collect::<Vec<_>>().join(" ");
                    }
                    _ => older_titles(value),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn small_models_are_shown_and_refused_as_by_cube() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/cube/models.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut wrong = Vec::new();
    let mut same_words = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        if DIFFERENT.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let (model, errors) = load(case["model"].as_str().unwrap());
        if let Some(expected) = case["errors"].as_array() {
            if errors.is_empty() {
                wrong.push(format!("{name}: accepted, Cube says {expected:?}"));
            }
            let said = |line: &Value| errors.iter().any(|error| error.contains(line.as_str().unwrap()));
            same_words += usize::from(expected.iter().all(said));
            continue;
        }
        let mut expected = case["extended"].clone();
        older_titles(&mut expected);
        let mut made = meta(
            &model,
            &Asker {
                context: &Value::Null,
                groups: &[],
                roles: &[],
            },
            true,
            false,
        )["cubes"]
            .clone();
        older_titles(&mut made);
        let groups = meta(
            &model,
            &Asker {
                context: &Value::Null,
                groups: &[],
                roles: &[],
            },
            false,
            false,
        )["viewGroups"]
            .clone();
        if !errors.is_empty() || made != expected || groups != case["viewGroups"] {
            let (made, expected) = (made.as_array().unwrap(), expected.as_array().unwrap());
            let pairs = made.iter().zip(expected).filter(|(made, expected)| made != expected);
            let pairs: Vec<String> = pairs
                .map(|(made, expected)| format!("  {made}\n  {expected}"))
                .collect();
            wrong.push(format!("{name}: {errors:?}\n{}", pairs.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same_words >= 30, "{same_words} errors in Cube's own words");
}

use super::*;
use crate::model::funnel::FunnelRule;
use crate::model::measure::{MEASURE_TYPES, MeasureType};
use std::collections::BTreeSet;

fn schema(name: &str) -> serde_json::Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../schemas")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The keys of an object of a JSON Schema in snake case, and those of them that are also there in camel case.
fn keys_of(object: &serde_json::Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let all: Vec<&String> = object["properties"].as_object().unwrap().keys().collect();
    let snake = all.iter().map(|key| snake_case(key)).collect();
    let camel = all.iter().map(|key| (*key).clone()).collect();
    (snake, camel)
}

#[test]
fn the_json_schemas_list_the_same_keys() {
    let cube = schema("cube.schema.json");
    let funnel = schema("funnel.schema.json");
    let defs = &cube["$defs"];
    let pairs = [
        (&FILE_KEYS, &cube),
        (&CUBE_KEYS, &defs["cube"]),
        (&MEASURE_KEYS, &defs["measure"]),
        (&DIMENSION_KEYS, &defs["dimension"]),
        (&SEGMENT_KEYS, &defs["segment"]),
        (&JOIN_KEYS, &defs["join"]),
        (&GRANULARITY_KEYS, &defs["granularity"]),
        (&VIEW_KEYS, &defs["view"]),
        (&VIEW_CUBE_KEYS, &defs["view_cube"]),
        (&INCLUDED_MEMBER_KEYS, &defs["included_member"]),
        (&FOLDER_KEYS, &defs["folder"]),
        (&DEFAULT_FILTER_KEYS, &defs["default_filter"]),
        (&VIEW_GROUP_KEYS, &defs["view_group"]),
        (&HIERARCHY_KEYS, &defs["hierarchy"]),
        (&PRE_AGGREGATION_KEYS, &defs["pre_aggregation"]),
        (&LINK_KEYS, &defs["link"]),
        (&FUNNEL_KEYS, &funnel),
        (&STEP_KEYS, &funnel["$defs"]["step"]),
    ];
    for (keys, object) in pairs {
        let known: BTreeSet<String> = keys.keys.iter().map(|(name, _)| (*name).to_owned()).collect();
        let (snake, written) = keys_of(object);
        assert_eq!(snake, known, "{}", keys.object);
        for name in &known {
            assert!(
                written.contains(&camel_case(name)),
                "{}: {name} in camel case",
                keys.object
            );
        }
    }
}

#[test]
fn the_json_schemas_list_the_same_types() {
    let cube = schema("cube.schema.json");
    let listed = cube["$defs"]["measure"]["properties"]["type"]["enum"]
        .as_array()
        .unwrap();
    let listed: BTreeSet<String> = listed.iter().map(|kind| snake_case(kind.as_str().unwrap())).collect();
    let known = MEASURE_TYPES.iter().filter(|row| row.kind != MeasureType::Funnel);
    assert_eq!(listed, known.map(|row| row.yaml.to_owned()).collect());
    let funnel = schema("funnel.schema.json");
    let rules: Vec<&str> = FunnelRule::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(funnel["properties"]["rule"]["enum"], serde_json::json!(rules));
    assert_eq!(funnel["properties"]["steps"]["maxItems"], limits::FUNNEL_STEPS_MAX);
}

#[test]
fn nodes_know_their_lines() {
    let node = parse("a:\n  - x: 1\n    y: >\n      long\n      text\n  - n\nb: &t {value: on}\nc: *t\n").unwrap();
    let Value::Map(entries) = &node.value else {
        panic!("a mapping")
    };
    let lines: Vec<(u32, &str)> = entries.iter().map(|(key, _)| (key.line, key.text.as_str())).collect();
    assert_eq!(lines, [(1, "a"), (7, "b"), (8, "c")]);
    let Value::List(items) = &entries[0].1.value else {
        panic!("a list")
    };
    assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [2, 6]);
    assert_eq!(items[1].value, Value::Text("n".to_owned()));
    assert_eq!(items[0].json(), serde_json::json!({"x": 1, "y": "long text\n"}));
    assert_eq!(entries[2].1.json(), serde_json::json!({"value": "on"}));
}

#[test]
fn scalars_keep_their_text() {
    let node = parse("[1.0, '007', ~, true, 2024-02-01, \"\"]").unwrap();
    let Value::List(items) = &node.value else {
        panic!("a list")
    };
    let texts: Vec<Option<String>> = items.iter().map(Node::text).collect();
    let expected = [Some("1.0"), Some("007"), None, Some("true"), Some("2024-02-01"), None];
    assert_eq!(texts, expected.map(|text| text.map(str::to_owned)));
}

#[test]
fn near_keys_are_found() {
    assert_eq!(CUBE_KEYS.nearest("measurs"), Some("measures"));
    assert_eq!(CUBE_KEYS.nearest("sqlTabel"), Some("sql_table"));
    assert_eq!(CUBE_KEYS.nearest("foo"), None);
    assert_eq!(CUBE_KEYS.nearest(&"x".repeat(1000)), None);
    assert_eq!(strsim::levenshtein("kitten", "sitting"), 3);
}

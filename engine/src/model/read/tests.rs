use super::*;
use crate::model::{CaseLabel, DimensionSql, MeasureType};

fn read(text: &str) -> FileContent {
    read_file(&Arc::from("x.yml"), text)
}

fn only(text: &str) -> RawCube {
    let content = read(text);
    assert_eq!(content.problems, []);
    content.cubes.into_iter().next().unwrap()
}

#[test]
fn camel_case_and_snake_case_mean_the_same() {
    let snake = only(
        "cubes:\n- name: A\n  sql_table: t\n  measures:\n  - name: m\n    type: count_distinct\n    sql: x\n    drill_members: [d]\n  dimensions:\n  - name: d\n    sql: y\n    type: string\n    primary_key: true\n",
    );
    let camel = only(
        "cubes:\n- name: A\n  sqlTable: t\n  measures:\n  - name: m\n    type: countDistinct\n    sql: x\n    drillMembers: [d]\n  dimensions:\n  - name: d\n    sql: y\n    type: string\n    primaryKey: true\n",
    );
    assert_eq!(format!("{snake:?}"), format!("{camel:?}"));
    assert_eq!(snake.measures[0].kind, MeasureType::CountDistinct);
    assert!(
        !snake.dimensions[0].public,
        "primary keys are hidden unless said otherwise"
    );
}

#[test]
fn keys_inside_meta_stay_as_written() {
    let cube =
        only("cubes:\n- name: A\n  sql: SELECT 1 AS x\n  meta: {snake_case: 1, camelCase: [true, {a_b: null}]}\n");
    assert_eq!(
        cube.meta,
        Some(serde_json::json!({"snake_case": 1, "camelCase": [true, {"a_b": null}]}))
    );
}

#[test]
fn labels_are_texts_or_sql() {
    let cube = only(
        "cubes:\n- name: A\n  sql_table: t\n  dimensions:\n  - name: d\n    type: string\n    case:\n      when:\n      - {sql: x = 1, label: 1}\n      - {sql: x = 2, label: {sql: upper(y)}}\n      else: {label: other}\n",
    );
    let DimensionSql::Case { when, else_label } = &cube.dimensions[0].sql else {
        panic!("a case");
    };
    assert_eq!(when[0].1, CaseLabel::Text("1".to_owned()));
    assert!(matches!(&when[1].1, CaseLabel::Sql(sql) if sql.source == "upper(y)"));
    assert_eq!(*else_label, Some(CaseLabel::Text("other".to_owned())));
}

#[test]
fn the_file_name_names_a_funnel_without_a_name() {
    let text = "seconds_to_convert: 60\nrule: strict\nsteps:\n  - {name: a, target: /a, action: pageview}\n";
    let content = read_file(&Arc::from(".gitlab/analytics/funnels/Buy-Now.yaml"), text);
    assert_eq!(content.problems, []);
    assert_eq!(content.cubes[0].name, "buy_now");
}

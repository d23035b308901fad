//! Every case of `data/clickhouse/functions.jsonl`, which a real ClickHouse answered, asked of our SQL.

use super::*;
use crate::model::Dialect;
use crate::query::sql;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, TimeUnit};
use datafusion::physical_plan::collect;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
struct Case {
    family: String,
    sql: String,
    rows: Option<Vec<Vec<Value>>>,
}

fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../data/clickhouse")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of a query, as ClickHouse's JSON has them.
async fn rows(text: &str) -> Result<Vec<Vec<Value>>> {
    let plan = sql::query_in(Dialect::ClickHouse, text)?;
    let mut state = sql::functions().clone();
    let config = Arc::clone(state.config_options());
    state.execution_props_mut().mark_start_execution(config);
    let plan = state.optimize(&plan).map_err(sql::model_error)?;
    let physical = state
        .query_planner()
        .create_physical_plan(&plan, &state)
        .await
        .map_err(sql::model_error)?;
    let batches = collect(physical, state.task_ctx()).await.map_err(sql::model_error)?;
    Ok(batches.iter().flat_map(json_rows).collect())
}

fn json_rows(batch: &RecordBatch) -> Vec<Vec<Value>> {
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().map(|column| cell(column, row)).collect())
        .collect()
}

fn cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let text = || {
        let shown = arrow::compute::cast(&array.slice(row, 1), &DataType::Utf8).unwrap();
        shown.as_string::<i32>().value(0).to_owned()
    };
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!(text()),
        DataType::Float32 | DataType::Float64 => float(array, row),
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            Value::Array((0..values.len()).map(|at| cell(&values, at)).collect())
        }
        DataType::Date32 => {
            let day = array.as_primitive::<Date32Type>().value_as_date(row).unwrap();
            json!(day.to_string())
        }
        DataType::Timestamp(unit, zone) => json!(instant(array, row, unit, zone.as_deref())),
        _ => serde_json::from_str(&text()).unwrap_or_else(|_| json!(text())),
    }
}

fn float(array: &ArrayRef, row: usize) -> Value {
    let wide = arrow::compute::cast(array, &DataType::Float64).unwrap();
    let value = wide.as_primitive::<arrow::datatypes::Float64Type>().value(row);
    if value.is_nan() {
        json!("nan")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "inf" } else { "-inf" })
    } else if *array.data_type() == DataType::Float32 {
        let mut out = String::new();
        convert::write_float(&mut out, value, Some(value as f32));
        serde_json::from_str(&out).unwrap()
    } else {
        json!(value)
    }
}

fn instant(array: &ArrayRef, row: usize, unit: &TimeUnit, zone: Option<&str>) -> String {
    let micros =
        arrow::compute::cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))).unwrap();
    let micros = micros
        .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
        .value(row);
    let zone: chrono_tz::Tz = zone.unwrap_or("UTC").parse().unwrap();
    let at = chrono::DateTime::from_timestamp_micros(micros)
        .unwrap()
        .with_timezone(&zone);
    let format = match unit {
        TimeUnit::Second => "%Y-%m-%d %H:%M:%S",
        TimeUnit::Millisecond => "%Y-%m-%d %H:%M:%S%.3f",
        TimeUnit::Microsecond => "%Y-%m-%d %H:%M:%S%.6f",
        TimeUnit::Nanosecond => "%Y-%m-%d %H:%M:%S%.9f",
    };
    at.format(format).to_string()
}

/// Equal values; conditions are 0 and 1, and floats may differ in their last digits.
fn same(ours: &Value, theirs: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        _ if ours == theirs => true,
        // A NaN's sign is nobody's.
        (Value::String(ours), Value::String(theirs)) if theirs == "-nan" => ours == "nan",
        _ => match (ours.as_i64().zip(theirs.as_i64()), number(ours), number(theirs)) {
            (Some((ours, theirs)), ..) => ours == theirs,
            (None, Some(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-12 * ours.abs().max(theirs.abs()),
            _ => false,
        },
    }
}

fn all_same(ours: &[Vec<Value>], theirs: &[Vec<Value>]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        })
}

#[tokio::test]
async fn every_case_is_as_in_clickhouse() {
    let cases: Vec<Case> = data("functions.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let differences = data("differences.txt");
    let listed: HashSet<&str> = differences
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut seen = HashSet::new();
    for case in &cases {
        let ours = rows(&case.sql).await;
        let equal = match (&ours, &case.rows) {
            (Ok(ours), Some(theirs)) => all_same(ours, theirs),
            (Err(_), None) => true,
            _ => false,
        };
        let count = counts.entry(&case.family).or_default();
        count.0 += 1;
        count.1 += usize::from(equal);
        let is_listed = listed.contains(case.sql.as_str());
        seen.extend(listed.get(case.sql.as_str()));
        if equal == is_listed {
            let ours = ours.map_or_else(|error| format!("! {error}"), |rows| json!(rows).to_string());
            let theirs = case
                .rows
                .as_ref()
                .map_or_else(|| "an error".to_owned(), |rows| json!(rows).to_string());
            let now = if equal { "listed as different and equal: " } else { "" };
            wrong
                .entry(&case.family)
                .or_default()
                .push(format!("{now}{}\n  ours:   {ours}\n  theirs: {theirs}", case.sql));
        }
    }
    let stale: Vec<&&str> = listed.difference(&seen).collect();
    assert!(stale.is_empty(), "no cases: {stale:#?}");
    assert!(cases.len() >= 1_500, "{} cases", cases.len());
    let total: usize = wrong.values().map(Vec::len).sum();
    let shown: Vec<String> = wrong
        .into_iter()
        .map(|(family, all)| format!("## {family}\n{}", all.join("\n")))
        .collect();
    assert!(
        shown.is_empty(),
        "{total} of {} differ {counts:?}\n{}",
        cases.len(),
        shown.join("\n")
    );
}

/// The documentation of the table, by family.
fn documented() -> String {
    let mut out = data("functions.head.md");
    let mut family = "";
    for function in TABLE {
        if function.family != family {
            family = function.family;
            out.push_str(&format!("\n## {family}\n\n"));
        }
        let aliases: Vec<String> = function.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let aliases = if aliases.is_empty() {
            String::new()
        } else {
            format!(" ({})", aliases.join(", "))
        };
        out.push_str(&format!("- `{}`{aliases}\n", function.name));
    }
    out
}

/// `engine/functions.md` is made from the table: `TALLY_WRITE_DOCS=1` writes it.
#[test]
fn the_documentation_lists_the_table() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("functions.md");
    let wanted = documented();
    if std::env::var_os("TALLY_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "engine/functions.md is not the table's: run this test with TALLY_WRITE_DOCS=1"
    );
}

#[test]
fn names_are_unique_and_nearest_ones_are_near() {
    let mut seen = HashSet::new();
    for name in TABLE
        .iter()
        .flat_map(|row| std::iter::once(&row.name).chain(row.aliases))
    {
        assert!(seen.insert(name.to_ascii_lowercase()), "{name}");
    }
    for (wrong, near) in [
        ("contIf", "countIf"),
        ("toStartOfHuor", "toStartOfHour"),
        ("uniqExct", "uniqExact"),
        ("domian", "domain"),
    ] {
        assert_eq!(nearest(wrong), near);
    }
}

//! When an answer equals a recorded one.
//!
//! Instants of the server and generated ids are not compared, nor the text of SQL. Cells are compared as numbers where
//! both are numbers, estimates within 3 %. Rows are compared in order, except where the record says that ties leave it
//! open.

use crate::support::client::Reply;
use serde_json::{Map, Value};

/// What is not compared, and how closely numbers are.
pub struct Rules {
    /// Keys whose values differ at every run.
    ignored_keys: &'static [&'static str],
    /// Difference of two numbers, relative to them.
    tolerance: f64,
    /// The same for members computed by sketches.
    sketch_tolerance: f64,
    /// Whether our answer may say more than the recorded one, which comes from a version that knew less.
    additive: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ignored_keys: &[
                "lastRefreshTime",
                "requestId",
                "refreshKeyValues",
                "compilerId",
                "lastUpdatedAt",
            ],
            tolerance: 1e-9,
            sketch_tolerance: 0.03,
            additive: false,
        }
    }
}

impl Rules {
    /// Rules for a recording of an older version: what its clients read must be there and equal. What later versions
    /// added does not count, nor `null` for what is now absent, stack traces, and the planner's own view of a query.
    pub fn of_an_older_version() -> Self {
        Self {
            ignored_keys: &[
                "lastRefreshTime",
                "requestId",
                "refreshKeyValues",
                "compilerId",
                "lastUpdatedAt",
                "stack",
                "transformedQueries",
                "transformedQuery",
                "canUseTransformedQuery",
            ],
            additive: true,
            ..Self::default()
        }
    }
}

/// Takes what `theirs` has not from `ours`, except rows; lists of named things are matched by name.
fn prune(ours: &mut Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let failed = |value: &Map<String, Value>| value.contains_key("error") || value.contains_key("errors");
            if failed(ours) != failed(theirs) {
                return;
            }
            ours.retain(|key, _| theirs.contains_key(key));
            for (key, value) in ours.iter_mut().filter(|(key, _)| *key != "data") {
                prune(value, &theirs[key]);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            let named = |item: &Value| item["name"].as_str().map(str::to_owned);
            let names: Option<Vec<String>> = theirs.iter().map(named).collect();
            match names {
                Some(names) if !names.is_empty() => {
                    ours.retain(|item| named(item).is_some_and(|name| names.contains(&name)));
                    for item in ours {
                        let name = named(item);
                        if let Some(its) = theirs.iter().find(|other| named(other) == name) {
                            prune(item, its);
                        }
                    }
                }
                _ => ours.iter_mut().zip(theirs).for_each(|(a, b)| prune(a, b)),
            }
        }
        _ => {}
    }
}

/// Without the `null`s outside rows.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            let deeper = |(key, value): (String, Value)| match key.as_str() {
                "data" => (key, value),
                _ => (key, without_nulls(value)),
            };
            Value::Object(kept.map(deeper).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

type Verdict = Result<(), String>;

/// Whether `reply` equals the recorded response.
pub fn compare(rules: &Rules, record: &Value, reply: &Reply) -> Verdict {
    let recorded = &record["response"];
    let text = reply.text();
    if Some(u64::from(reply.status)) != recorded["status"].as_u64() {
        return Err(format!(
            "status {} instead of {}: {}",
            reply.status,
            recorded["status"],
            cut(&text)
        ));
    }
    for name in ["content-type", "access-control-allow-origin"] {
        let (ours, theirs) = (reply.header(name), recorded["headers"][name].as_str());
        if ours != theirs {
            return Err(format!("header {name} is {ours:?} instead of {theirs:?}"));
        }
    }
    let theirs = &recorded["body"];
    if let Value::String(theirs) = theirs {
        return equal("body", &Value::String(text), &Value::String(theirs.clone()));
    }
    let ours: Value = serde_json::from_str(&text).map_err(|error| format!("{error} in {}", cut(&text)))?;
    let (mut ours, mut theirs) = (strip(rules, ours), strip(rules, theirs.clone()));
    if rules.additive {
        theirs = without_nulls(theirs);
        prune(&mut ours, &theirs);
    }
    let path = record["request"]["path"].as_str().unwrap_or_default();
    match path.rsplit('/').next().unwrap_or_default() {
        "load" | "subscribe" => answer(rules, &record["check"], ours, theirs),
        "sql" => sql(&ours, &theirs),
        "dry-run" => dry_run(ours, theirs),
        "meta" | "meta?extended" => meta(&ours, &theirs),
        "graphql" => {
            own_types(&mut ours, &theirs);
            equal("body", &ours, &theirs)
        }
        _ => equal("body", &ours, &theirs),
    }
}

/// Whether a dry run shows the query as Cube normalised it, or refuses it with Cube's text.
pub fn compare_reading(case: &Value, reply: &Reply) -> Verdict {
    let body = reply.json();
    if let Some(theirs) = case["error"].as_str() {
        return equal("error", &body["error"], &Value::from(theirs));
    }
    // A member that does not exist is none of the normaliser's business.
    let unknown = body["error"]
        .as_str()
        .is_some_and(|text| text.contains("not found for path"));
    if unknown {
        return Ok(());
    }
    let mut ours = body["normalizedQueries"][0].clone();
    if let Some(fields) = ours.as_object_mut() {
        fields.retain(|key, _| !matches!(key.as_str(), "queryType" | "rowLimit"));
    } else {
        return Err(format!("status {}: {}", reply.status, cut(&reply.text())));
    }
    equal("query", &ours, &case["normalized"])
}

/// The built-in cubes have types too, which the recorded server had not; the others are compared in its order.
fn own_types(ours: &mut Value, theirs: &Value) {
    let types = "/data/__schema/types";
    let (Some(Value::Array(types)), Some(Value::Array(wanted))) = (ours.pointer_mut(types), theirs.pointer(types))
    else {
        return;
    };
    let place = |one: &Value| wanted.iter().position(|other| other["name"] == one["name"]);
    types.retain(|one| place(one).is_some());
    types.sort_by_key(place);
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

fn strip(rules: &Rules, value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(key, _)| !rules.ignored_keys.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key, strip(rules, value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| strip(rules, item)).collect()),
        other => other,
    }
}

/// Equality that says where the first difference is.
fn equal(at: &str, ours: &Value, theirs: &Value) -> Verdict {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => equal(&format!("{at}.{key}"), x, y)?,
                    (Some(x), None) => return Err(format!("{at}.{key} should not be there: {}", cut(&x.to_string()))),
                    (None, y) => {
                        return Err(format!(
                            "{at}.{key} is missing: {}",
                            cut(&y.cloned().unwrap_or_default().to_string())
                        ));
                    }
                }
            }
            Ok(())
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.try_for_each(|(index, (x, y))| equal(&format!("{at}[{index}]"), x, y))
        }
        _ if ours == theirs => Ok(()),
        _ => Err(format!(
            "{at} is {} instead of {}",
            cut(&ours.to_string()),
            cut(&theirs.to_string())
        )),
    }
}

fn answer(rules: &Rules, check: &Value, mut ours: Value, mut theirs: Value) -> Verdict {
    let several = theirs.get("results").is_some();
    let results = |value: &mut Value| -> Vec<Value> {
        match value.get_mut("results").and_then(Value::as_array_mut) {
            Some(results) => std::mem::take(results),
            None => vec![value.take()],
        }
    };
    let (ours_each, theirs_each) = (results(&mut ours), results(&mut theirs));
    if several {
        equal("body", &ours, &theirs)?;
    }
    if ours_each.len() != theirs_each.len() {
        return Err(format!("{} results instead of {}", ours_each.len(), theirs_each.len()));
    }
    for (index, (mut ours, mut theirs)) in ours_each.into_iter().zip(theirs_each).enumerate() {
        let data = |value: &mut Value| value.get_mut("data").map(Value::take);
        let (our_data, their_data) = (data(&mut ours), data(&mut theirs));
        equal(&format!("results[{index}]"), &ours, &theirs)?;
        let check = check.get(index).unwrap_or(check);
        if let (Some(our_data), Some(their_data)) = (our_data, their_data) {
            rows(rules, check, &table(&our_data), &table(&their_data))?;
        }
    }
    Ok(())
}

/// Rows as objects, from any of the three shapes.
fn table(data: &Value) -> Vec<Map<String, Value>> {
    if let Some(rows) = data.as_array() {
        return rows.iter().filter_map(|row| row.as_object().cloned()).collect();
    }
    let members: Vec<String> = data["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|m| m.as_str().map(str::to_owned))
        .collect();
    let rows: Vec<Vec<Value>> = match (data["dataset"].as_array(), data["columns"].as_array()) {
        (Some(rows), _) => rows.iter().filter_map(|row| row.as_array().cloned()).collect(),
        (None, Some(columns)) => {
            let count = columns.first().and_then(Value::as_array).map_or(0, Vec::len);
            (0..count)
                .map(|row| columns.iter().map(|column| column[row].clone()).collect())
                .collect()
        }
        _ => Vec::new(),
    };
    rows.into_iter()
        .map(|row| members.iter().cloned().zip(row).collect())
        .collect()
}

fn rows(rules: &Rules, check: &Value, ours: &[Map<String, Value>], theirs: &[Map<String, Value>]) -> Verdict {
    if ours.len() != theirs.len() {
        return Err(format!("{} rows instead of {}", ours.len(), theirs.len()));
    }
    let keys: Vec<&str> = check["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match check["order"].as_str() {
        Some("ties") => tied(rules, &keys, ours, theirs, false),
        Some("membership") => tied(rules, &keys, ours, theirs, true),
        _ => ours
            .iter()
            .zip(theirs)
            .enumerate()
            .try_for_each(|(index, (a, b))| same_row(rules, index, a, b)),
    }
}

fn same_row(rules: &Rules, index: usize, ours: &Map<String, Value>, theirs: &Map<String, Value>) -> Verdict {
    for key in ours.keys().chain(theirs.keys()) {
        let (a, b) = (ours.get(key), theirs.get(key));
        let same = match (a, b) {
            (Some(a), Some(b)) => same_cell(rules, key, a, b),
            _ => false,
        };
        if !same {
            return Err(format!("row {index}: {key} is {a:?} instead of {b:?}"));
        }
    }
    Ok(())
}

fn same_cell(rules: &Rules, member: &str, ours: &Value, theirs: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    let tolerance = match member.to_lowercase().contains("approx") {
        true => rules.sketch_tolerance,
        false => rules.tolerance,
    };
    match (number(ours), number(theirs)) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance * a.abs().max(b.abs()),
        _ => ours == theirs,
    }
}

/// Groups of rows with equal keys, in their order.
fn groups<'a>(keys: &[&str], rows: &'a [Map<String, Value>]) -> Vec<Vec<&'a Map<String, Value>>> {
    let mut all: Vec<Vec<&Map<String, Value>>> = Vec::new();
    for row in rows {
        let tied = |other: &&Map<String, Value>| keys.iter().all(|key| other.get(*key) == row.get(*key));
        match all.last_mut() {
            Some(group) if group.first().is_some_and(tied) => group.push(row),
            _ => all.push(vec![row]),
        }
    }
    all
}

/// Equal groups in equal order, their rows in any; when a limit cuts inside the last group, any of its rows will do.
fn tied(
    rules: &Rules,
    keys: &[&str],
    ours: &[Map<String, Value>],
    theirs: &[Map<String, Value>],
    limit_cuts: bool,
) -> Verdict {
    let (ours, theirs) = (groups(keys, ours), groups(keys, theirs));
    if ours.len() != theirs.len() {
        return Err(format!("{} groups of ties instead of {}", ours.len(), theirs.len()));
    }
    let last = theirs.len().saturating_sub(1);
    for (index, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        if limit_cuts && index == last {
            let same_keys = keys.iter().all(|key| match (a[0].get(*key), b[0].get(*key)) {
                (Some(x), Some(y)) => same_cell(rules, key, x, y),
                (x, y) => x == y,
            });
            if !same_keys || a.len() != b.len() {
                return Err("the last group of ties differs".to_owned());
            }
            continue;
        }
        let mut left: Vec<&Map<String, Value>> = a.clone();
        for row in b {
            let found = left.iter().position(|mine| same_row(rules, index, mine, row).is_ok());
            match found {
                Some(found) => drop(left.swap_remove(found)),
                None => {
                    return Err(format!(
                        "tie group {index}: no row like {}",
                        cut(&Value::Object((*row).clone()).to_string())
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Of SQL only the shape: the same keys with values of the same types, and what does not depend on the dialect.
fn sql(ours: &Value, theirs: &Value) -> Verdict {
    shape("body", ours, theirs, 3)?;
    let inner = |value: &Value| {
        if value.is_array() {
            value[0]["sql"].clone()
        } else {
            value["sql"].clone()
        }
    };
    let (ours, theirs) = (inner(ours), inner(theirs));
    for key in ["order", "aliasNameToMember", "timeDimensionField", "external"] {
        equal(key, &ours[key], &theirs[key])?;
    }
    Ok(())
}

fn shape(at: &str, ours: &Value, theirs: &Value, depth: usize) -> Verdict {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) if depth > 0 => {
            for key in a.keys().chain(b.keys()) {
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => shape(&format!("{at}.{key}"), x, y, depth - 1)?,
                    (Some(_), None) => return Err(format!("{at}.{key} should not be there")),
                    (None, _) => return Err(format!("{at}.{key} is missing")),
                }
            }
            Ok(())
        }
        (Value::Object(_), Value::Object(_))
        | (Value::Array(_), Value::Array(_))
        | (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, _)
        | (_, Value::Null) => Ok(()),
        _ => equal(at, ours, theirs),
    }
}

/// Our dry run has an empty `results` more.
fn dry_run(mut ours: Value, mut theirs: Value) -> Verdict {
    if let Some(fields) = ours.as_object_mut() {
        fields.shift_remove("results");
    }
    for side in [&mut ours, &mut theirs] {
        let transformed = side.get_mut("transformedQueries").and_then(Value::as_array_mut);
        for query in transformed.into_iter().flatten() {
            if let Some(all) = query.get_mut("granularityHierarchies").and_then(Value::as_object_mut) {
                all.retain(|key, _| !is_left_out(key));
            }
        }
    }
    equal("body", &ours, &theirs)
}

/// Members of the cubes that ship with Tally.
fn is_left_out(path: &str) -> bool {
    const LEFT_OUT: &[&str] = &["ReturningUsers", "RejectedEvents"];
    LEFT_OUT.contains(&path.split('.').next().unwrap_or_default())
}

fn meta(ours: &Value, theirs: &Value) -> Verdict {
    let cubes = |value: &Value| -> Vec<Value> {
        let all = value["cubes"].as_array().into_iter().flatten();
        let shared = all.filter(|cube| !cube["name"].as_str().is_some_and(is_left_out));
        let mut shared: Vec<Value> = shared.cloned().collect();
        // Their order is that of the files, and ours begins with the cubes that ship with Tally.
        shared.sort_by_key(|cube| cube["name"].as_str().map(str::to_owned));
        shared
    };
    // The SQL of the replayed model is a translation of the recorded one's.
    let shown = |value: &Value| Value::Array(cubes(value).into_iter().map(without_sql).collect());
    equal("cubes", &without_rows(shown(ours)), &without_rows(shown(theirs)))
}

/// Cubes without the SQL of their rows: in the replayed model a query stands for the table of the recorded one.
fn without_rows(cubes: Value) -> Value {
    let Value::Array(mut cubes) = cubes else { return cubes };
    for cube in cubes.iter_mut().filter_map(Value::as_object_mut) {
        cube.remove("sql");
    }
    Value::Array(cubes)
}

/// Texts of SQL as `"sql"`, in cubes, members, joins and filters.
fn without_sql(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let masked = fields.into_iter().map(|(key, value)| match (key.as_str(), &value) {
                ("sql", Value::String(_)) => (key, Value::from("sql")),
                _ => (key, without_sql(value)),
            });
            Value::Object(masked.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_sql).collect()),
        other => other,
    }
}

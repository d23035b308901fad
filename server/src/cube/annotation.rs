//! What an answer says about its members: titles, types, formats, what to drill into. Charts of clients are built on it.

use super::formats;
use super::members::{Found, Members};
use engine::model::{Dimension, Granularity, Measure, Member, Model, Segment};
use serde_json::{Map, Value, json};

/// The `annotation` of an answer.
pub fn annotation(model: &Model, members: &Members<'_>) -> Value {
    let measures: Map<String, Value> = members
        .measures
        .iter()
        .map(|f| (f.path.to_owned(), measure(model, f)))
        .collect();
    let dimensions: Map<String, Value> = members
        .dimensions
        .iter()
        .map(|f| (f.path.to_owned(), dimension(f)))
        .collect();
    let segments: Map<String, Value> = members
        .segments
        .iter()
        .map(|f| (f.path.to_owned(), segment(f)))
        .collect();
    let mut times = Map::new();
    for (found, time) in &members.times {
        let Some(granularity) = &time.granularity else { continue };
        let bare = dimension(found);
        let mut bucketed = bare.clone();
        bucketed["granularity"] = granularity_of(found.member, granularity);
        times.insert(format!("{}.{granularity}", found.path), bucketed);
        if !dimensions.contains_key(found.path) {
            times.insert(found.path.to_owned(), bare);
        }
    }
    json!({"measures": measures, "dimensions": dimensions, "segments": segments, "timeDimensions": times})
}

fn measure(model: &Model, found: &Found<'_, Measure>) -> Value {
    let member = found.member;
    let mut item = titles(&found.cube.title, &member.short_title, member.description.as_deref());
    item.insert("type".to_owned(), json!(member.kind.row().wire));
    put(&mut item, "format", member.format.as_ref().map(formats::of_measure));
    put(&mut item, "currency", member.currency.as_ref().map(|c| json!(c)));
    put(&mut item, "meta", member.meta.clone());
    item.insert("drillMembers".to_owned(), json!(member.drill_members));
    item.insert("drillMembersGrouped".to_owned(), drill_grouped(model, member));
    Value::Object(item)
}

fn dimension(found: &Found<'_, Dimension>) -> Value {
    let member = found.member;
    let mut item = titles(&found.cube.title, &member.short_title, member.description.as_deref());
    item.insert("type".to_owned(), json!(member.kind.wire()));
    put(
        &mut item,
        "format",
        member.format.as_ref().map(|f| formats::of_dimension(f, member.kind)),
    );
    put(&mut item, "currency", member.currency.as_ref().map(|c| json!(c)));
    put(&mut item, "meta", member.meta.clone());
    Value::Object(item)
}

fn segment(found: &Found<'_, Segment>) -> Value {
    let member = found.member;
    let mut item = titles(&found.cube.title, &member.short_title, member.description.as_deref());
    put(&mut item, "meta", member.meta.clone());
    Value::Object(item)
}

/// `title`, `shortTitle` and `description` of a member.
pub fn titles(cube_title: &str, short_title: &str, description: Option<&str>) -> Map<String, Value> {
    let mut item = Map::new();
    item.insert("title".to_owned(), json!(format!("{cube_title} {short_title}")));
    item.insert("shortTitle".to_owned(), json!(short_title));
    put(&mut item, "description", description.map(|d| json!(d)));
    item
}

/// Sets `key` when there is a value.
pub fn put(item: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        item.insert(key.to_owned(), value);
    }
}

/// `drillMembersGrouped`: the drill members by kind.
pub fn drill_grouped(model: &Model, measure: &Measure) -> Value {
    let (mut measures, mut dimensions) = (Vec::new(), Vec::new());
    for path in &measure.drill_members {
        match model.member(path) {
            Ok((_, Member::Measure(_))) => measures.push(path),
            Ok((_, Member::Dimension(_))) => dimensions.push(path),
            _ => {}
        }
    }
    json!({"measures": measures, "dimensions": dimensions})
}

/// `granularity` of a bucketed time dimension. Clients need the interval to fill gaps.
fn granularity_of(dimension: &Dimension, name: &str) -> Value {
    match dimension.granularities.iter().find(|g| g.name == name) {
        Some(own) => custom_granularity(own),
        None => json!({"name": name, "title": name, "interval": format!("1 {name}")}),
    }
}

/// A granularity of the model's author.
pub fn custom_granularity(own: &Granularity) -> Value {
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(own.name));
    item.insert("title".to_owned(), json!(own.title));
    if own.sql.is_none() {
        item.insert("interval".to_owned(), json!(own.interval));
    }
    put(&mut item, "offset", own.offset.as_ref().map(|o| json!(o)));
    put(&mut item, "origin", own.origin.as_ref().map(|o| json!(o)));
    Value::Object(item)
}

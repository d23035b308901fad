//! A file's statistics, to and from the JSON of the table log.

use super::snapshot::{Bound, ColumnStats};
use crate::clock::Micros;
use crate::event::{Column, Kind};
use crate::limits;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The columns whose bounds are kept: those that queries filter on and that prune well.
pub const COLUMNS: &[Column] = &[Column::Ts, Column::VisitorId, Column::EventType, Column::PagePath];

/// The statistics as the table log wants them: a JSON object in a string.
pub fn to_json(rows: u64, columns: &BTreeMap<Column, ColumnStats>) -> String {
    let side = |pick: fn(&ColumnStats) -> Option<Value>| {
        let entries = columns
            .iter()
            .filter_map(|(column, stats)| Some((column.name().to_owned(), pick(stats)?)));
        Value::Object(entries.collect::<Map<_, _>>())
    };
    json!({
        "numRecords": rows,
        "minValues": side(|stats| stats.min.as_ref().and_then(lower)),
        "maxValues": side(|stats| stats.max.as_ref().and_then(upper)),
        "nullCount": side(|stats| stats.null_count.map(Value::from)),
    })
    .to_string()
}

/// The row count, when the JSON holds one.
pub fn rows(stats: &Value) -> Option<u64> {
    stats.get("numRecords")?.as_u64()
}

/// The bounds of [`COLUMNS`]; what is missing or strange is left out, which only costs pruning.
pub fn from_json(stats: &Value) -> BTreeMap<Column, ColumnStats> {
    let entry = |side: &str, column: Column| stats.get(side).and_then(|values| values.get(column.name()));
    let read = |column: &Column| {
        let found = ColumnStats {
            min: entry("minValues", *column).and_then(|value| bound(*column, value, 0)),
            // Other writers cut instants to milliseconds, so the true maximum may lie within the millisecond.
            max: entry("maxValues", *column).and_then(|value| bound(*column, value, 999)),
            null_count: entry("nullCount", *column).and_then(Value::as_u64),
        };
        (*column, found)
    };
    COLUMNS
        .iter()
        .map(read)
        .filter(|(_, stats)| *stats != ColumnStats::default())
        .collect()
}

fn instant(micros: Micros) -> Option<Value> {
    let time = DateTime::from_timestamp_micros(micros)?;
    Some(Value::String(time.to_rfc3339_opts(SecondsFormat::Micros, true)))
}

fn lower(bound: &Bound) -> Option<Value> {
    match bound {
        Bound::Timestamp(micros) => instant(*micros),
        Bound::Text(text) => {
            let cut = text.floor_char_boundary(limits::STATS_TEXT_BYTES_MAX);
            text.get(..cut).map(Value::from)
        }
    }
}

fn upper(bound: &Bound) -> Option<Value> {
    match bound {
        Bound::Timestamp(micros) => instant(*micros),
        Bound::Text(text) => (text.len() <= limits::STATS_TEXT_BYTES_MAX).then(|| Value::from(text.as_str())),
    }
}

fn bound(column: Column, value: &Value, slack_micros: Micros) -> Option<Bound> {
    let text = value.as_str()?;
    match column.kind() {
        Kind::Text => Some(Bound::Text(text.to_owned())),
        Kind::Timestamp => {
            let time = DateTime::parse_from_rfc3339(text).ok()?;
            let micros = time.timestamp_micros();
            let slack = if micros % 1000 == 0 { slack_micros } else { 0 };
            Some(Bound::Timestamp(micros.saturating_add(slack)))
        }
        _ => None,
    }
}

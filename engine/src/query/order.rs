//! The order of an answer's rows: the caller's, or Cube's default.

use super::OrderBy;
use super::resolve::Resolved;
use crate::model::Granularity;
use chrono::NaiveDateTime;

/// Keys of columns to sort by, each with whether it descends. Nulls are last when ascending and first when descending, as
/// in PostgreSQL. The remaining grouping columns follow, so that pages of one answer never overlap.
pub fn keys(resolved: &Resolved<'_>) -> Vec<(String, bool)> {
    let mut keys = match &resolved.query.order {
        Some(order) => chosen(resolved, order),
        None => default(resolved),
    };
    if keys.is_empty() {
        return keys;
    }
    let grouping = resolved
        .dimensions
        .iter()
        .map(|d| d.path)
        .chain(resolved.buckets().map(|t| t.key.as_str()));
    for key in grouping {
        if !keys.iter().any(|(chosen, _)| chosen == key) {
            keys.push((key.to_owned(), false));
        }
    }
    keys
}

/// First time dimension ascending; else first measure descending when there are dimensions; else first dimension.
fn default(resolved: &Resolved<'_>) -> Vec<(String, bool)> {
    if let Some(time) = resolved.buckets().next() {
        return vec![(time.key.clone(), false)];
    }
    match (resolved.measures.first(), resolved.dimensions.first()) {
        (Some(measure), Some(_)) => vec![(measure.path.to_owned(), true)],
        (None, Some(dimension)) => vec![(dimension.path.to_owned(), false)],
        _ => Vec::new(),
    }
}

/// The caller's order, without what is not selected.
fn chosen(resolved: &Resolved<'_>, order: &[OrderBy]) -> Vec<(String, bool)> {
    let mut keys: Vec<(String, bool)> = Vec::new();
    for entry in order {
        if let Some(key) = column_of(resolved, &entry.id)
            && !keys.iter().any(|(chosen, _)| *chosen == key)
        {
            keys.push((key, entry.desc));
        }
    }
    keys
}

/// The column that an order id means. A time dimension without granularity is its finest selected bucket.
fn column_of(resolved: &Resolved<'_>, id: &str) -> Option<String> {
    let is = |name: &str| name.eq_ignore_ascii_case(id);
    if let Some(column) = resolved.columns().into_iter().find(|column| is(column)) {
        return Some(column);
    }
    let of_dimension = resolved.buckets().filter(|time| is(time.path));
    let finest = of_dimension.min_by_key(|time| time.granularity.as_ref().map(length_micros));
    finest.map(|time| time.key.clone())
}

/// The length of one bucket, to tell finer from coarser.
pub fn length_micros(granularity: &Granularity) -> i64 {
    let any = NaiveDateTime::default();
    let start = granularity.bucket(any);
    let end = start.and_then(|start| granularity.next(start));
    let length = end.zip(start).map(|(end, start)| end - start);
    length.and_then(|length| length.num_microseconds()).unwrap_or(i64::MAX)
}

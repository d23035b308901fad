//! The conditions that a view puts on queries which do not put their own.

use super::{Filter, Operator, Query, date_range};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::model::{DefaultFilter, Model};
use std::borrow::Cow;

/// `query` with the default filters of the views that it names. A default filter holds unless the query has a condition on
/// one of the members in its `unless`; a date range of a time dimension is a condition too. Relative dates start at `now`.
///
/// # Errors
/// `Model` when a default filter is wrong, with its place.
pub fn with_default_filters<'q>(query: &'q Query, model: &Model, now: Micros) -> Result<Cow<'q, Query>> {
    let mut added = Vec::new();
    let mut filtered: Option<Vec<String>> = None;
    for view in views(query, model) {
        let Some(defaults) = model.cubes.get(view).and_then(|cube| cube.view()) else {
            continue;
        };
        for default in &defaults.default_filters {
            let filtered = filtered.get_or_insert_with(|| conditions(query));
            let named = |member: &String| filtered.iter().any(|path| *path == format!("{view}.{member}"));
            if !default.unless.iter().any(named) {
                added.push(filter(view, default, query, now)?);
            }
        }
    }
    if added.is_empty() {
        return Ok(Cow::Borrowed(query));
    }
    let mut query = query.clone();
    query.filters.extend(
        added
            .into_iter()
            .filter(|filter| !query.filters.contains(filter))
            .collect::<Vec<_>>(),
    );
    Ok(Cow::Owned(query))
}

fn filter(view: &str, default: &DefaultFilter, query: &Query, now: Micros) -> Result<Filter> {
    let wrong = |what: &str| {
        Error::model(format!(
            "{}: the default filter of `{view}.{}` {what}",
            default.location, default.member
        ))
    };
    let operator = Operator::from_name(&default.operator).ok_or_else(|| {
        wrong(&format!(
            "has the operator `{}`, which does not exist",
            default.operator
        ))
    })?;
    let values = match operator.is_date() {
        true => date_range::resolve_filter(operator, &default.values, now, query.timezone)
            .map_err(|error| wrong(&format!("is wrong: {}", error.message())))?
            .into_iter()
            .map(Some)
            .collect(),
        false => default.values.clone(),
    };
    Ok(Filter::Member {
        member: format!("{view}.{}", default.member),
        operator,
        values,
    })
}

/// The views that `query` names, each once.
fn views<'a>(query: &'a Query, model: &Model) -> Vec<&'a str> {
    let members = query.measures.iter().chain(&query.dimensions).chain(&query.segments);
    let times = query.time_dimensions.iter().map(|time| &time.dimension);
    let mut found: Vec<&str> = Vec::new();
    let mut add = |path: &'a str| {
        let cube = path.split('.').next().unwrap_or(path);
        let is_view = || model.cubes.get(cube).is_some_and(|cube| cube.view().is_some());
        if !found.contains(&cube) && is_view() {
            found.push(cube);
        }
    };
    members.chain(times).for_each(|path| add(path));
    each_filter(&query.filters, add);
    found
}

/// The members on which `query` has conditions.
fn conditions(query: &Query) -> Vec<String> {
    let ranges = query.time_dimensions.iter().filter(|time| time.date_range.is_some());
    let mut all: Vec<String> = ranges.map(|time| time.dimension.clone()).collect();
    each_filter(&query.filters, |member| all.push(member.to_owned()));
    all
}

fn each_filter<'a>(filters: &'a [Filter], mut each: impl FnMut(&'a str)) {
    let mut open: Vec<&Filter> = filters.iter().collect();
    while let Some(filter) = open.pop() {
        match filter {
            Filter::And(inner) | Filter::Or(inner) => open.extend(inner),
            Filter::Member { member, .. } => each(member),
        }
    }
}

//! What a query needs of a pre-aggregation, as `/v1/dry-run` and `/v1/sql` report it. Playgrounds and cache warmers read
//! it to see whether and which pre-aggregation could serve a query.

mod paths;

use super::members::Members;
use super::normalize::Normalized;
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;
use engine::model::{
    Cube, Dimension, DimensionType, Granularity, Interval, Measure, MeasureType, Member, Model, Piece, TimeUnit,
};
use engine::query::{DateRange, Filter, Operator, QueryTimeDimension, date_range};
use paths::Paths;
use serde_json::{Map, Value, json};

#[cfg(test)]
mod tests;

/// The units a unit can be built from, itself first. A month is not made of weeks.
fn parts(unit: TimeUnit) -> Vec<&'static str> {
    use TimeUnit::{Day, Hour, Minute, Month, Quarter, Second, Week, Year};
    let chain: &[TimeUnit] = match unit {
        Year => &[Year, Quarter, Month, Day, Hour, Minute, Second],
        Quarter => &[Quarter, Month, Day, Hour, Minute, Second],
        Month => &[Month, Day, Hour, Minute, Second],
        Week => &[Week, Day, Hour, Minute, Second],
        Day => &[Day, Hour, Minute, Second],
        Hour => &[Hour, Minute, Second],
        Minute => &[Minute, Second],
        Second => &[Second],
    };
    chain.iter().map(|unit| unit.name()).collect()
}

/// The granularities that each one can be built from, itself first, for every time dimension of `model`.
fn hierarchies(model: &Model, tz: Tz) -> Map<String, Value> {
    let mut all = Map::new();
    let cubes = model.cubes.values().filter(|cube| cube.alias_of.is_none());
    for cube in cubes {
        for dimension in cube.dimensions.iter().filter(|d| d.kind == DimensionType::Time) {
            let path = format!("{}.{}", cube.name, dimension.name);
            for unit in TimeUnit::ALL {
                all.insert(format!("{path}.{}", unit.name()), json!(parts(*unit)));
            }
            for own in &dimension.granularities {
                let chain: Vec<&str> = std::iter::once(own.name.as_str()).chain(own_base(own, tz)).collect();
                all.insert(format!("{path}.{}", own.name), json!(chain));
            }
        }
    }
    all
}

/// The description of one query.
pub fn transformed(model: &Model, query: &Normalized, members: &Members<'_>) -> Value {
    let filters = Filtered::of(model, &query.typed_filters);
    let dimensions = sorted_dimensions(query, &filters);
    let times: Vec<(&str, Option<String>)> = members
        .times
        .iter()
        .map(|(f, t)| (f.path, t.granularity.clone()))
        .collect();
    let rollup_times = rollup_times(members);
    let measures = asked_measures(members, &filters);
    let paths = Paths::new(model, members.tree.as_ref());
    let leaves = Leaves::of(model, &measures);
    let multiplied = leaves.names.iter().any(|leaf| paths.is_multiplied(leaf));
    // A view's measure counts as a calculated one.
    let additive = !multiplied
        && measures
            .iter()
            .all(|(_, _, m)| m.origin.is_none() && is_additive(m.kind));
    let asked = |all: &[String]| -> Vec<String> { all.iter().map(|path| paths.asked(path)).collect() };
    let owned = |all: &[String]| -> Vec<String> { all.iter().map(|path| paths.owned(path)).collect() };
    let selected: Vec<&str> = query.dimensions.iter().map(String::as_str).collect();
    let mut item = Map::new();
    let mut set = |key: &str, value: Value| item.insert(key.to_owned(), value);
    set("sortedDimensions", json!(asked(&dimensions)));
    set("sortedTimeDimensions", named(&rollup_times, |path| paths.asked(path)));
    set("timeDimensions", named(&times, |path| paths.asked(path)));
    set("measures", json!(asked(query.measures.as_deref().unwrap_or_default())));
    set("leafMeasureAdditive", json!(leaves.additive));
    set("leafMeasures", json!(leaves.names));
    set("leafMeasuresFullPaths", json!(owned(&leaves.names)));
    set("measureToLeafMeasures", Value::Object(leaves.by_measure));
    let all_bucketed = members.times.iter().all(|(_, t)| t.granularity.is_some());
    set("hasNoTimeDimensionsWithoutGranularity", json!(all_bucketed));
    let within = filters.dimensions.iter().all(|d| selected.contains(&d.as_str()));
    set("allFiltersWithinSelectedDimensions", json!(within));
    set("isAdditive", json!(additive));
    set("hasMultipliedMeasures", json!(multiplied));
    set(
        "hasCumulativeMeasures",
        json!(measures.iter().any(|(_, _, m)| m.cumulative)),
    );
    let units = measures.iter().filter_map(|(_, _, m)| m.window_unit());
    let window = units.min().map(|unit| json!(unit.name()));
    if window.is_some() || !measures.iter().any(|(_, _, m)| m.cumulative) {
        set("windowGranularity", window.unwrap_or(Value::Null));
    }
    let pinned = if filters.all_pinned { json!({}) } else { Value::Null };
    set("filterDimensionsSingleValueEqual", pinned);
    set("ownedDimensions", json!(owned(&dimensions)));
    set(
        "ownedTimeDimensionsWithRollupGranularity",
        named(&rollup_times, |path| paths.owned(path)),
    );
    set("ownedTimeDimensionsAsIs", named(&times, |path| paths.owned(path)));
    let used = query.measures.iter().flatten().chain(&dimensions).map(String::as_str);
    let used = used.chain(members.times.iter().map(|(f, _)| f.path));
    set("allBackAliasMembers", Value::Object(paths.back(used)));
    if query.ungrouped == Some(true) {
        let cubes = cubes_of(query);
        set("ungrouped", json!(true));
        set("sortedUsedCubePrimaryKeys", json!(primary_keys(model, &cubes)));
        set("sortedAllCubeNames", json!(cubes));
    }
    set("hasMultiStage", json!(false));
    set("granularityHierarchies", Value::Object(hierarchies(model, query.tz)));
    Value::Object(item)
}

/// The measures that are selected or that filters name.
fn asked_measures<'m>(members: &Members<'m>, filters: &Filtered<'m>) -> Vec<(String, &'m Cube, &'m Measure)> {
    let selected = members.measures.iter().map(|f| (f.path.to_owned(), f.cube, f.member));
    let mut measures: Vec<_> = selected.chain(filters.measures.iter().cloned()).collect();
    measures.dedup_by(|a, b| a.0 == b.0);
    measures
}

fn cubes_of(query: &Normalized) -> Vec<String> {
    let measures = query.measures.iter().flatten();
    let times = query.time_dimensions.iter().map(|t| &t.dimension);
    let paths = measures.chain(&query.dimensions).chain(times);
    let mut cubes: Vec<String> = paths
        .filter_map(|path| path.split_once('.').map(|(cube, _)| cube.to_owned()))
        .collect();
    cubes.sort_unstable();
    cubes.dedup();
    cubes
}

fn primary_keys(model: &Model, cubes: &[String]) -> Vec<String> {
    let found = cubes.iter().filter_map(|name| model.cubes.get(name));
    let keys = found.flat_map(|cube| {
        let keys = cube.dimensions.iter().filter(|d| d.primary_key);
        keys.map(move |d| format!("{}.{}", cube.name, d.name))
    });
    keys.collect()
}

/// The members that filters name.
struct Filtered<'m> {
    dimensions: Vec<String>,
    measures: Vec<(String, &'m Cube, &'m Measure)>,
    /// Whether every filter on a dimension is an `equals` with one value.
    all_pinned: bool,
}

impl<'m> Filtered<'m> {
    fn of(model: &'m Model, filters: &[Filter]) -> Self {
        let mut all = Self {
            dimensions: Vec::new(),
            measures: Vec::new(),
            all_pinned: true,
        };
        filters.iter().for_each(|filter| all.add(model, filter, true));
        all
    }

    fn add(&mut self, model: &'m Model, filter: &Filter, top: bool) {
        match filter {
            Filter::And(inner) | Filter::Or(inner) => inner.iter().for_each(|f| self.add(model, f, false)),
            Filter::Member {
                member,
                operator,
                values,
            } => match model.member(member) {
                Ok((cube, Member::Measure(measure))) => self.measures.push((member.clone(), cube, measure)),
                _ => {
                    let one = matches!(values.as_slice(), [Some(_)]);
                    self.all_pinned &= top && *operator == Operator::Equals && one;
                    self.dimensions.push(member.clone());
                }
            },
        }
    }
}

fn sorted_dimensions(query: &Normalized, filters: &Filtered<'_>) -> Vec<String> {
    let segments = query.segments.iter().flatten();
    let mut all: Vec<String> = query
        .dimensions
        .iter()
        .chain(&filters.dimensions)
        .chain(segments)
        .cloned()
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The measures that a query's measures are computed from.
struct Leaves {
    names: Vec<String>,
    by_measure: Map<String, Value>,
    additive: bool,
}

impl Leaves {
    fn of(model: &Model, measures: &[(String, &Cube, &Measure)]) -> Self {
        let mut all = Self {
            names: Vec::new(),
            by_measure: Map::new(),
            additive: true,
        };
        for (path, cube, measure) in measures {
            let (cube, measure) = owner(model, cube, measure);
            let mut found = Vec::new();
            leaves_of(cube, measure, 0, &mut found);
            let mut items = Vec::new();
            for leaf in found {
                let name = format!("{}.{}", cube.name, leaf.name);
                let additive = is_additive(leaf.kind);
                all.additive &= additive;
                items.push(json!({"measure": name, "additive": additive, "type": leaf.kind.row().agg_type}));
                if !all.names.contains(&name) {
                    all.names.push(name);
                }
            }
            all.by_measure.insert(path.clone(), Value::Array(items));
        }
        all
    }
}

/// A view's measure as its cube has it.
fn owner<'m>(model: &'m Model, cube: &'m Cube, measure: &'m Measure) -> (&'m Cube, &'m Measure) {
    let found = measure.origin.as_ref().and_then(|origin| {
        let cube = model.cubes.get(origin.cube())?;
        Some((cube.as_ref(), cube.measure(&origin.member)?))
    });
    found.unwrap_or((cube, measure))
}

/// Intervals without an origin are counted from the beginning of a year.
const COUNTED_FROM_YEAR: i32 = 2000;

/// Measures refer to measures only a few levels deep; a model with a cycle does not load.
const LEAF_DEPTH_MAX: usize = 16;

fn leaves_of<'m>(cube: &'m Cube, measure: &'m Measure, depth: usize, found: &mut Vec<&'m Measure>) {
    let pieces = measure.sql.iter().flat_map(|sql| &sql.pieces);
    let inner: Vec<&Measure> = pieces
        .filter_map(|piece| match piece {
            Piece::Member(name) => cube.measure(name),
            _ => None,
        })
        .collect();
    if inner.is_empty() || depth == LEAF_DEPTH_MAX {
        found.push(measure);
        return;
    }
    for leaf in inner {
        leaves_of(cube, leaf, depth + 1, found);
    }
}

/// Whether the measure over a whole is the sum, least or greatest of those over its parts.
fn is_additive(kind: MeasureType) -> bool {
    match kind {
        MeasureType::Count
        | MeasureType::CountDistinctApprox
        | MeasureType::Sum
        | MeasureType::Min
        | MeasureType::Max => true,
        MeasureType::CountDistinct
        | MeasureType::Avg
        | MeasureType::Number
        | MeasureType::String
        | MeasureType::Boolean
        | MeasureType::Time
        | MeasureType::RunningTotal
        | MeasureType::Rank
        | MeasureType::NumberAgg
        | MeasureType::Funnel => false,
    }
}

/// Each time dimension with the coarsest granularity that both its buckets and the ends of its range are made of.
fn rollup_times<'m>(members: &Members<'m>) -> Vec<(&'m str, Option<String>)> {
    let mut all: Vec<(&str, Option<String>)> = members
        .times
        .iter()
        .map(|(f, t)| (f.path, rollup_granularity(f.member, t)))
        .collect();
    all.sort();
    all
}

/// Time dimensions with their granularities, each under the name that `name` gives it.
fn named(times: &[(&str, Option<String>)], name: impl Fn(&str) -> String) -> Value {
    times
        .iter()
        .map(|(path, granularity)| json!([name(path), granularity]))
        .collect()
}

fn rollup_granularity(dimension: &Dimension, time: &QueryTimeDimension) -> Option<String> {
    let range = time.date_range.as_ref().map(|range| parts(range_unit(range)));
    let own = time.granularity.as_deref().map(|name| base(dimension, name));
    match (own, range) {
        (Some(own), Some(range)) => own.into_iter().find(|unit| range.contains(unit)).map(str::to_owned),
        (Some(own), None) => own.first().map(|unit| (*unit).to_owned()),
        (None, range) => range?.first().map(|unit| (*unit).to_owned()),
    }
}

/// The predefined granularities that `name` can be built from, coarsest first.
fn base(dimension: &Dimension, name: &str) -> Vec<&'static str> {
    if let Some(unit) = TimeUnit::from_name(name) {
        return parts(unit);
    }
    let own = dimension.granularities.iter().find(|g| g.name == name);
    // Here Cube looks at the wall clock, in the hierarchies at UTC.
    own.map(|own| own_base(own, Tz::UTC)).unwrap_or_default()
}

/// The units that fit the interval, the shift and the instant that buckets are counted from, coarsest first. As in Cube
/// that instant is looked at in UTC: midnight of another zone lies on an hour.
fn own_base(own: &Granularity, tz: Tz) -> Vec<&'static str> {
    let unit = |text: &str| text.split_whitespace().filter_map(unit_of).min();
    let mut chain = unit(&own.interval).map(parts).unwrap_or_default();
    let mut narrow = |unit: TimeUnit| {
        let allowed = parts(unit);
        chain.retain(|name| allowed.contains(name));
    };
    if let Some(offset) = own.offset.as_deref().and_then(unit) {
        narrow(offset);
    }
    let written = own
        .origin
        .as_deref()
        .and_then(|text| date_range::parse_local(text).ok());
    let counted = Interval::parse(&own.interval).is_ok_and(|interval| interval.single_unit().is_none());
    let default = || {
        counted.then(|| {
            NaiveDate::from_ymd_opt(COUNTED_FROM_YEAR, 1, 1)
                .unwrap_or_default()
                .into()
        })
    };
    let origin: Option<NaiveDateTime> = written.or_else(default);
    if let Some(origin) = origin.and_then(|local| tz.from_local_datetime(&local).earliest()) {
        narrow(instant_unit(origin.naive_utc()));
    }
    chain
}

fn unit_of(word: &str) -> Option<TimeUnit> {
    TimeUnit::from_name(word.strip_suffix('s').unwrap_or(word))
}

/// The finest of the units on whose edges a range begins and ends.
fn range_unit(range: &DateRange) -> TimeUnit {
    let end = range
        .to
        .checked_add_signed(TimeDelta::milliseconds(1))
        .unwrap_or(range.to);
    let (from, to) = (parts(instant_unit(range.from)), parts(instant_unit(end)));
    let common = from.into_iter().find(|unit| to.contains(unit));
    common.and_then(TimeUnit::from_name).unwrap_or(TimeUnit::Second)
}

/// The coarsest unit on whose edge an instant lies.
fn instant_unit(at: NaiveDateTime) -> TimeUnit {
    let midnight = at.hour() == 0 && at.minute() == 0 && at.second() == 0 && at.nanosecond() == 0;
    match (midnight, at.month0(), at.day0(), at.weekday()) {
        (true, 0, 0, _) => TimeUnit::Year,
        (true, _, 0, _) => TimeUnit::Month,
        (true, _, _, chrono::Weekday::Mon) => TimeUnit::Week,
        (true, ..) => TimeUnit::Day,
        _ if at.nanosecond() != 0 || at.second() != 0 => TimeUnit::Second,
        _ if at.minute() != 0 => TimeUnit::Minute,
        _ => TimeUnit::Hour,
    }
}

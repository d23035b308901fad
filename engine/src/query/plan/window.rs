//! Measures over rolling windows: for each bucket of the query's range the rows that its window sees.
//!
//! Time is cut at the edges of all windows. Rows are first aggregated to one partial state for each piece (and the query's
//! dimensions; and the value, when distinct values are counted); then [`fold`] makes the windows of the pieces, each of
//! which is a run of pieces. So rows are never joined with buckets, and the work is one aggregation of the rows and a few
//! steps for each piece and bucket, however far windows reach.
//!
//! What Cube gives holds here too: every bucket of the range is a row, also one whose window is empty (all measures null, and
//! with dimensions one row whose dimensions are null); with dimensions, besides, those rows whose window has any.

pub(super) mod fold;
mod series;
mod states;

use super::stage::Stages;
use super::together::{Rows, joined};
use super::{bucket, named};
use crate::error::{Error, Result};
use crate::model::{Granularity, RollingWindow};
use crate::query::compile::CompiledModel;
use crate::query::order::length_micros;
use crate::query::resolve::{self, Resolved, SelectedDimension, SelectedMeasure, SelectedTime};
use crate::query::{DateRange, Query, filter};
use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Column, NullHandling, UnnestOptions};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use fold::Windows;
use series::{Bucket, Ruler};
use states::{State, States};
use std::sync::Arc;

/// Key of the pieces that time is cut into.
const PIECE: &str = "window piece";
/// Column of what [`fold`] gives, one element for each window.
const FOLDED: &str = "windows";

/// A list of numbers as a constant.
pub(super) fn numbers(list: &[i64]) -> Expr {
    constant(Arc::new(Int64Array::from(list.to_vec())))
}

fn constant(elements: ArrayRef) -> Expr {
    lit(SingleRowListArrayBuilder::new(elements).build_list_scalar())
}

/// Wall-clock times as microseconds.
pub(super) fn micros(at: NaiveDateTime) -> i64 {
    at.and_utc().timestamp_micros()
}

/// Rows with `list`, a column of lists, replaced by its elements, one row each.
pub(super) fn unnested(rows: LogicalPlanBuilder, list: &str) -> Result<LogicalPlanBuilder> {
    let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
    Ok(rows.unnest_column_with_options(Column::new_unqualified(list), options)?)
}

/// One row for each bucket, its start in the column `key`.
pub(super) fn every_bucket(buckets: &[Bucket], key: &str) -> Result<LogicalPlanBuilder> {
    let starts: Vec<i64> = buckets.iter().map(|(start, _)| micros(*start)).collect();
    let list = constant(Arc::new(TimestampMicrosecondArray::from(starts)));
    unnested(LogicalPlanBuilder::empty(true).project(vec![list.alias(key)])?, key)
}

/// The buckets of one time dimension of a query.
pub(super) struct Axis<'r, 'a> {
    /// The time dimension with the finest granularity.
    pub time: &'r SelectedTime<'a>,
    /// Its granularity.
    pub granularity: &'r Granularity,
    /// The others of the same dimension.
    pub coarser: Vec<&'r SelectedTime<'a>>,
    /// The range.
    pub range: DateRange,
    /// The buckets of the range.
    pub buckets: Vec<Bucket>,
}

impl<'r, 'a> Axis<'r, 'a> {
    /// The axis of the buckets of one dimension, `times`; `None` when none has a range.
    ///
    /// # Errors
    /// `Invalid` for too many buckets, or several ranges.
    pub fn of(resolved: &'r Resolved<'a>, times: Vec<&'r SelectedTime<'a>>) -> Result<Option<Self>> {
        let finest = times
            .iter()
            .min_by_key(|time| time.granularity.as_ref().map(length_micros));
        let Some((time, granularity)) = finest.and_then(|time| Some((*time, time.granularity.as_ref()?))) else {
            return Ok(None);
        };
        let mut ranges: Vec<DateRange> = times.iter().filter_map(|time| time.range).collect();
        if ranges.is_empty() {
            let same = resolved.times.iter().filter(|other| same_dimension(other, time));
            ranges.extend(same.filter_map(|time| time.range));
        }
        let Some(range) = ranges.first().copied() else {
            return Ok(None);
        };
        if ranges.iter().any(|other| *other != range) {
            return Err(Error::invalid(
                "Can't build query for time dimensions with different date ranges",
            ));
        }
        Ok(Some(Self {
            time,
            granularity,
            coarser: times.into_iter().filter(|other| other.key != time.key).collect(),
            range,
            buckets: series::buckets(granularity, &range)?,
        }))
    }

    /// The columns of the axis, given one with starts of the finest buckets.
    ///
    /// # Errors
    /// `Internal` when a function is not registered.
    pub fn columns(&self, stages: &Stages<'_>) -> Result<Vec<Expr>> {
        let start = named(self.time.key.as_str());
        let mut columns = vec![start.clone()];
        for time in &self.coarser {
            let Some(granularity) = &time.granularity else { continue };
            let at = filter::cast(start.clone(), filter::instant_type());
            let cut = bucket(at, &granularity.shifted(None), Tz::UTC, stages.functions)?;
            columns.push(cut.alias(time.key.as_str()));
        }
        Ok(columns)
    }
}

/// Whether two time dimensions of a query are the same dimension.
pub(super) fn same_dimension(a: &SelectedTime<'_>, b: &SelectedTime<'_>) -> bool {
    a.cube.name == b.cube.name && a.dimension.name == b.dimension.name
}

/// The rows of `resolved` for measures that are computed over windows: its keys, and a column for each measure.
///
/// # Errors
/// `Invalid` without a range, for several time dimensions, or for aggregates that cannot be computed over windows.
pub(super) fn rows(
    stages: &Stages<'_>,
    resolved: &Resolved<'_>,
    measures: &[SelectedMeasure<'_>],
) -> Result<LogicalPlanBuilder> {
    let buckets: Vec<&SelectedTime<'_>> = resolved.buckets().collect();
    let axis = match buckets.first() {
        None => None,
        Some(first) if buckets.iter().any(|time| !same_dimension(time, first)) => {
            return Err(Error::invalid(
                "Rolling window requires one time dimension and equal date ranges",
            ));
        }
        Some(_) => {
            let axis = Axis::of(resolved, buckets)?;
            let missing = || Error::invalid("Time series queries without dateRange aren't supported");
            Some(axis.ok_or_else(missing)?)
        }
    };
    let mut by_window: Vec<(RollingWindow, Vec<SelectedMeasure<'_>>)> = Vec::new();
    for measure in measures {
        let window = measure.measure.window().unwrap_or(RollingWindow::Running);
        match by_window.iter_mut().find(|(known, _)| *known == window) {
            Some((_, together)) => together.push(*measure),
            None => by_window.push((window, vec![*measure])),
        }
    }
    let keys = stages.keys(resolved);
    let mut all: Option<LogicalPlanBuilder> = None;
    for (window, measures) in &by_window {
        let states = States::of(stages, measures)?;
        let rows = match &axis {
            Some(axis) => over_buckets(stages, resolved, axis, window, &states)?,
            None => over_range(stages, resolved, window, &states)?,
        };
        all = Some(match all {
            Some(all) => joined(all, rows, &keys, Rows::Both)?,
            None => rows,
        });
    }
    all.ok_or_else(|| Error::internal("no window was asked"))
}

/// Without buckets the whole range is one.
fn over_range(
    stages: &Stages<'_>,
    resolved: &Resolved<'_>,
    window: &RollingWindow,
    states: &States<'_>,
) -> Result<LogicalPlanBuilder> {
    let mut times = resolved.times.clone();
    for time in &mut times {
        let Some(range) = time.range else { continue };
        let bucket = (range.from, range.to + TimeDelta::milliseconds(1));
        let second = resolve::natural(crate::model::TimeUnit::Second)?;
        let ruler = Ruler::new(window, &second, longer(window, time)?, range.from)?;
        let ends = ruler.ends(bucket).ok_or_else(outside)?;
        time.range = range_of(ends);
    }
    let inner = Resolved {
        times,
        ..states.whole(resolved)
    };
    let rows = stages.leaf(&inner, states.compiled())?;
    let mut columns: Vec<Expr> = stages.keys(resolved).into_iter().map(named).collect();
    columns.extend(states.renamed());
    Ok(rows.project(columns)?)
}

/// The closed range from the first to before the second end.
fn range_of((from, to): series::Ends) -> Option<DateRange> {
    if from.is_none() && to.is_none() {
        return None;
    }
    let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).map(NaiveDateTime::from);
    let (first, last) = (day(1, 1, 2).unwrap_or_default(), day(9999, 12, 30).unwrap_or_default());
    Some(DateRange {
        from: from.unwrap_or(first),
        to: to.map_or(last, |to| to - TimeDelta::milliseconds(1)),
    })
}

fn outside() -> Error {
    Error::invalid("a window of the query reaches outside the calendar")
}

/// The granularity that a window to date names.
fn longer(window: &RollingWindow, time: &SelectedTime<'_>) -> Result<Option<Granularity>> {
    match window {
        RollingWindow::ToDate { granularity } => resolve::granularity(time.path, time.dimension, granularity).map(Some),
        _ => Ok(None),
    }
}

fn over_buckets(
    stages: &Stages<'_>,
    resolved: &Resolved<'_>,
    axis: &Axis<'_, '_>,
    window: &RollingWindow,
    states: &States<'_>,
) -> Result<LogicalPlanBuilder> {
    let ruler = Ruler::new(window, axis.granularity, longer(window, axis.time)?, axis.range.from)?;
    let ends: Option<Vec<series::Ends>> = axis.buckets.iter().map(|bucket| ruler.ends(*bucket)).collect();
    let ends = ends.ok_or_else(outside)?;
    let pieces = Pieces::of(&ends);
    let dimensions: Vec<String> = resolved.dimensions.iter().map(|d| d.path.to_owned()).collect();
    let windows = Arc::new(pieces.windows(&axis.buckets, &ends, dimensions.is_empty()));
    let cut = SelectedTime {
        granularity: Some(axis.granularity.pieces(Arc::clone(&pieces.edges))),
        key: PIECE.to_owned(),
        range: range_of(pieces.reach(&ends)),
        ..axis.time.clone()
    };
    let others = resolved.times.iter().filter(|time| !same_dimension(time, axis.time));
    let inner = Resolved {
        times: others.cloned().chain([cut]).collect(),
        ..resolved.clone()
    };
    let folding = Folding {
        stages,
        inner: &inner,
        windows: &windows,
        dimensions: &dimensions,
        key: &axis.time.key,
        states,
    };
    let mut rows = folding.plan()?;
    if !dimensions.is_empty() {
        let series = every_bucket(&axis.buckets, &axis.time.key)?;
        rows = joined(series, rows, std::slice::from_ref(&axis.time.key), Rows::First)?;
    }
    let mut columns: Vec<Expr> = dimensions.into_iter().map(named).collect();
    columns.extend(axis.columns(stages)?);
    columns.extend(states.columns());
    Ok(rows.project(columns)?)
}

/// Time cut at the edges of all windows.
struct Pieces {
    /// The edges, ascending.
    edges: Arc<[i64]>,
}

impl Pieces {
    fn of(ends: &[series::Ends]) -> Self {
        let both = ends.iter().flat_map(|(from, to)| [*from, *to]);
        let mut edges: Vec<i64> = both.flatten().map(micros).collect();
        edges.sort_unstable();
        edges.dedup();
        Self { edges: edges.into() }
    }

    /// The number of the piece that begins with an edge. The piece before all edges is 0.
    fn place(&self, edge: NaiveDateTime) -> i64 {
        let before = self.edges.partition_point(|known| *known <= micros(edge));
        i64::try_from(before).unwrap_or(i64::MAX)
    }

    fn windows(&self, buckets: &[Bucket], ends: &[series::Ends], dense: bool) -> Windows {
        let last = i64::try_from(self.edges.len()).unwrap_or(i64::MAX).saturating_add(1);
        Windows {
            labels: buckets.iter().map(|(start, _)| micros(*start)).collect(),
            from: ends
                .iter()
                .map(|(from, _)| from.map_or(0, |from| self.place(from)))
                .collect(),
            to: ends
                .iter()
                .map(|(_, to)| to.map_or(last, |to| self.place(to)))
                .collect(),
            dense,
        }
    }

    /// From the first to the last instant that any window sees.
    fn reach(&self, ends: &[series::Ends]) -> series::Ends {
        let from = ends.first().and_then(|(from, _)| *from);
        let to = ends.last().and_then(|(_, to)| *to);
        (from, to)
    }
}

/// The folding of one kind of window.
struct Folding<'f, 'a> {
    stages: &'f Stages<'f>,
    /// The query with its time cut into pieces.
    inner: &'f Resolved<'a>,
    windows: &'f Arc<Windows>,
    dimensions: &'f [String],
    /// The key of the buckets.
    key: &'f str,
    states: &'f States<'f>,
}

impl Folding<'_, '_> {
    /// A row for each combination of dimensions and bucket, with a column for each state.
    fn plan(&self) -> Result<LogicalPlanBuilder> {
        let mut keys = self.dimensions.to_vec();
        keys.push(self.key.to_owned());
        let mut all: Option<LogicalPlanBuilder> = None;
        let merged: Vec<&State> = self.states.merged().collect();
        if !merged.is_empty() {
            all = Some(self.merged(&merged)?);
        }
        for state in self.states.distinct() {
            let rows = self.distinct(state)?;
            all = Some(match all {
                Some(all) => joined(all, rows, &keys, Rows::Both)?,
                None => rows,
            });
        }
        all.ok_or_else(|| Error::invalid("a measure without an aggregate cannot have a rolling window"))
    }

    fn folded(&self, rows: LogicalPlanBuilder, fold: Expr, columns: Vec<String>) -> Result<LogicalPlanBuilder> {
        let groups: Vec<Expr> = self.dimensions.iter().map(named).collect();
        let rows = unnested(rows.aggregate(groups, vec![fold.alias(FOLDED)])?, FOLDED)?;
        let mut output: Vec<Expr> = self.dimensions.iter().map(named).collect();
        output.push(get_field(named(FOLDED), fold::AT).alias(self.key));
        for (index, column) in columns.into_iter().enumerate() {
            output.push(get_field(named(FOLDED), fold::value(index)).alias(column));
        }
        Ok(rows.project(output)?)
    }

    fn merged(&self, states: &[&State]) -> Result<LogicalPlanBuilder> {
        let measures = states.iter().filter_map(|state| self.states.selected(state)).collect();
        let inner = Resolved {
            measures,
            groups: Vec::new(),
            ..self.inner.clone()
        };
        let rows = self.stages.leaf(&inner, self.states.compiled())?;
        let values = states
            .iter()
            .filter_map(|state| Some((state.merge?, named(state.path.as_str()))));
        let fold = fold::merged(self.windows, named(PIECE), values.collect());
        let columns = states.iter().map(|state| state.path.clone()).collect();
        self.folded(rows, fold, columns)
    }

    /// Distinct values in each window. A value that comes again while a window still sees it is not counted again: each
    /// occurrence counts from the first window that sees it to the one before the first that sees the next occurrence.
    fn distinct(&self, state: &State) -> Result<LogicalPlanBuilder> {
        let mut dimensions: Vec<SelectedDimension<'_>> = self.inner.dimensions.clone();
        dimensions.extend(self.states.selected_value(state));
        let inner = Resolved {
            dimensions,
            measures: Vec::new(),
            groups: Vec::new(),
            ..self.inner.clone()
        };
        let rows = self.stages.leaf(&inner, self.states.compiled())?;
        let partition = self.dimensions.iter().chain([&state.path]).map(named).collect();
        let next = states::next_of(named(PIECE), partition, self.stages.functions)?;
        let rows = rows.window(vec![next.alias("next")])?;
        let rank = |position: Expr, list: &[i64]| -> Result<Expr> {
            Ok(self
                .stages
                .functions
                .udf(super::RANK)?
                .call(vec![position, numbers(list)]))
        };
        let first = rank(named(PIECE), &self.windows.to)?;
        let after = rank(named(PIECE), &self.windows.from)?;
        let again = rank(named("next"), &self.windows.to)?;
        let mut columns: Vec<Expr> = self.dimensions.iter().map(named).collect();
        columns.push(first.alias("first"));
        columns.push(states::earlier(after, again)?.alias("after"));
        columns.push(named(state.path.as_str()).is_not_null().alias("counts"));
        let rows = rows.project(columns)?;
        let fold = fold::spanned(self.windows, named("first"), named("after"), named("counts"));
        self.folded(rows, fold, vec![state.path.clone()])
    }
}

/// A query for a part of another: with these ways through the joins besides its own.
pub(super) fn hinted(query: &Query, hints: Vec<Vec<String>>) -> Query {
    let mut query = query.clone();
    query.join_hints.extend(hints);
    query
}

/// The model that states are members of.
pub(super) type Model = CompiledModel;

#[cfg(test)]
pub(crate) mod tests;

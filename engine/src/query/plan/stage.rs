//! Queries with measures that are no aggregates of rows: over windows of time, in stages, or computed from such ones.
//!
//! The query is split. Plain measures are one inner query; each window and each multi-stage measure is another, and
//! multi-stage measures ask queries of their own for what they are computed from. All parts have the query's keys and are
//! put together on them. A query in here is a [`Resolved`] whose times are as the asker sees them; shifts in time are applied
//! at the last moment, when rows are asked for ([`Stages::leaf`]).

mod multi;
mod shift;

use super::together::{Rows, joined};
use super::{leaf, named, window};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{Interval, Measure, MeasureType, Member};
use crate::query::compile::{CompiledModel, Outline, Reference};
use crate::query::filter::{self, Column};
use crate::query::resolve::{Condition, Resolved, SelectedMeasure};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use std::cell::Cell;
use std::rc::Rc;

/// A time dimension that is shifted: its cube, its name, and how far its instants are moved.
#[derive(Debug, Clone, PartialEq)]
struct Shifted {
    cube: String,
    dimension: String,
    by: Interval,
}

/// What the parts of a query are planned with.
pub struct Stages<'s> {
    /// The model.
    pub compiled: &'s CompiledModel,
    /// The functions of the session.
    pub functions: &'s dyn FunctionRegistry,
    /// Shifts of this part.
    shifts: Vec<Shifted>,
    /// How many of the first conditions on rows are the query's own.
    own: usize,
    /// Parts planned so far, of the whole query.
    parts: Rc<Cell<usize>>,
}

/// Whether `resolved` has a measure that is no aggregate of rows.
pub fn needed(resolved: &Resolved<'_>, compiled: &CompiledModel) -> bool {
    let mut measures = resolved.measures.clone();
    add_measures(&resolved.groups, &mut measures);
    measures.iter().any(|selected| is_staged(selected, compiled))
}

fn is_staged(selected: &SelectedMeasure<'_>, compiled: &CompiledModel) -> bool {
    selected.measure.is_staged() || compiled.outline(&selected.cube.name, &selected.measure.name).is_some()
}

/// Adds the measures that conditions name.
fn add_measures<'a>(conditions: &[Condition<'a>], measures: &mut Vec<SelectedMeasure<'a>>) {
    let mut open: Vec<&Condition<'a>> = conditions.iter().collect();
    while let Some(condition) = open.pop() {
        match condition {
            Condition::And(inner) | Condition::Or(inner) => open.extend(inner),
            Condition::Member {
                path,
                cube,
                member: Member::Measure(measure),
                ..
            } if !measures.iter().any(|known| known.path == *path) => {
                measures.push(SelectedMeasure { path, cube, measure });
            }
            Condition::Member { .. } => {}
        }
    }
}

/// The rows of `resolved`, some of whose measures are computed over windows or in stages; conditions on groups are applied.
///
/// # Errors
/// As [`super::plan`].
pub fn rows(
    resolved: &Resolved<'_>,
    compiled: &CompiledModel,
    functions: &dyn FunctionRegistry,
) -> Result<LogicalPlanBuilder> {
    if resolved.query.ungrouped {
        return Err(Error::invalid(
            "measures over windows and multi-stage measures have no value for a single row: ask them without `ungrouped`",
        ));
    }
    let stages = Stages::new(compiled, functions, resolved);
    let mut measures = resolved.measures.clone();
    add_measures(&resolved.groups, &mut measures);
    // Parts name members by their owners, so the ways that views take to these are told besides.
    let ways = measures.iter().filter_map(|measure| stages.way_to(measure.path));
    let query = window::hinted(resolved.query, ways.collect());
    let inner = Resolved {
        query: &query,
        measures,
        groups: Vec::new(),
        ..resolved.clone()
    };
    let mut rows = stages.values(&inner)?;
    let mut having = Vec::new();
    for condition in &resolved.groups {
        having.extend(of_groups(condition, resolved, &rows)?);
    }
    if let Some(having) = filter::balanced(having, true) {
        rows = rows.filter(having)?;
    }
    let columns: Vec<Expr> = resolved.columns().into_iter().map(named).collect();
    Ok(rows.project(columns)?)
}

/// A condition on measures over their columns; `None` when it is always true. Depth is bounded by `resolve`.
fn of_groups(condition: &Condition<'_>, resolved: &Resolved<'_>, rows: &LogicalPlanBuilder) -> Result<Option<Expr>> {
    let (inner, and) = match condition {
        Condition::And(inner) => (inner, true),
        Condition::Or(inner) => (inner, false),
        Condition::Member {
            path, operator, values, ..
        } => {
            let field = rows.schema().field_with_unqualified_name(path)?;
            let column = Column {
                expr: named(*path),
                data_type: field.data_type().clone(),
            };
            return filter::lower(*operator, values, &column, resolved.query.timezone).map(Some);
        }
    };
    let mut all = Vec::with_capacity(inner.len());
    for condition in inner {
        all.extend(of_groups(condition, resolved, rows)?);
    }
    Ok(filter::balanced(all, and))
}

/// The measures of a query by how they are computed.
#[derive(Default)]
struct Parts<'a> {
    plain: Vec<SelectedMeasure<'a>>,
    windows: Vec<SelectedMeasure<'a>>,
    multi: Vec<SelectedMeasure<'a>>,
}

impl<'s> Stages<'s> {
    /// For the whole of a query.
    pub fn new(compiled: &'s CompiledModel, functions: &'s dyn FunctionRegistry, resolved: &Resolved<'_>) -> Self {
        Self {
            compiled,
            functions,
            shifts: Vec::new(),
            own: resolved.rows.len(),
            parts: Rc::default(),
        }
    }

    /// Keys of the columns that group `resolved`.
    pub fn keys(&self, resolved: &Resolved<'_>) -> Vec<String> {
        let dimensions = resolved.dimensions.iter().map(|d| d.path.to_owned());
        dimensions
            .chain(resolved.buckets().map(|time| time.key.clone()))
            .collect()
    }

    /// The way through the joins to the measure that a view shows as `path`.
    pub fn way_to(&self, path: &str) -> Option<Vec<String>> {
        let (view, member) = path.split_once('.')?;
        let measure = self.compiled.model().cubes.get(view)?.measure(member)?;
        measure.origin.as_ref().map(|origin| origin.join_path.clone())
    }

    fn part(&self) -> Result<()> {
        self.parts.set(self.parts.get() + 1);
        if self.parts.get() > limits::QUERY_STAGES_MAX {
            return Err(Error::invalid(format!(
                "the measures of the query are computed in more than {} stages",
                limits::QUERY_STAGES_MAX
            )));
        }
        Ok(())
    }

    /// The rows of a query whose measures are aggregates of rows, with this part's shifts applied.
    ///
    /// # Errors
    /// As [`leaf::rows`].
    pub fn leaf(&self, resolved: &Resolved<'_>, compiled: &CompiledModel) -> Result<LogicalPlanBuilder> {
        self.part()?;
        if self.shifts.is_empty() {
            return leaf::rows(resolved, compiled, self.functions);
        }
        let values = shift::values(&resolved.rows, &self.shifts)?;
        let mut values = values.iter();
        let rows = resolved.rows.iter();
        let inner = Resolved {
            times: shift::times(&resolved.times, &self.shifts)?,
            rows: rows
                .map(|condition| shift::condition(condition, &self.shifts, &mut values))
                .collect(),
            ..resolved.clone()
        };
        leaf::rows(&inner, compiled, self.functions)
    }

    /// The keys of `resolved` and a column for each of its measures, before conditions on groups.
    fn values(&self, resolved: &Resolved<'_>) -> Result<LogicalPlanBuilder> {
        self.part()?;
        let mut parts = Parts::default();
        for selected in &resolved.measures {
            self.sort(*selected, &mut parts, 0)?;
        }
        let renamed: Vec<Option<Measure>> = parts
            .windows
            .iter()
            .map(|selected| self.window_of_another(selected))
            .collect::<Result<_>>()?;
        let windows = parts.windows.iter().zip(&renamed);
        let windows = windows.map(|(selected, other)| match other {
            Some(measure) => SelectedMeasure { measure, ..*selected },
            None => *selected,
        });
        let windows: Vec<SelectedMeasure<'_>> = windows.collect();
        let mut plans: Vec<LogicalPlanBuilder> = Vec::new();
        if !parts.plain.is_empty() || (windows.is_empty() && parts.multi.is_empty()) {
            let inner = Resolved {
                measures: parts.plain,
                groups: Vec::new(),
                ..resolved.clone()
            };
            plans.push(self.leaf(&inner, self.compiled)?);
        }
        if !windows.is_empty() {
            plans.push(window::rows(self, resolved, &windows)?);
        }
        // Cube's first planner keeps the rows that all parts have; its second, which alone knows stages, those of any.
        let kept = if parts.multi.is_empty() {
            Rows::Both
        } else {
            Rows::Either
        };
        for selected in &parts.multi {
            plans.push(multi::rows(self, resolved, selected)?);
        }
        let keys = self.keys(resolved);
        let mut plans = plans.into_iter();
        let first = plans.next().ok_or_else(|| Error::internal("a query without parts"))?;
        let rows = plans.try_fold(first, |all, part| joined(all, part, &keys, kept))?;
        let mut columns: Vec<Expr> = keys.into_iter().map(named).collect();
        for selected in &resolved.measures {
            columns.push(self.value(selected, 0)?.alias(selected.path));
        }
        Ok(rows.project(columns)?)
    }

    /// Sorts a measure, or what it is computed from.
    fn sort<'a>(&self, selected: SelectedMeasure<'a>, parts: &mut Parts<'a>, depth: usize) -> Result<()>
    where
        's: 'a,
    {
        let list = if selected.measure.window().is_some() {
            &mut parts.windows
        } else if selected.measure.multi_stage.is_some() {
            &mut parts.multi
        } else if let Some(outline) = self.outline(&selected)? {
            if depth > limits::MODEL_REFERENCE_DEPTH_MAX {
                return Err(circle(&selected));
            }
            for reference in &outline.members {
                self.sort(self.child(reference)?, parts, depth + 1)?;
            }
            return Ok(());
        } else {
            &mut parts.plain
        };
        if !list.iter().any(|known| known.path == selected.path) {
            list.push(selected);
        }
        Ok(())
    }

    /// A measure as an expression over the columns of the parts.
    fn value(&self, selected: &SelectedMeasure<'_>, depth: usize) -> Result<Expr> {
        if selected.measure.is_staged() {
            return Ok(named(selected.path));
        }
        let Some(outline) = self.outline(selected)? else {
            return Ok(named(selected.path));
        };
        if depth > limits::MODEL_REFERENCE_DEPTH_MAX {
            return Err(circle(selected));
        }
        let sql = outline
            .sql
            .clone()
            .ok_or_else(|| Error::internal("a calculated measure has no SQL"))?;
        outline.filled(sql, |reference| self.value(&self.child(reference)?, depth + 1))
    }

    fn outline(&self, selected: &SelectedMeasure<'_>) -> Result<Option<&'s Outline>> {
        self.compiled
            .outline(&selected.cube.name, &selected.measure.name)
            .transpose()
    }

    /// The measure that another refers to.
    fn child(&self, reference: &'s Reference) -> Result<SelectedMeasure<'s>> {
        let cube = self.compiled.model().cubes.get(&reference.cube);
        let measure = cube.and_then(|cube| cube.measure(&reference.member));
        match (cube, measure) {
            (Some(cube), Some(measure)) => Ok(SelectedMeasure {
                path: &reference.path,
                cube,
                measure,
            }),
            _ => Err(Error::invalid(format!(
                "`{{{}}}` is no measure: a dimension can be used in multi-stage measures only",
                reference.path
            ))),
        }
    }

    /// A multi-stage measure with a window that only merges what another measure gives: the other one with that window.
    fn window_of_another(&self, selected: &SelectedMeasure<'_>) -> Result<Option<Measure>> {
        if selected.measure.multi_stage.is_none() {
            return Ok(None);
        }
        let refused = || {
            Error::invalid(format!(
                "'{}' has a rolling window over other measures: that is answered for a sum of sums or counts, a least of \
                 least and a greatest of greatest values",
                selected.path
            ))
        };
        let outline = self.outline(selected)?.ok_or_else(refused)?;
        let [reference] = outline.members.as_slice() else {
            return Err(refused());
        };
        let child = self.child(reference)?;
        let alone = outline.sql.as_ref() == Some(&named(reference.path.as_str())) && outline.filters.is_empty();
        let merges = matches!(
            (selected.measure.kind, child.measure.kind),
            (MeasureType::Sum, MeasureType::Sum | MeasureType::Count)
                | (MeasureType::Min, MeasureType::Min)
                | (MeasureType::Max, MeasureType::Max)
        );
        if !alone || !merges || child.measure.is_staged() || child.cube.name != selected.cube.name {
            return Err(refused());
        }
        Ok(Some(Measure {
            rolling_window: selected.measure.window(),
            ..child.measure.clone()
        }))
    }
}

fn circle(selected: &SelectedMeasure<'_>) -> Error {
    Error::model(format!("the references of `{}` go round in a circle", selected.path))
}

#[cfg(test)]
mod tests;

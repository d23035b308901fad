//! Multi-stage measures, as Cube's second planner computes them.
//!
//! The measures that one refers to are asked at the inner grain: the query's keys without those that `grain` takes away, with
//! those it adds, under the conditions that `filter` leaves, shifted in time. Their values are aggregated to the keys that
//! remain, and the result is looked up for every row that the query itself has. A rank takes no keys away: what remains is the
//! part within which it counts.

use super::{Shifted, Stages};
use crate::error::{Error, Result};
use crate::model::{Grain, Measure, MeasureType, MultiStage, ShiftDirection, StageCondition, StageFilter};
use crate::query::Operator;
use crate::query::compile::{self, Outline};
use crate::query::filter::{self, Comparison};
use crate::query::measure::{self, Parts};
use crate::query::plan::named;
use crate::query::plan::together::{Rows, joined};
use crate::query::resolve::owner_path;
use crate::query::resolve::{
    self, Condition, Resolved, SelectedDimension, SelectedMeasure, SelectedSegment, SelectedTime,
};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlanBuilder, WindowFunctionDefinition, lit};
use std::rc::Rc;

/// The keys of `resolved` and the column of `selected`, a multi-stage measure.
///
/// # Errors
/// `Invalid` for combinations that have no meaning, and as [`Stages::values`].
pub(super) fn rows(
    stages: &Stages<'_>,
    resolved: &Resolved<'_>,
    selected: &SelectedMeasure<'_>,
) -> Result<LogicalPlanBuilder> {
    let internal = || Error::internal(format!("'{}' has no stages", selected.path));
    let stage = selected.measure.multi_stage.as_ref().ok_or_else(internal)?;
    let outline = stages.outline(selected)?.ok_or_else(internal)?;
    let rank = selected.measure.kind == MeasureType::Rank;
    let reduced = reduced(resolved, &stage.grain);
    let kept = stages.keys(&reduced);
    let mut inner = if rank { resolved.clone() } else { reduced };
    let base = stages.keys(&inner);
    include(stages, &mut inner, stage)?;
    let (own, dropped) = match &stage.filter {
        Some(filter) => filtered(stages, &mut inner, filter)?,
        None => (stages.own, false),
    };
    let within = Stages {
        compiled: stages.compiled,
        functions: stages.functions,
        shifts: shifts(stages, &inner, stage),
        own,
        parts: Rc::clone(&stages.parts),
    };
    inner.measures = outline
        .members
        .iter()
        .filter_map(|reference| within.child(reference).ok())
        .collect();
    let rows = within.values(&inner)?;
    let added = within.keys(&inner).len() > base.len();
    let computing = Computing {
        stages: &within,
        inner: &inner,
        outline,
        measure: selected.measure,
        path: selected.path,
        added,
    };
    let result = match rank {
        true => computing.ranked(rows, &base, &kept)?,
        false => computing.aggregated(rows, &base)?,
    };
    let keys = stages.keys(resolved);
    if keys.is_empty() || (!dropped && (rank || kept.len() == keys.len())) {
        return Ok(result);
    }
    let grid = Resolved {
        measures: Vec::new(),
        groups: Vec::new(),
        ..resolved.clone()
    };
    let grid = stages.leaf(&grid, stages.compiled)?;
    let on = if rank { keys } else { kept };
    joined(grid, result, &on, Rows::First)
}

/// Whether the name `Cube.dimension`, or with a granularity, means this dimension.
fn means(name: &str, owner: &str, granularity: Option<&str>) -> bool {
    match name.strip_prefix(owner) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(|wanted| granularity == Some(wanted)),
        None => false,
    }
}

/// The query without the keys that the grain takes away; their ranges still hold.
fn reduced<'a>(resolved: &Resolved<'a>, grain: &Grain) -> Resolved<'a> {
    let keeps = |owner: &str, granularity: Option<&str>| {
        let named = |names: &[String]| names.iter().any(|name| means(name, owner, granularity));
        grain.keep_only.as_ref().is_none_or(|names| named(names)) && !named(&grain.exclude)
    };
    let mut inner = resolved.clone();
    inner
        .dimensions
        .retain(|d| keeps(&owner_path(d.cube, &d.dimension.name), None));
    for time in &mut inner.times {
        let owner = owner_path(time.cube, &time.dimension.name);
        let name = time.granularity.as_ref().map(|granularity| granularity.name.as_str());
        if name.is_some() && !keeps(&owner, name) {
            time.granularity = None;
            time.key = time.path.to_owned();
        }
    }
    inner
}

/// Adds the dimensions that the grain adds.
fn include<'a>(stages: &Stages<'a>, inner: &mut Resolved<'a>, stage: &'a MultiStage) -> Result<()> {
    for name in &stage.grain.include {
        let path: Vec<&str> = name.splitn(3, '.').collect();
        let [cube, member, granularity @ ..] = path.as_slice() else {
            return Err(Error::internal(format!("`{name}` is no full name")));
        };
        let unknown = || Error::invalid(format!("`{name}` in `grain.include` is no dimension"));
        let cube = stages.compiled.model().cubes.get(*cube).ok_or_else(unknown)?;
        let dimension = cube.dimension(member).ok_or_else(unknown)?;
        let owner = owner_path(cube, member);
        let known = inner
            .dimensions
            .iter()
            .any(|d| owner_path(d.cube, &d.dimension.name) == owner);
        match granularity.first() {
            None if !known => inner.dimensions.push(SelectedDimension {
                path: name,
                cube,
                dimension,
            }),
            None => {}
            Some(wanted) => {
                let same = |time: &SelectedTime<'_>| {
                    let cut = time.granularity.as_ref().map(|granularity| granularity.name.as_str());
                    cut.is_some() && means(name, &owner_path(time.cube, &time.dimension.name), cut)
                };
                if !inner.times.iter().any(same) {
                    let path = name.rsplit_once('.').map_or(name.as_str(), |(path, _)| path);
                    inner.times.push(SelectedTime {
                        path,
                        cube,
                        dimension,
                        granularity: Some(resolve::granularity(path, dimension, wanted)?),
                        key: name.clone(),
                        range: None,
                    });
                }
            }
        }
    }
    Ok(())
}

/// The shifts of the inner stage: those from outside and the stage's own.
fn shifts(stages: &Stages<'_>, inner: &Resolved<'_>, stage: &MultiStage) -> Vec<Shifted> {
    let mut all = stages.shifts.clone();
    for shift in &stage.time_shift {
        let by = match shift.direction {
            ShiftDirection::Prior => shift.interval,
            ShiftDirection::Next => shift.interval.negated(),
        };
        let mut done: Vec<String> = Vec::new();
        for time in &inner.times {
            let owner = owner_path(time.cube, &time.dimension.name);
            let meant = shift.time_dimension.as_ref().is_none_or(|name| *name == owner);
            if !meant || done.contains(&owner) {
                continue;
            }
            done.push(owner);
            let known = all
                .iter_mut()
                .find(|known| known.cube == time.cube.name && known.dimension == time.dimension.name);
            match known {
                Some(known) => known.by = known.by.and_then(by),
                None => all.push(Shifted {
                    cube: time.cube.name.clone(),
                    dimension: time.dimension.name.clone(),
                    by,
                }),
            }
        }
    }
    all
}

/// Applies `filter`; gives how many of the first conditions are the query's own then, and whether one of the query's own
/// was dropped.
fn filtered<'a>(stages: &Stages<'a>, inner: &mut Resolved<'a>, filter: &'a StageFilter) -> Result<(usize, bool)> {
    let listed = |names: &[String], owner: &str| names.iter().any(|name| name == owner);
    let keeps = |owner: &str| {
        let kept = filter.keep_only.as_ref().is_none_or(|names| listed(names, owner));
        !filter.fixed && kept && !listed(&filter.exclude, owner)
    };
    let (mut own, mut rows, mut dropped) = (0, Vec::new(), false);
    for (index, condition) in inner.rows.iter().enumerate() {
        let before = index < stages.own;
        match remaining(condition, &keeps) {
            Some(kept) => {
                own += usize::from(before);
                dropped |= before && leaves(&kept) < leaves(condition);
                rows.push(kept);
            }
            None => dropped |= before,
        }
    }
    let segment = |selected: &SelectedSegment<'_>| keeps(&owner_path(selected.cube, &selected.segment.name));
    dropped |= !inner.segments.iter().all(segment);
    inner.segments.retain(segment);
    for time in &mut inner.times {
        if time.range.is_some() && !keeps(&owner_path(time.cube, &time.dimension.name)) {
            time.range = None;
            dropped = true;
        }
    }
    for condition in &filter.include {
        rows.push(included(stages, condition)?);
    }
    inner.rows = rows;
    Ok((own, dropped))
}

/// What remains of a condition; an `or` remains whole or not at all. Depth is bounded by `resolve`.
fn remaining<'a>(condition: &Condition<'a>, keeps: &dyn Fn(&str) -> bool) -> Option<Condition<'a>> {
    match condition {
        Condition::And(inner) => {
            let kept: Vec<Condition<'a>> = inner.iter().filter_map(|one| remaining(one, keeps)).collect();
            (!kept.is_empty()).then_some(Condition::And(kept))
        }
        Condition::Or(inner) => {
            let whole = |one: &Condition<'a>| remaining(one, keeps).is_some_and(|kept| leaves(&kept) == leaves(one));
            inner.iter().all(whole).then(|| condition.clone())
        }
        Condition::Member { cube, member, .. } => keeps(&owner_path(cube, member.name())).then(|| condition.clone()),
    }
}

fn leaves(condition: &Condition<'_>) -> usize {
    match condition {
        Condition::And(inner) | Condition::Or(inner) => inner.iter().map(leaves).sum(),
        Condition::Member { .. } => 1,
    }
}

/// A condition of the model. Depth is bounded by the reader of files.
fn included<'a>(stages: &Stages<'a>, condition: &'a StageCondition) -> Result<Condition<'a>> {
    let all = |inner: &'a [StageCondition]| inner.iter().map(|one| included(stages, one)).collect::<Result<_>>();
    let (member, operator, values) = match condition {
        StageCondition::And(inner) => return Ok(Condition::And(all(inner)?)),
        StageCondition::Or(inner) => return Ok(Condition::Or(all(inner)?)),
        StageCondition::Member {
            member,
            operator,
            values,
        } => (member, operator, values),
    };
    let unknown = || {
        Error::model(format!(
            "`{operator}` in `filter.include` is no operator that is answered there"
        ))
    };
    let operator = Operator::from_name(operator).ok_or_else(unknown)?;
    if matches!(operator.row().comparison, Comparison::Date | Comparison::Drill) {
        return Err(unknown());
    }
    let (cube, found) = stages.compiled.model().member(member)?;
    Ok(Condition::Member {
        path: member,
        cube,
        member: found,
        operator,
        values,
    })
}

/// The outer step of a measure.
struct Computing<'c> {
    stages: &'c Stages<'c>,
    inner: &'c Resolved<'c>,
    outline: &'c Outline,
    measure: &'c Measure,
    path: &'c str,
    /// Whether the inner stage has keys that the outer one has not.
    added: bool,
}

impl Computing<'_> {
    /// An expression of the outline over the columns of the inner stage.
    fn over_inner(&self, expr: Expr) -> Result<Expr> {
        self.outline.filled(expr, |reference| {
            if self.stages.child(reference).is_ok() {
                return Ok(named(reference.path.as_str()));
            }
            let mut dimensions = self.inner.dimensions.iter();
            let key = dimensions.find(|d| owner_path(d.cube, &d.dimension.name) == reference.path);
            match key {
                Some(key) => Ok(named(key.path)),
                None => Err(Error::invalid(format!(
                    "'{}' needs the dimension `{}`: ask it with the measure, or name it in `grain.include`",
                    self.path, reference.path
                ))),
            }
        })
    }

    fn sql(&self) -> Result<Option<Expr>> {
        self.outline.sql.clone().map(|sql| self.over_inner(sql)).transpose()
    }

    fn columns(&self, keys: &[String], value: Expr) -> Vec<Expr> {
        let keys = keys.iter().map(|key| named(key.as_str()));
        keys.chain([value.alias(self.path)]).collect()
    }

    fn no_added_keys(&self) -> Result<()> {
        match self.added {
            false => Ok(()),
            true => Err(Error::invalid(format!(
                "'{}' is of type `{}`, which does not aggregate: `grain.include` (`add_group_by`) needs a type that does",
                self.path,
                self.measure.kind.row().yaml
            ))),
        }
    }

    fn ranked(&self, rows: LogicalPlanBuilder, keys: &[String], within: &[String]) -> Result<LogicalPlanBuilder> {
        self.no_added_keys()?;
        let mut order = Vec::with_capacity(self.outline.order.len());
        for (sql, desc) in &self.outline.order {
            // As PostgreSQL: nulls last, and first when descending.
            order.push(self.over_inner(sql.clone())?.sort(!desc, *desc));
        }
        let rank = WindowFunctionDefinition::WindowUDF(self.stages.functions.udwf("rank")?);
        let rank = Expr::from(WindowFunction::new(rank, Vec::new()));
        let partition = within.iter().map(named).collect();
        let rank = rank.partition_by(partition).order_by(order).build()?;
        let rows = rows.window(vec![rank.alias("rank within")])?;
        Ok(rows.project(self.columns(keys, named("rank within")))?)
    }

    fn aggregated(&self, rows: LogicalPlanBuilder, keys: &[String]) -> Result<LogicalPlanBuilder> {
        let missing = || Error::invalid(format!("'{}' needs `sql`", self.path));
        let sql = self.sql()?;
        if self.measure.kind.row().calculated {
            self.no_added_keys()?;
            return Ok(rows.project(self.columns(keys, sql.ok_or_else(missing)?))?);
        }
        let filters: Result<Vec<Expr>> = self
            .outline
            .filters
            .iter()
            .map(|sql| self.over_inner(sql.clone()))
            .collect();
        let aggregate = match self.measure.kind {
            MeasureType::NumberAgg => sql.ok_or_else(missing)?,
            _ => {
                let parts = Parts {
                    sql: Some(sql.unwrap_or_else(|| lit(1_i64))),
                    sql_type: None,
                    filter: filter::balanced(filters?, true),
                };
                measure::aggregate(self.measure, &parts)?
            }
        };
        let groups: Vec<Expr> = keys.iter().map(|key| named(key.as_str())).collect();
        let (value, aggregates) = compile::aggregates(aggregate)?;
        if aggregates.is_empty() {
            return Err(Error::model(format!("'{}' has no aggregate in its `sql`", self.path)));
        }
        let name = |at: usize| format!("aggregate {at}");
        let columns: Vec<Expr> = (0..aggregates.len()).map(|at| named(name(at))).collect();
        let aggregates = aggregates.into_iter().enumerate();
        let aggregates: Vec<Expr> = aggregates.map(|(at, aggregate)| aggregate.alias(name(at))).collect();
        let rows = rows.aggregate(groups, aggregates)?;
        Ok(rows.project(self.columns(keys, compile::together(value, &columns)?))?)
    }
}

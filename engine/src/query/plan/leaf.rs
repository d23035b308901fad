//! The rows of a query whose measures are aggregates of rows: conditions, groups, aggregates, conditions on groups.
//!
//! The rows are those of one cube, or of several joined ones (`space`). Measures of cubes whose rows the joins multiply are
//! computed once for each primary key (`groups`).

mod groups;
mod space;
mod sub_query;

use super::{bucket, in_range, named};
use crate::error::{Error, Result};
use crate::model::{Cube, Member};
use crate::query::compile::{CompiledMeasure, CompiledModel, Leaf, RowMember, with_leaves};
use crate::query::filter::{self, Column, Comparison};
use crate::query::join::{JoinPath, Tree, distinct};
use crate::query::resolve::{Condition, Resolved, SelectedTime};
use crate::query::{Operator, params};
use chrono_tz::Tz;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use std::sync::Arc;

/// The rows of `resolved`, whose measures are all aggregates of rows.
///
/// # Errors
/// As [`super::plan`].
pub fn rows(
    resolved: &Resolved<'_>,
    compiled: &CompiledModel,
    functions: &dyn FunctionRegistry,
) -> Result<LogicalPlanBuilder> {
    let rows = Rows {
        resolved,
        compiled,
        functions,
        tree: tree(resolved, compiled)?,
    };
    let plan = match resolved.query.ungrouped {
        true => rows.ungrouped()?,
        false => rows.grouped()?,
    };
    let filled = params::fill(plan.build()?, &params::Asked::of(resolved))?;
    Ok(LogicalPlanBuilder::from(filled))
}

/// The cubes whose rows `resolved` reads, each once: those that are joined, and those that its sub-query dimensions read.
///
/// # Errors
/// `Invalid` when the cubes cannot be joined, `Model` when the SQL of a member is wrong.
pub fn cubes<'a>(resolved: &Resolved<'_>, compiled: &'a CompiledModel) -> Result<Vec<&'a Arc<Cube>>> {
    let mut names: Vec<String> = tree(resolved, compiled)?.cubes().map(str::to_owned).collect();
    sub_query::add_cubes(resolved, compiled, &mut names)?;
    let found = names.iter().map(|name| compiled.model().cube(name, name));
    found.collect()
}

/// How the cubes of `resolved` are joined.
///
/// # Errors
/// `Invalid` when they cannot be, `Model` when the SQL of a member is wrong.
pub fn tree(resolved: &Resolved<'_>, compiled: &CompiledModel) -> Result<Tree> {
    let mut hints = resolved.query.join_hints.clone();
    hints.extend(uses(resolved, compiled)?);
    space::tree(compiled, distinct(hints))
}

/// The cubes that the members of `resolved` need, in Cube's order.
fn uses(resolved: &Resolved<'_>, compiled: &CompiledModel) -> Result<Vec<JoinPath>> {
    let mut all: Vec<JoinPath> = Vec::new();
    let mut add = |uses: &[JoinPath]| all.extend_from_slice(uses);
    for selected in &resolved.measures {
        add(&measure(compiled, selected.path, selected.cube, &selected.measure.name)?.uses);
    }
    for selected in &resolved.dimensions {
        add(&dimension(compiled, selected.path, selected.cube, &selected.dimension.name)?.uses);
    }
    for selected in &resolved.segments {
        add(&compiled
            .cube(&selected.cube.name)?
            .segment(&selected.segment.name)?
            .uses);
    }
    for condition in resolved.rows.iter().chain(&resolved.groups) {
        all.extend(uses_of(condition, compiled)?);
    }
    for time in &resolved.times {
        let member = dimension(compiled, time.path, time.cube, &time.dimension.name)?;
        all.extend_from_slice(&member.uses);
    }
    Ok(all)
}

/// The cubes that a condition needs.
fn uses_of(condition: &Condition<'_>, compiled: &CompiledModel) -> Result<Vec<JoinPath>> {
    let mut all = Vec::new();
    let mut open = vec![condition];
    while let Some(condition) = open.pop() {
        match condition {
            Condition::And(inner) | Condition::Or(inner) => open.extend(inner.iter().rev()),
            Condition::Member { path, cube, member, .. } => all.extend_from_slice(match member {
                Member::Measure(found) => &measure(compiled, path, cube, &found.name)?.uses,
                Member::Dimension(found) => &dimension(compiled, path, cube, &found.name)?.uses,
                Member::Segment(found) => &compiled.cube(&cube.name)?.segment(&found.name)?.uses,
            }),
        }
    }
    Ok(all)
}

/// The measure, by its full name when that is a view's, because only the view knows the way to it.
fn measure<'a>(compiled: &'a CompiledModel, path: &str, owner: &Cube, name: &str) -> Result<&'a CompiledMeasure> {
    match of_view(compiled, path) {
        Some((view, member)) => compiled.cube(view)?.measure(member),
        None => compiled.cube(&owner.name)?.measure(name),
    }
}

/// As [`measure`], for a dimension.
fn dimension<'a>(compiled: &'a CompiledModel, path: &str, owner: &Cube, name: &str) -> Result<&'a RowMember> {
    match of_view(compiled, path) {
        Some((view, member)) => compiled.cube(view)?.dimension(member),
        None => compiled.cube(&owner.name)?.dimension(name),
    }
}

/// The view and the member that `path` names, when it is a member of a view.
fn of_view<'p>(compiled: &CompiledModel, path: &'p str) -> Option<(&'p str, &'p str)> {
    let (cube, member) = path.split_once('.')?;
    let view = compiled.model().cubes.get(cube)?;
    (view.view().is_some() && view.member(member).is_some()).then_some((cube, member))
}

/// The plan of a query over joined rows.
struct Rows<'a> {
    resolved: &'a Resolved<'a>,
    compiled: &'a CompiledModel,
    functions: &'a dyn FunctionRegistry,
    tree: Tree,
}

impl<'a> Rows<'a> {
    fn tz(&self) -> Tz {
        self.resolved.query.timezone
    }

    /// The conditions on rows: segments, ranges of time dimensions, filters.
    fn where_(&self) -> Result<Option<Expr>> {
        let mut all = Vec::new();
        for segment in &self.resolved.segments {
            let cube = self.compiled.cube(&segment.cube.name)?;
            all.push(cube.segment(&segment.segment.name)?.column.expr.clone());
        }
        for time in &self.resolved.times {
            if let Some(range) = &time.range {
                all.push(in_range(self.instant(time)?, range, self.tz()));
            }
        }
        for condition in &self.resolved.rows {
            all.extend(self.condition(condition, &mut Leaves::default())?);
        }
        Ok(filter::balanced(all, true))
    }

    /// The expression of a time dimension, which must give instants.
    fn instant(&self, time: &SelectedTime<'_>) -> Result<Expr> {
        let cube = self.compiled.cube(&time.cube.name)?;
        let column = &cube.dimension(&time.dimension.name)?.column;
        if column.data_type == filter::instant_type() {
            return Ok(column.expr.clone());
        }
        if time.range.is_some() {
            return Err(filter::no_instant(&column.data_type));
        }
        Err(Error::invalid(format!(
            "'{}' is used as a time dimension but its type is {}",
            time.path,
            time.dimension.kind.name()
        )))
    }

    /// A condition as an expression: on rows for dimensions, on the aggregates in `leaves` for measures. `None` when it is
    /// always true.
    fn condition(&self, condition: &Condition<'_>, leaves: &mut Leaves<'a>) -> Result<Option<Expr>> {
        let (inner, and) = match condition {
            Condition::And(inner) => (inner, true),
            Condition::Or(inner) => (inner, false),
            Condition::Member {
                cube,
                member,
                operator,
                values,
                ..
            } => return self.comparison(cube, member, *operator, values, leaves),
        };
        let mut all = Vec::with_capacity(inner.len());
        for condition in inner {
            match self.condition(condition, leaves)? {
                Some(expr) => all.push(expr),
                // An empty group inside another is ignored, as Cube ignores it.
                None => continue,
            }
        }
        Ok(filter::balanced(all, and))
    }

    fn comparison(
        &self,
        cube: &Cube,
        member: &Member<'_>,
        operator: Operator,
        values: &[Option<String>],
        leaves: &mut Leaves<'a>,
    ) -> Result<Option<Expr>> {
        let cube = self.compiled.cube(&cube.name)?;
        let column = match member {
            Member::Measure(measure) => {
                let measure = cube.measure(&measure.name)?;
                if operator.row().comparison == Comparison::Drill {
                    return Ok(measure.filter.clone());
                }
                Column {
                    expr: leaves.take(measure)?,
                    data_type: measure.data_type.clone(),
                }
            }
            Member::Dimension(dimension) => cube.dimension(&dimension.name)?.column.clone(),
            Member::Segment(segment) => cube.segment(&segment.name)?.column.clone(),
        };
        filter::lower(operator, values, &column, self.tz()).map(Some)
    }

    /// Dimensions and buckets in the order of the answer, each with its key.
    fn keys(&self) -> Result<Vec<(String, Expr)>> {
        let mut keys = Vec::new();
        for selected in &self.resolved.dimensions {
            let cube = self.compiled.cube(&selected.cube.name)?;
            let column = &cube.dimension(&selected.dimension.name)?.column;
            keys.push((selected.path.to_owned(), column.expr.clone()));
        }
        for time in self.resolved.buckets() {
            if let Some(granularity) = &time.granularity {
                let cut = bucket(self.instant(time)?, granularity, self.tz(), self.functions)?;
                keys.push((time.key.clone(), cut));
            }
        }
        Ok(keys)
    }

    fn grouped(&self) -> Result<LogicalPlanBuilder> {
        let keys = self.keys()?;
        let mut leaves = Leaves::default();
        let mut columns: Vec<Expr> = keys.iter().map(|(key, _)| named(key.as_str())).collect();
        for selected in &self.resolved.measures {
            let cube = self.compiled.cube(&selected.cube.name)?;
            columns.push(leaves.take(cube.measure(&selected.measure.name)?)?.alias(selected.path));
        }
        let mut having = Vec::new();
        for condition in &self.resolved.groups {
            having.extend(self.condition(condition, &mut leaves)?);
        }
        let mut groups = self.groups(&keys, &leaves.found)?;
        if let Some(having) = filter::balanced(having, true) {
            groups = groups.filter(having)?;
        }
        Ok(groups.project(columns)?)
    }

    fn ungrouped(&self) -> Result<LogicalPlanBuilder> {
        if !self.resolved.groups.is_empty() {
            return Err(Error::invalid("Measure filters aren't allowed in ungrouped query"));
        }
        let missing = self.missing_primary_keys()?;
        if !missing.is_empty() && !self.resolved.query.ungrouped_without_primary_key {
            return Err(Error::invalid(format!(
                "Ungrouped query requires primary keys to be present in dimensions: {}. Pass \
                 allowUngroupedWithoutPrimaryKey option to disable this check.",
                missing.join(", ")
            )));
        }
        let mut columns: Vec<Expr> = self.keys()?.into_iter().map(|(key, expr)| expr.alias(key)).collect();
        for selected in &self.resolved.measures {
            let cube = self.compiled.cube(&selected.cube.name)?;
            let row = cube.measure(&selected.measure.name)?.row.clone();
            columns.push(row.map_err(Error::invalid)?.alias(selected.path));
        }
        let condition = self.where_()?;
        let mut rows = self.joined(&[condition.as_slice(), &columns])?;
        if let Some(condition) = condition {
            rows = rows.filter(condition)?;
        }
        Ok(rows.project(columns)?)
    }

    /// Primary keys of the joined cubes that are not among the dimensions, quoted.
    fn missing_primary_keys(&self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for name in self.tree.cubes() {
            let cube = self.compiled.model().cube(name, name)?;
            let selected = |key: &str| {
                let mut dimensions = self.resolved.dimensions.iter();
                dimensions.any(|d| d.cube.name == name && d.dimension.name == key)
            };
            let keys = cube.dimensions.iter().filter(|d| d.primary_key && !selected(&d.name));
            missing.extend(keys.map(|d| format!("'{name}.{}'", d.name)));
        }
        Ok(missing)
    }
}

/// The distinct aggregates of a query, each computed once.
#[derive(Default)]
struct Leaves<'a> {
    found: Vec<&'a Leaf>,
}

impl<'a> Leaves<'a> {
    /// `measure` with every aggregate in it replaced by the column that will hold it.
    fn take(&mut self, measure: &'a CompiledMeasure) -> Result<Expr> {
        let mut places = Vec::with_capacity(measure.leaves.len());
        for leaf in &measure.leaves {
            let known = self.found.iter().position(|known| *known == leaf);
            places.push(known.unwrap_or_else(|| {
                self.found.push(leaf);
                self.found.len() - 1
            }));
        }
        with_leaves(measure.outline.clone(), |leaf| {
            Ok(places.get(leaf).map(|place| named(groups::column(*place))))
        })
    }
}

#[cfg(test)]
mod tests;

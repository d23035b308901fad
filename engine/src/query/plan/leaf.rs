//! The rows of a query whose measures are aggregates of rows: conditions, groups, aggregates, conditions on groups.

use super::{bucket, in_range, named};
use crate::error::{Error, Result};
use crate::model::{CubeSource, Member};
use crate::query::compile::{CompiledCube, CompiledModel};
use crate::query::filter::{self, Column, Comparison};
use crate::query::resolve::{Condition, Resolved, SelectedTime};
use crate::query::{Operator, params};
use chrono_tz::Tz;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::FunctionRegistry;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use std::collections::HashSet;
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
    let cube = compiled.cube(&resolved.cube.name)?;
    let rows = Rows {
        resolved,
        cube,
        functions,
    };
    let plan = params::fill(rows.plan()?.build()?, &params::Asked::of(resolved))?;
    Ok(LogicalPlanBuilder::from(plan))
}

/// The plan of a query over a cube with SQL.
struct Rows<'a> {
    resolved: &'a Resolved<'a>,
    cube: &'a CompiledCube,
    functions: &'a dyn FunctionRegistry,
}

impl Rows<'_> {
    fn plan(&self) -> Result<LogicalPlanBuilder> {
        let condition = self.where_()?;
        let output = match self.resolved.query.ungrouped {
            true => Output::Rows(self.ungrouped()?),
            false => Output::Groups(self.grouped()?),
        };
        let mut rows = LogicalPlanBuilder::from(self.relation(condition.iter().chain(output.exprs()))?);
        if let Some(condition) = condition {
            rows = rows.filter(condition)?;
        }
        match output {
            Output::Rows(columns) => Ok(rows.project(columns)?),
            Output::Groups(groups) => groups.plan(rows),
        }
    }

    /// The cube's rows. Of a table only the columns that `used` names are described, because planning costs time for
    /// every column of every step.
    fn relation<'e>(&self, used: impl Iterator<Item = &'e Expr> + Clone) -> Result<LogicalPlan> {
        let cube = self.resolved.cube;
        let full = self.cube.relation()?;
        if matches!(cube.source, CubeSource::Sql(_)) {
            return Ok(full.clone());
        }
        let has_subquery = |expr: &Expr| {
            expr.exists(|e| {
                Ok(matches!(
                    e,
                    Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)
                ))
            })
            .unwrap_or(true)
        };
        let LogicalPlan::SubqueryAlias(alias) = full else {
            return Ok(full.clone());
        };
        let LogicalPlan::TableScan(scan) = alias.input.as_ref() else {
            return Ok(full.clone());
        };
        if used.clone().any(has_subquery) {
            return Ok(full.clone());
        }
        let names: HashSet<&str> = used
            .flat_map(Expr::column_refs)
            .map(|column| column.name.as_str())
            .collect();
        let schema = scan.source.schema();
        let fields = schema.fields().iter().enumerate();
        let wanted = fields
            .filter(|(_, field)| names.contains(field.name().as_str()))
            .map(|(at, _)| at)
            .collect();
        let narrow = LogicalPlanBuilder::scan(scan.table_name.clone(), Arc::clone(&scan.source), Some(wanted))?;
        Ok(narrow.alias(alias.alias.clone())?.build()?)
    }

    fn tz(&self) -> Tz {
        self.resolved.query.timezone
    }

    /// The conditions on rows: segments, ranges of time dimensions, filters.
    fn where_(&self) -> Result<Option<Expr>> {
        let mut all = Vec::new();
        for segment in &self.resolved.segments {
            all.push(self.cube.segment(&segment.segment.name)?.column.expr.clone());
        }
        for time in &self.resolved.times {
            if let Some(range) = &time.range {
                all.push(in_range(self.instant(time)?, range, self.tz()));
            }
        }
        for condition in &self.resolved.rows {
            all.extend(self.condition(condition)?);
        }
        Ok(filter::balanced(all, true))
    }

    /// The expression of a time dimension, which must give instants.
    fn instant(&self, time: &SelectedTime<'_>) -> Result<Expr> {
        let column = &self.cube.dimension(&time.dimension.name)?.column;
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

    /// A condition as an expression: on rows for dimensions, on aggregates for measures. `None` when it is always true.
    fn condition(&self, condition: &Condition<'_>) -> Result<Option<Expr>> {
        let (inner, and) = match condition {
            Condition::And(inner) => (inner, true),
            Condition::Or(inner) => (inner, false),
            Condition::Member {
                member,
                operator,
                values,
                ..
            } => return self.leaf(member, *operator, values),
        };
        let mut all = Vec::with_capacity(inner.len());
        for condition in inner {
            match self.condition(condition)? {
                Some(expr) => all.push(expr),
                // An empty group inside another is ignored, as Cube ignores it.
                None => continue,
            }
        }
        Ok(filter::balanced(all, and))
    }

    fn leaf(&self, member: &Member<'_>, operator: Operator, values: &[Option<String>]) -> Result<Option<Expr>> {
        let column = match member {
            Member::Measure(measure) => {
                let compiled = self.cube.measure(&measure.name)?;
                if operator.row().comparison == Comparison::Drill {
                    return Ok(compiled.filter.clone());
                }
                Column {
                    expr: compiled.aggregate.clone(),
                    data_type: compiled.data_type.clone(),
                }
            }
            Member::Dimension(dimension) => self.cube.dimension(&dimension.name)?.column.clone(),
            Member::Segment(segment) => self.cube.segment(&segment.name)?.column.clone(),
        };
        filter::lower(operator, values, &column, self.tz()).map(Some)
    }

    /// Dimensions and buckets in the order of the answer, each with its key.
    fn keys(&self) -> Result<Vec<(String, Expr)>> {
        let mut keys = Vec::new();
        for selected in &self.resolved.dimensions {
            let column = &self.cube.dimension(&selected.dimension.name)?.column;
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

    fn grouped(&self) -> Result<Groups> {
        let keys = self.keys()?;
        let mut aggregates = Aggregates::default();
        let mut measures = Vec::new();
        for selected in &self.resolved.measures {
            let compiled = self.cube.measure(&selected.measure.name)?;
            measures.push(aggregates.take(compiled.aggregate.clone())?.alias(selected.path));
        }
        let mut having = Vec::new();
        for condition in &self.resolved.groups {
            if let Some(expr) = self.condition(condition)? {
                having.push(aggregates.take(expr)?);
            }
        }
        let mut found = aggregates.found;
        if keys.is_empty() && found.is_empty() {
            // A measure without an aggregate, such as a constant, still is one row.
            found.push(count(lit(1_i64)).alias("rows"));
        }
        let columns = keys
            .iter()
            .map(|(key, _)| named(key.as_str()))
            .chain(measures)
            .collect();
        Ok(Groups {
            keys: keys.into_iter().map(|(key, expr)| expr.alias(key)).collect(),
            aggregates: found,
            having: filter::balanced(having, true),
            columns,
        })
    }

    fn ungrouped(&self) -> Result<Vec<Expr>> {
        if !self.resolved.groups.is_empty() {
            return Err(Error::invalid("Measure filters aren't allowed in ungrouped query"));
        }
        let cube = self.resolved.cube;
        let selected = |name: &str| self.resolved.dimensions.iter().any(|d| d.dimension.name == name);
        let missing = cube.dimensions.iter().filter(|d| d.primary_key && !selected(&d.name));
        let missing: Vec<String> = missing.map(|d| format!("'{}.{}'", cube.name, d.name)).collect();
        if !missing.is_empty() && !self.resolved.query.ungrouped_without_primary_key {
            return Err(Error::invalid(format!(
                "Ungrouped query requires primary keys to be present in dimensions: {}. Pass \
                 allowUngroupedWithoutPrimaryKey option to disable this check.",
                missing.join(", ")
            )));
        }
        let mut columns: Vec<Expr> = self.keys()?.into_iter().map(|(key, expr)| expr.alias(key)).collect();
        for measure in &self.resolved.measures {
            let compiled = self.cube.measure(&measure.measure.name)?;
            let row = compiled.row.clone().map_err(Error::invalid)?;
            columns.push(row.alias(measure.path));
        }
        Ok(columns)
    }
}

/// What is made of the rows.
enum Output {
    /// The columns of an ungrouped query.
    Rows(Vec<Expr>),
    /// The parts of a grouped one.
    Groups(Groups),
}

impl Output {
    /// The expressions on rows.
    fn exprs(&self) -> impl Iterator<Item = &Expr> + Clone {
        let (first, second): (&[Expr], &[Expr]) = match self {
            Output::Rows(columns) => (columns, &[]),
            Output::Groups(groups) => (&groups.keys, &groups.aggregates),
        };
        first.iter().chain(second)
    }
}

/// A grouped query: keys and aggregates of rows, then a condition and columns of groups.
struct Groups {
    keys: Vec<Expr>,
    aggregates: Vec<Expr>,
    having: Option<Expr>,
    columns: Vec<Expr>,
}

impl Groups {
    fn plan(self, rows: LogicalPlanBuilder) -> Result<LogicalPlanBuilder> {
        let mut groups = rows.aggregate(self.keys, self.aggregates)?;
        if let Some(having) = self.having {
            groups = groups.filter(having)?;
        }
        Ok(groups.project(self.columns)?)
    }
}

/// The distinct aggregates of a query, each computed once.
#[derive(Default)]
struct Aggregates {
    /// The aggregates under the names that [`Aggregates::take`] puts in their places.
    found: Vec<Expr>,
    seen: Vec<Expr>,
}

impl Aggregates {
    /// `expr` with every aggregate in it replaced by the column that will hold it.
    fn take(&mut self, expr: Expr) -> Result<Expr> {
        let replaced = expr.transform_down(|expr| {
            if !matches!(expr, Expr::AggregateFunction(_)) {
                return Ok(Transformed::no(expr));
            }
            let at = match self.seen.iter().position(|seen| *seen == expr) {
                Some(at) => at,
                None => {
                    self.found
                        .push(expr.clone().alias(format!("aggregate {}", self.found.len())));
                    self.seen.push(expr);
                    self.seen.len() - 1
                }
            };
            Ok(Transformed::yes(named(format!("aggregate {at}"))))
        })?;
        Ok(replaced.data)
    }
}

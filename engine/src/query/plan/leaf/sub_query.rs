//! Dimensions whose value is a measure of joined cubes, computed for each primary key of their own cube.

use super::{Leaves, Rows, named, space};
use crate::error::Result;
use crate::model::Member;
use crate::query::compile::{CompiledModel, SUB_QUERY_COLUMN};
use crate::query::join::{JoinPath, Tree, distinct};
use crate::query::resolve::{Condition, Resolved};
use crate::query::{filter, params};
use datafusion::common::{Column, NullEquality, TableReference};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use std::collections::HashSet;

/// The column that holds the computed value.
const VALUE: &str = "value";

fn computed_key(at: usize) -> String {
    format!("key {at}")
}

impl Rows<'_> {
    /// `rows` of `cube` with one column more: the value of its sub-query dimension `name`.
    pub(super) fn with_sub_query(&self, cube: &str, rows: LogicalPlan, name: &str) -> Result<LogicalPlan> {
        let keys = self.primary_key(cube)?;
        let computed = self.computed(cube, name)?.alias("computed")?.build()?;
        let own: Vec<Expr> = rows.schema().columns().into_iter().map(Expr::Column).collect();
        let key = |at: usize| format!("own key {at}");
        let with_keys = own.iter().cloned();
        let with_keys: Vec<Expr> = with_keys
            .chain(keys.into_iter().enumerate().map(|(at, expr)| expr.alias(key(at))))
            .collect();
        let keys = 0..with_keys.len() - own.len();
        let left: Vec<Column> = keys.clone().map(|at| Column::new_unqualified(key(at))).collect();
        let right: Vec<Column> = keys.map(|at| Column::new(Some("computed"), computed_key(at))).collect();
        let value = Expr::Column(Column::new(Some("computed"), VALUE)).alias(format!("{SUB_QUERY_COLUMN}{name}"));
        let joined = LogicalPlanBuilder::from(computed).join_detailed(
            LogicalPlanBuilder::from(rows).project(with_keys)?.build()?,
            JoinType::Right,
            (right, left),
            None,
            NullEquality::NullEqualsNull,
        )?;
        let columns = own.into_iter().chain([value]);
        Ok(joined.project(columns)?.alias(TableReference::bare(cube))?.build()?)
    }

    /// The value for each primary key of `cube`.
    fn computed(&self, cube: &str, name: &str) -> Result<LogicalPlanBuilder> {
        let inner = inner(self.resolved, self.compiled, cube, name)?;
        let rows = Rows {
            resolved: &inner,
            compiled: self.compiled,
            functions: self.functions,
            tree: inner_tree(&inner, self.compiled, cube, name)?,
        };
        let keys = rows.primary_key(cube)?.into_iter().enumerate();
        let keys: Vec<(String, Expr)> = keys.map(|(at, expr)| (computed_key(at), expr)).collect();
        let mut leaves = Leaves::default();
        let value = leaves.take(self.compiled.cube(cube)?.sub_query(name)?)?;
        let groups = rows.groups(&keys, &leaves.found)?;
        let columns = keys.iter().map(|(key, _)| named(key.as_str()));
        let plan = groups.project(columns.chain([value.alias(VALUE)]))?.build()?;
        // The model's SQL sees here the conditions that hold here.
        Ok(LogicalPlanBuilder::from(params::fill(
            plan,
            &params::Asked::of(&inner),
        )?))
    }
}

fn inner_tree(inner: &Resolved<'_>, compiled: &CompiledModel, cube: &str, name: &str) -> Result<Tree> {
    let mut hints: Vec<JoinPath> = compiled.cube(cube)?.sub_query(name)?.uses.to_vec();
    hints.extend(super::uses(inner, compiled)?);
    space::tree(compiled, distinct(hints))
}

/// What of `outer` holds inside the computation of the sub-query dimension `name`: its conditions on rows, when the
/// dimension says so, except those on sub-query dimensions.
fn inner<'a>(outer: &Resolved<'a>, compiled: &CompiledModel, cube: &str, name: &str) -> Result<Resolved<'a>> {
    let dimension = compiled.model().cube(cube, name)?.dimension(name);
    let mut inner = Resolved {
        dimensions: Vec::new(),
        times: Vec::new(),
        measures: Vec::new(),
        segments: Vec::new(),
        rows: Vec::new(),
        groups: Vec::new(),
        ..outer.clone()
    };
    if !dimension.is_some_and(|dimension| dimension.propagate_filters_to_sub_query) {
        return Ok(inner);
    }
    for time in outer.times.iter().filter(|time| time.range.is_some()) {
        if !reads_sub_query(&compiled.cube(&time.cube.name)?.dimension(&time.dimension.name)?.raw) {
            let mut time = time.clone();
            time.granularity = None;
            inner.times.push(time);
        }
    }
    for segment in &outer.segments {
        if !reads_sub_query(&compiled.cube(&segment.cube.name)?.segment(&segment.segment.name)?.raw) {
            inner.segments.push(*segment);
        }
    }
    for condition in &outer.rows {
        if !has_sub_query(condition, compiled)? {
            inner.rows.push(condition.clone());
        }
    }
    Ok(inner)
}

/// Adds to `names` the cubes that the sub-query dimensions of `resolved` read, and theirs in turn.
pub(super) fn add_cubes(resolved: &Resolved<'_>, compiled: &CompiledModel, names: &mut Vec<String>) -> Result<()> {
    let mut open = Vec::new();
    let found = |expr: &Expr, open: &mut Vec<(String, String)>| {
        for column in expr.column_refs() {
            if let (Some(cube), Some(name)) = (&column.relation, column.name.strip_prefix(SUB_QUERY_COLUMN)) {
                open.push((cube.table().to_owned(), name.to_owned()));
            }
        }
    };
    for selected in &resolved.measures {
        let measure = compiled.cube(&selected.cube.name)?.measure(&selected.measure.name)?;
        measure.leaves.iter().for_each(|leaf| found(&leaf.joined, &mut open));
    }
    for selected in &resolved.dimensions {
        let cube = compiled.cube(&selected.cube.name)?;
        found(&cube.dimension(&selected.dimension.name)?.raw.expr, &mut open);
    }
    for time in &resolved.times {
        let cube = compiled.cube(&time.cube.name)?;
        found(&cube.dimension(&time.dimension.name)?.raw.expr, &mut open);
    }
    for selected in &resolved.segments {
        let cube = compiled.cube(&selected.cube.name)?;
        found(&cube.segment(&selected.segment.name)?.raw.expr, &mut open);
    }
    let mut conditions: Vec<&Condition<'_>> = resolved.rows.iter().chain(&resolved.groups).collect();
    while let Some(condition) = conditions.pop() {
        match condition {
            Condition::And(inner) | Condition::Or(inner) => conditions.extend(inner),
            Condition::Member { cube, member, .. } => {
                let cube = compiled.cube(&cube.name)?;
                match member {
                    Member::Dimension(dimension) => found(&cube.dimension(&dimension.name)?.raw.expr, &mut open),
                    Member::Segment(segment) => found(&cube.segment(&segment.name)?.raw.expr, &mut open),
                    Member::Measure(measure) => {
                        let leaves = &cube.measure(&measure.name)?.leaves;
                        leaves.iter().for_each(|leaf| found(&leaf.joined, &mut open));
                    }
                }
            }
        }
    }
    let mut seen = HashSet::new();
    while let Some((cube, name)) = open.pop() {
        if !seen.insert((cube.clone(), name.clone())) {
            continue;
        }
        let inner = inner(resolved, compiled, &cube, &name)?;
        for joined in inner_tree(&inner, compiled, &cube, &name)?.cubes() {
            if !names.iter().any(|known| known == joined) {
                names.push(joined.to_owned());
            }
        }
        let computed = compiled.cube(&cube)?.sub_query(&name)?;
        computed.leaves.iter().for_each(|leaf| found(&leaf.joined, &mut open));
    }
    Ok(())
}

fn reads_sub_query(column: &filter::Column) -> bool {
    let columns = column.expr.column_refs();
    columns.iter().any(|column| column.name.starts_with(SUB_QUERY_COLUMN))
}

fn has_sub_query(condition: &Condition<'_>, compiled: &CompiledModel) -> Result<bool> {
    let mut open = vec![condition];
    while let Some(condition) = open.pop() {
        match condition {
            Condition::And(inner) | Condition::Or(inner) => open.extend(inner),
            Condition::Member { cube, member, .. } => {
                let cube = compiled.cube(&cube.name)?;
                let found = match member {
                    Member::Dimension(dimension) => reads_sub_query(&cube.dimension(&dimension.name)?.raw),
                    Member::Segment(segment) => reads_sub_query(&cube.segment(&segment.name)?.raw),
                    Member::Measure(_) => false,
                };
                if found {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

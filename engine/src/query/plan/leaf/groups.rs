//! Groups of joined rows with their aggregates, also when the joins multiply the rows that are aggregated.
//!
//! A row that meets several rows of another cube stands several times in the joined rows. Aggregates that feel this, such
//! as sums, are computed from the distinct (keys, primary key, arguments) of the joined rows. All branches read the same
//! joined rows, so all have the same groups, and are put together on the keys, null being equal to null.

use super::{Rows, named};
use crate::error::{Error, Result};
use crate::query::compile::Leaf;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlanBuilder, lit};

/// Aggregates that are the same when rows stand several times, besides those over distinct values.
const INDIFFERENT: &[&str] = &[
    "min",
    "max",
    "approx_distinct",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
];

/// Name of the column of an aggregate.
pub(super) fn column(leaf: usize) -> String {
    format!("aggregate {leaf}")
}

/// Whether the aggregate changes when its rows stand several times.
fn feels_multiplication(aggregate: &Expr) -> bool {
    match aggregate {
        Expr::AggregateFunction(call) => !call.params.distinct && !INDIFFERENT.contains(&call.func.name()),
        _ => true,
    }
}

impl<'a> Rows<'a> {
    /// The groups of the joined rows: a column for each key under its name, and one for each of `leaves`.
    pub(super) fn groups(&self, keys: &[(String, Expr)], leaves: &[&'a Leaf]) -> Result<LogicalPlanBuilder> {
        let mut regular = Vec::new();
        let mut branches: Vec<(&str, Vec<(usize, &Leaf)>)> = Vec::new();
        for (at, leaf) in leaves.iter().enumerate() {
            let once =
                !self.tree.edges.is_empty() && feels_multiplication(&leaf.joined) && self.tree.multiplies(&leaf.cube);
            if !once {
                regular.push((at, *leaf));
                continue;
            }
            match branches.iter_mut().find(|(cube, _)| *cube == leaf.cube) {
                Some((_, of_cube)) => of_cube.push((at, leaf)),
                None => branches.push((&leaf.cube, vec![(at, leaf)])),
            }
        }
        let mut plans = Vec::with_capacity(1 + branches.len());
        if !regular.is_empty() || branches.is_empty() {
            plans.push(self.regular(keys, &regular)?);
        }
        for (cube, of_cube) in &branches {
            plans.push(self.once_per_key(cube, keys, of_cube)?);
        }
        let mut plans = plans.into_iter();
        let first = plans.next().ok_or_else(|| Error::internal("a query has no groups"))?;
        plans.enumerate().try_fold(first, |together, (at, branch)| {
            put_together(together, branch, keys, &format!("branch {at}"))
        })
    }

    fn regular(&self, keys: &[(String, Expr)], leaves: &[(usize, &Leaf)]) -> Result<LogicalPlanBuilder> {
        let form = |leaf: &Leaf| match self.tree.edges.is_empty() {
            true => leaf.alone.clone(),
            false => leaf.joined.clone(),
        };
        let mut aggregates: Vec<Expr> = leaves.iter().map(|(at, leaf)| form(leaf).alias(column(*at))).collect();
        if keys.is_empty() && aggregates.is_empty() {
            // A measure without an aggregate, such as a constant, still is one row.
            aggregates.push(count(lit(1_i64)).alias("rows"));
        }
        let groups: Vec<Expr> = keys.iter().map(|(key, expr)| expr.clone().alias(key)).collect();
        let rows = self.selected(&[&groups, &aggregates])?;
        Ok(rows.aggregate(groups, aggregates)?)
    }

    /// Aggregates of `cube`, each of whose rows counts once in each group.
    fn once_per_key(
        &self,
        cube: &str,
        keys: &[(String, Expr)],
        leaves: &[(usize, &Leaf)],
    ) -> Result<LogicalPlanBuilder> {
        let mut arguments = Arguments::default();
        for key in self.primary_key(cube)? {
            arguments.take(key);
        }
        let mut aggregates = Vec::with_capacity(leaves.len());
        for (at, leaf) in leaves {
            self.check_one_value(cube, &leaf.joined)?;
            aggregates.push(arguments.taken_from(leaf.joined.clone())?.alias(column(*at)));
        }
        let of_keys = keys.iter().map(|(key, expr)| expr.clone().alias(key));
        let columns = arguments.found.into_iter().enumerate();
        let distinct: Vec<Expr> = of_keys
            .chain(columns.map(|(at, expr)| expr.alias(Arguments::name(at))))
            .collect();
        let rows = self.selected(&[&distinct])?;
        let once = rows.aggregate(distinct, Vec::<Expr>::new())?;
        let groups: Vec<Expr> = keys.iter().map(|(key, _)| named(key.as_str())).collect();
        Ok(once.aggregate(groups, aggregates)?)
    }

    /// The joined rows that meet the query's conditions, with the columns that `used` needs.
    fn selected(&self, used: &[&[Expr]]) -> Result<LogicalPlanBuilder> {
        let condition = self.where_()?;
        let mut all = used.to_vec();
        all.push(condition.as_slice());
        let rows = self.joined(&all)?;
        match condition {
            Some(condition) => Ok(rows.filter(condition)?),
            None => Ok(rows),
        }
    }

    /// Refuses an argument that can have several values for one row of `cube`.
    fn check_one_value(&self, cube: &str, aggregate: &Expr) -> Result<()> {
        for read in aggregate.column_refs() {
            let other = read.relation.as_ref().map_or(cube, |relation| relation.table());
            if other != cube && self.tree.multiplies_towards(cube, other) {
                return Err(Error::invalid(format!(
                    "A measure of '{cube}' references cubes that lead to row multiplication: '{other}' has several rows for \
                     one of '{cube}'. Please rewrite it using sub query."
                )));
            }
        }
        Ok(())
    }
}

/// Adds the columns of `branch` to `together` where all keys are equal.
fn put_together(
    together: LogicalPlanBuilder,
    branch: LogicalPlanBuilder,
    keys: &[(String, Expr)],
    name: &str,
) -> Result<LogicalPlanBuilder> {
    if keys.is_empty() {
        return Ok(together.cross_join(branch.build()?)?);
    }
    let renamed = |at: usize| format!("{name} key {at}");
    let mut columns = Vec::with_capacity(branch.schema().fields().len());
    for field in branch.schema().fields() {
        let column = named(field.name());
        columns.push(match keys.iter().position(|(key, _)| key == field.name()) {
            Some(at) => column.alias(renamed(at)),
            None => column,
        });
    }
    let branch = branch.project(columns)?.build()?;
    let left: Vec<Column> = keys.iter().map(|(key, _)| Column::new_unqualified(key)).collect();
    let right: Vec<Column> = (0..keys.len()).map(|at| Column::new_unqualified(renamed(at))).collect();
    Ok(together.join_detailed(
        branch,
        JoinType::Inner,
        (left, right),
        None,
        NullEquality::NullEqualsNull,
    )?)
}

/// The distinct expressions on rows that aggregates read.
#[derive(Default)]
struct Arguments {
    found: Vec<Expr>,
}

impl Arguments {
    fn name(at: usize) -> String {
        format!("argument {at}")
    }

    /// The column that holds `expr`.
    fn take(&mut self, expr: Expr) -> Expr {
        let at = match self.found.iter().position(|known| *known == expr) {
            Some(at) => at,
            None => {
                self.found.push(expr);
                self.found.len() - 1
            }
        };
        named(Self::name(at))
    }

    /// `aggregate` over columns in the places of what it reads.
    fn taken_from(&mut self, aggregate: Expr) -> Result<Expr> {
        let taken = aggregate.transform_down(|expr| {
            let constant = matches!(expr, Expr::Literal(..)) || expr.column_refs().is_empty();
            match expr {
                Expr::AggregateFunction(_) => Ok(Transformed::no(expr)),
                expr if constant => Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump)),
                expr => Ok(Transformed::new(self.take(expr), true, TreeNodeRecursion::Jump)),
            }
        });
        Ok(taken?.data)
    }
}

//! The joined rows of a query.

use super::Rows;
use crate::error::{Error, Result};
use crate::model::Relationship;
use crate::model::{Cube, CubeSource};
use crate::query::compile::{CompiledModel, SUB_QUERY_COLUMN};
use crate::query::join::{Edge, JoinPath, Tree, distinct};
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Times that the conditions of joins may bring further cubes into a query.
const ROUNDS_MAX: usize = 32;

/// The tree of all cubes of `hints` and of those that the conditions of its joins refer to.
pub(super) fn tree(compiled: &CompiledModel, mut hints: Vec<JoinPath>) -> Result<Tree> {
    for _ in 0..ROUNDS_MAX {
        let tree = compiled.graph().tree(&hints)?;
        let mut further = Vec::new();
        for edge in &tree.edges {
            let condition = compiled.cube(&edge.from)?.join(&edge.to)?;
            let missing = condition.uses.iter().filter(|hint| {
                let cube = hint.last().map_or("", String::as_str);
                !tree.cubes().any(|joined| joined == cube)
            });
            further.extend(missing.cloned());
        }
        if further.is_empty() {
            return Ok(tree);
        }
        let at = hints.len().min(1);
        hints.splice(at..at, further);
        hints = distinct(hints);
    }
    Err(Error::model(
        "Can not construct joins for the query, potential loop detected",
    ))
}

/// The columns of each cube that a plan reads.
#[derive(Default)]
struct Used {
    columns: HashMap<String, HashSet<String>>,
    /// Whether some of them cannot be told, because SQL has a query in it.
    unknown: bool,
}

impl Used {
    fn add(&mut self, expr: &Expr) {
        let has_subquery = |expr: &Expr| {
            Ok(matches!(
                expr,
                Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
            ))
        };
        self.unknown |= expr.exists(has_subquery).unwrap_or(true);
        for column in expr.column_refs() {
            if let Some(relation) = &column.relation {
                let of_cube = self.columns.entry(relation.table().to_owned()).or_default();
                of_cube.insert(column.name.clone());
            }
        }
    }
}

impl Rows<'_> {
    /// The joined rows, with the columns that `used` and the joins themselves read.
    pub(super) fn joined(&self, used: &[&[Expr]]) -> Result<LogicalPlanBuilder> {
        let mut columns = Used::default();
        used.iter().copied().flatten().for_each(|expr| columns.add(expr));
        let mut open: Vec<(&Edge, &Expr, HashSet<&str>)> = Vec::with_capacity(self.tree.edges.len());
        for edge in &self.tree.edges {
            let condition = self.compiled.cube(&edge.from)?.join(&edge.to)?;
            columns.add(&condition.expr);
            let needs = condition.uses.iter().filter_map(|hint| hint.last());
            let needs = needs.filter(|cube| **cube != edge.to).map(String::as_str);
            open.push((edge, &condition.expr, needs.collect()));
        }
        let mut rows = LogicalPlanBuilder::from(self.relation(&self.tree.root, &mut columns)?);
        let mut joined = HashSet::from([self.tree.root.as_str()]);
        while !open.is_empty() {
            let ready = |(edge, _, needs): &(&Edge, &Expr, HashSet<&str>)| {
                joined.contains(edge.from.as_str()) && needs.is_subset(&joined)
            };
            let next = open
                .iter()
                .position(ready)
                .ok_or_else(|| Error::model("Can not construct joins for the query, potential loop detected"))?;
            let (edge, condition, _) = open.remove(next);
            let target = self.relation(&edge.to, &mut columns)?;
            rows = match edge.relationship {
                // The side that is kept in memory comes first: the one with a row for each key.
                Relationship::ManyToOne => {
                    LogicalPlanBuilder::from(target).join_on(rows.build()?, JoinType::Right, [condition.clone()])?
                }
                Relationship::OneToMany | Relationship::OneToOne => {
                    rows.join_on(target, JoinType::Left, [condition.clone()])?
                }
            };
            joined.insert(&edge.to);
        }
        Ok(rows)
    }

    /// The rows of one cube. Of a table only the columns that `used` names are described, because planning costs time for
    /// every column of every step.
    fn relation(&self, name: &str, used: &mut Used) -> Result<LogicalPlan> {
        let cube = self.compiled.model().cube(name, name)?;
        if let CubeSource::Funnel(_) = cube.source {
            return Err(Error::invalid(format!(
                "the funnel '{name}' cannot be joined with cubes"
            )));
        }
        let of_cube = used.columns.entry(name.to_owned()).or_default();
        let mut sub_queries: Vec<String> = of_cube
            .iter()
            .filter_map(|column| column.strip_prefix(SUB_QUERY_COLUMN))
            .map(str::to_owned)
            .collect();
        // An order of its own, so that equal queries have equal plans.
        sub_queries.sort_unstable();
        if !sub_queries.is_empty() {
            for key in self.primary_key(name)? {
                used.add(&key);
            }
        }
        let rows = self.own_rows(cube, used)?;
        sub_queries
            .iter()
            .try_fold(rows, |rows, dimension| self.with_sub_query(name, rows, dimension))
    }

    fn own_rows(&self, cube: &Cube, used: &Used) -> Result<LogicalPlan> {
        let full = self.compiled.cube(&cube.name)?.relation()?;
        if matches!(cube.source, CubeSource::Sql(_)) {
            return Ok(full.clone());
        }
        let LogicalPlan::SubqueryAlias(alias) = full else {
            return Ok(full.clone());
        };
        let LogicalPlan::TableScan(scan) = alias.input.as_ref() else {
            return Ok(full.clone());
        };
        if used.unknown {
            return Ok(full.clone());
        }
        let names = used.columns.get(&cube.name);
        let schema = scan.source.schema();
        let fields = schema.fields().iter().enumerate();
        let wanted = fields
            .filter(|(_, field)| names.is_some_and(|names| names.contains(field.name())))
            .map(|(at, _)| at)
            .collect();
        let narrow = LogicalPlanBuilder::scan(scan.table_name.clone(), Arc::clone(&scan.source), Some(wanted))?;
        Ok(narrow.alias(alias.alias.clone())?.build()?)
    }

    /// The expressions of the primary key of `cube`.
    pub(super) fn primary_key(&self, cube: &str) -> Result<Vec<Expr>> {
        let of_model = self.compiled.model().cube(cube, cube)?;
        let compiled = self.compiled.cube(cube)?;
        let mut keys = Vec::new();
        for dimension in of_model.dimensions.iter().filter(|dimension| dimension.primary_key) {
            keys.push(compiled.dimension(&dimension.name)?.raw.expr.clone());
        }
        match keys.is_empty() {
            true => Err(Error::invalid(format!(
                "One or more Primary key is required for '{cube}' cube"
            ))),
            false => Ok(keys),
        }
    }
}

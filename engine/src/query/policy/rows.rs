//! Row rules over scans: a cube's rows, wherever a plan reads them, pass the cube's rule.
//!
//! The scan of a cube carries its name ([`tables::tagged`]), so that it is found whatever a planner made around it.

use super::{Guarded, Rule, proof, rule_of_unnamed};
use crate::error::{Error, Result};
use crate::model::{Member, Model};
use crate::query::compile::CompiledModel;
use crate::query::params::{self, Asked};
use crate::query::{Filter, Query, filter, tables};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, SubqueryAlias, TableScan};
use std::sync::Arc;

/// The plan of a denied query: every scan gives no rows.
///
/// # Errors
/// When the plan cannot be rebuilt, which would be a defect.
pub fn without_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let emptied = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => Ok(Transformed::yes(LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: scan.projected_schema,
        }))),
        other => Ok(Transformed::no(other)),
    });
    Ok(emptied?.data)
}

/// Puts the rule of every cube over those of its scans that the query's own filters do not reach already.
///
/// # Errors
/// `Invalid` when a rule cannot be written over the cube's rows.
pub fn over_scans(
    plan: LogicalPlan,
    guarded: &Guarded<'_>,
    compiled: &CompiledModel,
    asked: &Asked<'_>,
) -> Result<LogicalPlan> {
    let model = compiled.model();
    let with_policies = |cube: &str| model.cubes.get(cube).is_some_and(|cube| !cube.access_policy.is_empty());
    let missing: Vec<String> = proof::scanned_cubes(&plan)?
        .into_iter()
        .filter(|cube| with_policies(cube))
        .collect();
    if missing.is_empty() {
        return Ok(plan);
    }
    let placed = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::SubqueryAlias(alias) = &node else {
            return Ok(Transformed::no(node));
        };
        let name = alias.alias.table();
        let reads_it = missing.iter().any(|cube| cube == name) && proof::directly_scans(&alias.input, name);
        if !reads_it {
            return Ok(Transformed::no(node));
        }
        let ruled = ruled(alias, name, guarded, compiled, asked);
        let ruled = ruled.map_err(|error| DataFusionError::External(error.into()))?;
        // What is below is the cube's own SQL, which is its author's.
        Ok(Transformed::new(ruled, true, TreeNodeRecursion::Jump))
    });
    placed.map(|placed| placed.data).map_err(params::ours)
}

/// The rows of the cube `name` that its rule lets pass, with the same columns.
fn ruled(
    alias: &SubqueryAlias,
    name: &str,
    guarded: &Guarded<'_>,
    compiled: &CompiledModel,
    asked: &Asked<'_>,
) -> Result<LogicalPlan> {
    let plan = LogicalPlan::SubqueryAlias(alias.clone());
    let rule = match guarded.rules.get(name) {
        Some(rule) => rule.clone(),
        None => rule_of_unnamed(compiled.model().cube(name, name)?, &guarded.query)?,
    };
    let filter = match rule {
        Rule::All => return Ok(plan),
        Rule::None => {
            return Ok(LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: false,
                schema: Arc::clone(plan.schema()),
            }));
        }
        Rule::If(filter) => filter,
    };
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let whole = LogicalPlanBuilder::from(alias.input.as_ref().clone());
    let whole = match alias.input.as_ref() {
        // A scan may have been narrowed to the columns that the query names.
        LogicalPlan::TableScan(TableScan { table_name, source, .. }) => {
            LogicalPlanBuilder::scan(table_name.clone(), Arc::clone(source), None)?
        }
        _ => whole,
    };
    let whole = whole.alias(TableReference::bare(name))?;
    let condition = expression(&filter, compiled, &guarded.query, whole.schema(), asked)?;
    Ok(whole.filter(condition)?.project(columns)?.build()?)
}

/// A rule's filter over the rows of its cube, whose columns are `schema`. Recursion is bounded as that of policies.
///
/// # Errors
/// `Invalid` when it names a measure or something that is not computed from the cube's own rows.
pub fn expression(
    filter: &Filter,
    compiled: &CompiledModel,
    query: &Query,
    schema: &DFSchema,
    asked: &Asked<'_>,
) -> Result<Expr> {
    let (inner, and) = match filter {
        Filter::And(inner) => (inner, true),
        Filter::Or(inner) => (inner, false),
        Filter::Member {
            member,
            operator,
            values,
        } => {
            let column = column(member, compiled)?;
            let known = column
                .expr
                .column_refs()
                .into_iter()
                .all(|column| schema.has_column(column));
            if !known {
                return Err(beyond(member));
            }
            let lowered = filter::lower(*operator, values, &column, query.timezone)?;
            return params::fill_expression(lowered, schema, asked);
        }
    };
    let all: Result<Vec<Expr>> = inner
        .iter()
        .map(|one| expression(one, compiled, query, schema, asked))
        .collect();
    filter::balanced(all?, and).ok_or_else(|| Error::internal("a row rule is empty"))
}

/// The expression of the dimension that a rule names; a view's is that of the member it shows.
pub(super) fn column(path: &str, compiled: &CompiledModel) -> Result<filter::Column> {
    let (cube, dimension) = match compiled.model().member(path)? {
        (cube, Member::Dimension(dimension)) => (cube, dimension),
        _ => return Err(beyond(path)),
    };
    let (cube, name) = match &dimension.origin {
        Some(origin) => (origin.cube(), origin.member.as_str()),
        None => (cube.name.as_str(), dimension.name.as_str()),
    };
    Ok(compiled.cube(cube)?.dimension(name)?.column.clone())
}

fn beyond(path: &str) -> Error {
    Error::invalid(format!(
        "the access policy filters rows by '{path}', which is not computed from its cube's own rows: name a dimension \
         whose SQL needs no other cube"
    ))
}

/// The names of the cubes that the members of a view's rule come from, for the proof.
pub(super) fn owners(filter: &Filter, model: &Model) -> Vec<String> {
    let mut owners = Vec::new();
    let mut open = vec![filter];
    while let Some(filter) = open.pop() {
        match filter {
            Filter::And(inner) | Filter::Or(inner) => open.extend(inner),
            Filter::Member { member, .. } => {
                if let Ok((cube, Member::Dimension(dimension))) = model.member(member) {
                    let owner = dimension
                        .origin
                        .as_ref()
                        .map_or(cube.name.as_str(), |origin| origin.cube());
                    owners.push(owner.to_owned());
                }
            }
        }
    }
    owners
}

/// Names of all tables that a plan can be bound to; here so that the tag's meaning stands in one place.
pub(super) fn tag_of(scan: &TableScan) -> Option<&str> {
    scan.source.downcast_ref::<tables::UnboundTable>()?.cube()
}

//! The second look at a plan: every scan of a cube with policies is under that cube's rule.
//!
//! This does not ask what [`super::guard`] and [`super::rows`] did. It takes the query as the client sent it, works out
//! the rules member by member once more in its own way, and walks the plan with the conditions it meets.

use super::rows::{column, owners, tag_of};
use super::{asker, references};
use crate::error::{Error, Result};
use crate::model::{Cube, Model, RowFilter};
use crate::query::compile::CompiledModel;
use crate::query::params::{self, Asked};
use crate::query::{Filter, Query, filter};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator as Sql};
use std::collections::BTreeSet;

/// Levels of a plan that are walked.
const DEPTH_MAX: usize = 2_000;

/// Names of the cubes whose rows `plan` reads.
///
/// # Errors
/// None for a plan that can be walked.
pub fn scanned_cubes(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut cubes = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            cubes.extend(tag_of(scan).map(str::to_owned));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(cubes)
}

/// Whether every scan of `plan` belongs to `cube` and there is one.
pub fn directly_scans(plan: &LogicalPlan, cube: &str) -> bool {
    let mut tags = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tags.push(tag_of(scan).map(str::to_owned));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok() && !tags.is_empty() && tags.iter().all(|tag| tag.as_deref() == Some(cube))
}

/// Checks `plan`, made for `query`, whose markers are filled.
///
/// # Errors
/// `Internal`, because a plan for which this does not hold is a defect; it is not run.
pub fn check(plan: &LogicalPlan, query: &Query, compiled: &CompiledModel, asked: &Asked<'_>) -> Result<()> {
    let model = compiled.model();
    if model.cubes.values().all(|cube| cube.access_policy.is_empty()) {
        return Ok(());
    }
    let required = required(plan, query, model)?;
    let mut walk = Walk {
        required: &required,
        compiled,
        query,
        asked,
        failed: None,
    };
    walk.node(plan, &[], 0)?;
    match walk.failed {
        Some(cube) => Err(Error::internal(format!(
            "a scan of `{cube}` is not under the row rule of its access policy"
        ))),
        None => Ok(()),
    }
}

/// What the rows of a cube must fulfil: all of these, each of which is one of several policies' filters. `None` in the
/// place of the filters is no row at all.
struct Required {
    /// Scans of this cube.
    cube: String,
    /// The policies of this cube or view.
    of: String,
    /// One of these; each a conjunction.
    any: Vec<Vec<RowFilter>>,
}

/// The rules member by member. A cube that is only scanned, but not named, has that of all its policies.
fn required(plan: &LogicalPlan, query: &Query, model: &Model) -> Result<Vec<Required>> {
    let named = references::of_query(model, query)?;
    let mut all = Vec::new();
    let mut cubes: BTreeSet<String> = scanned_cubes(plan)?;
    cubes.extend(named.cubes.keys().cloned());
    for name in cubes {
        let Some(cube) = model.cubes.get(&name).filter(|cube| !cube.access_policy.is_empty()) else {
            continue;
        };
        let members: Vec<Option<&str>> = match named.cubes.get(&name) {
            Some(members) if !members.is_empty() => members.iter().map(|member| Some(member.as_str())).collect(),
            _ => vec![None],
        };
        for member in members {
            let shielded = named.by_view.contains(&name);
            let Some(any) = filters_for(cube, member.filter(|_| !shielded), query)? else {
                continue;
            };
            let scans = match cube.view() {
                Some(_) => view_scans(&any, cube, model),
                None => vec![name.clone()],
            };
            for scan in scans {
                all.push(Required {
                    cube: scan,
                    of: name.clone(),
                    any: any.clone(),
                });
            }
        }
    }
    Ok(all)
}

/// The filters of the policies that grant `member`, or of all when there is no member; `None` when one has no filter.
fn filters_for(cube: &Cube, member: Option<&str>, query: &Query) -> Result<Option<Vec<Vec<RowFilter>>>> {
    let asker = asker(query);
    let mut any = Vec::new();
    for policy in &cube.access_policy {
        if !policy.applies(&asker).map_err(Error::invalid)? {
            continue;
        }
        if member.is_some_and(|member| !policy.grants(member)) {
            continue;
        }
        match policy.row_filters() {
            Some(filters) => any.push(filters.to_vec()),
            None => return Ok(None),
        }
    }
    Ok(Some(any))
}

/// The cubes whose scans a view's rule must be over.
fn view_scans(any: &[Vec<RowFilter>], view: &Cube, model: &Model) -> Vec<String> {
    let mut open: Vec<&RowFilter> = any.iter().flatten().collect();
    let mut scans = BTreeSet::new();
    while let Some(filter) = open.pop() {
        match filter {
            RowFilter::And(inner) | RowFilter::Or(inner) => open.extend(inner),
            RowFilter::Member { member, .. } => {
                let path = Filter::Member {
                    member: format!("{}.{member}", view.name),
                    operator: crate::query::Operator::Set,
                    values: Vec::new(),
                };
                scans.extend(owners(&path, model));
            }
        }
    }
    scans.into_iter().collect()
}

struct Walk<'a> {
    required: &'a [Required],
    compiled: &'a CompiledModel,
    query: &'a Query,
    asked: &'a Asked<'a>,
    failed: Option<String>,
}

impl Walk<'_> {
    /// `held` are the conditions that every row of `plan` must pass before it is counted. Recursion is bounded by
    /// [`DEPTH_MAX`].
    fn node(&mut self, plan: &LogicalPlan, held: &[Expr], depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::internal("a plan is too deep to be checked"));
        }
        // The rows of a cube are those of its own SQL, which may group and limit as its author wants.
        let cube = match plan {
            LogicalPlan::SubqueryAlias(alias) if directly_scans(&alias.input, alias.alias.table()) => {
                Some(alias.alias.table())
            }
            LogicalPlan::TableScan(scan) => tag_of(scan),
            _ => None,
        };
        if let Some(cube) = cube {
            for required in self.required.iter().filter(|required| required.cube == cube) {
                if !self.holds(required, held)? {
                    self.failed = Some(required.of.clone());
                }
            }
            return Ok(());
        }
        let mut below: Vec<Expr> = match plan {
            // Above these a condition is on groups or on some of the rows, not on every row.
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::RecursiveQuery(_) => Vec::new(),
            _ => held.to_vec(),
        };
        if let LogicalPlan::Filter(filter) = plan {
            below.extend(conjuncts(&filter.predicate));
        }
        for input in plan.inputs() {
            self.node(input, &below, depth + 1)?;
        }
        let mut inside = Ok(());
        plan.apply_subqueries(|subquery| {
            if inside.is_ok() {
                // The conditions of the outer query say nothing of the rows of an inner one.
                inside = self.node(subquery, &[], depth + 1);
            }
            Ok(TreeNodeRecursion::Jump)
        })?;
        inside
    }

    fn holds(&self, required: &Required, held: &[Expr]) -> Result<bool> {
        if held.iter().any(is_false) {
            return Ok(true);
        }
        let cube = self.compiled.model().cube(&required.of, &required.of)?;
        let mut alternatives = Vec::new();
        for filters in &required.any {
            match self.alternative(filters, cube)? {
                Some(alternative) => alternatives.push(alternative),
                // A filter that nobody can pass adds nothing to the others.
                None => continue,
            }
        }
        if alternatives.iter().any(Vec::is_empty) {
            // Some policy grants every row.
            return Ok(true);
        }
        Ok(match alternatives.as_slice() {
            // No row may be read, and here is a scan.
            [] => false,
            [one] => one.iter().all(|wanted| held.iter().any(|fact| same(fact, wanted))),
            several => {
                let wanted = several.iter().filter_map(|one| filter::balanced(one.clone(), true));
                let wanted = filter::balanced(wanted.collect(), false);
                wanted.is_some_and(|wanted| held.iter().any(|fact| same(fact, &wanted)))
            }
        })
    }

    /// The conditions of one policy; `None` when no row passes them.
    fn alternative(&self, filters: &[RowFilter], cube: &Cube) -> Result<Option<Vec<Expr>>> {
        let mut all = Vec::new();
        for one in filters {
            match super::lowered(cube, one, self.query)? {
                super::Rule::All => {}
                super::Rule::None => return Ok(None),
                super::Rule::If(filter) => all.extend(conjuncts(&self.expression(&filter)?)),
            }
        }
        Ok(Some(all))
    }

    /// Recursion is bounded as that of policies.
    fn expression(&self, wanted: &Filter) -> Result<Expr> {
        match wanted {
            Filter::Member {
                member,
                operator,
                values,
            } => {
                let column = column(member, self.compiled)?;
                let lowered = filter::lower(*operator, values, &column, self.query.timezone)?;
                params::fill_expression(lowered, &datafusion::common::DFSchema::empty(), self.asked)
            }
            Filter::And(inner) | Filter::Or(inner) => {
                let and = matches!(wanted, Filter::And(_));
                let all: Result<Vec<Expr>> = inner.iter().map(|one| self.expression(one)).collect();
                filter::balanced(all?, and).ok_or_else(|| Error::internal("a row rule is empty"))
            }
        }
    }
}

fn is_false(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(false)), _)
    )
}

/// The parts of a conjunction.
fn conjuncts(expr: &Expr) -> Vec<Expr> {
    parts(expr, Sql::And)
}

/// The parts of a chain of `operator`, whatever its shape.
fn parts(expr: &Expr, operator: Sql) -> Vec<Expr> {
    let mut found = Vec::new();
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == operator => open.extend([&**right, &**left]),
            other => found.push(other.clone()),
        }
    }
    found
}

/// Whether two conditions are the same but for the order and the grouping of `and` and `or`.
fn same(one: &Expr, two: &Expr) -> bool {
    if one == two {
        return true;
    }
    for operator in [Sql::And, Sql::Or] {
        let (ones, twos) = (parts(one, operator), parts(two, operator));
        if ones.len() > 1 || twos.len() > 1 {
            return ones.iter().all(|a| twos.iter().any(|b| same(a, b)))
                && twos.iter().all(|b| ones.iter().any(|a| same(a, b)));
        }
    }
    false
}

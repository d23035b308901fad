//! Finds the parts of a client's plan that are queries of cubes. From below: as long as a node says what a typed query
//! can say, the part grows; where it does not, the part becomes that query's plan, and the node runs on its rows.

use super::aggregate::{self, unaliased};
use super::catalog::{CubeTable, Described};
use super::close::{self, Question};
use super::condition::{Translator, joins};
use super::part::{Part, as_member, is_join_field, is_scalar};
use super::{Asked, SqlKind};
use crate::error::{Error, Result};
use crate::query::compile::CompiledModel;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchemaRef, JoinType};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::logical_plan::{FetchType, Join, SkipType, Sort, TableScan};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Subquery};
use std::collections::HashSet;
use std::sync::Arc;

/// Works on one statement.
pub struct Rewriter<'a> {
    /// The model.
    pub compiled: &'a CompiledModel,
    /// The functions, ours included.
    pub functions: &'a SessionState,
    /// Who asks, and in which zone.
    pub asked: &'a Asked,
    /// Every word of the text.
    pub words: &'a HashSet<String>,
    /// The queries found so far.
    pub questions: Vec<Question>,
}

/// A plan of the client's, or a part that may still grow.
enum Node {
    Part(Box<Part>),
    Plan(LogicalPlan),
}

impl From<Part> for Node {
    fn from(part: Part) -> Self {
        Node::Part(Box::new(part))
    }
}

impl Rewriter<'_> {
    /// The plan with queries of cubes in the place of their tables, and of which kind it is.
    ///
    /// # Errors
    /// `Invalid` for what cannot be answered.
    pub fn rewritten(&mut self, plan: LogicalPlan) -> Result<(LogicalPlan, SqlKind)> {
        match self.node(plan)? {
            Node::Plan(plan) => Ok((plan, SqlKind::PostProcessing)),
            Node::Part(part) => {
                let plan = self.close(&part)?;
                let question = self.questions.last();
                let kind = match question {
                    Some(question) if !question.is_plain() => SqlKind::PostProcessing,
                    Some(question) if !question.made.is_empty() => SqlKind::Pushdown,
                    _ => SqlKind::Regular,
                };
                Ok((plan, kind))
            }
        }
    }

    /// The part's query as a plan.
    fn close(&mut self, part: &Part) -> Result<LogicalPlan> {
        let question = close::question(self, part)?;
        let plan = close::plan(self, part, &question)?;
        self.questions.push(question);
        Ok(plan)
    }

    fn closed(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        match self.node(plan)? {
            Node::Plan(plan) => Ok(plan),
            Node::Part(part) => self.close(&part),
        }
    }

    /// Recursion is bounded by the number of a plan's nodes.
    fn node(&mut self, plan: LogicalPlan) -> Result<Node> {
        let plan = self.with_subqueries(plan)?;
        match plan {
            LogicalPlan::TableScan(scan) => scan_of(&scan),
            LogicalPlan::SubqueryAlias(alias) => {
                let schema = Arc::clone(&alias.schema);
                match self.node(Arc::unwrap_or_clone(alias.input))? {
                    Node::Part(part) => Ok(Part { schema, ..*part }.into()),
                    Node::Plan(plan) => built(LogicalPlanBuilder::from(plan).alias(alias.alias)?),
                }
            }
            LogicalPlan::Projection(projection) => {
                let schema = Arc::clone(&projection.schema);
                match self.node(Arc::unwrap_or_clone(projection.input))? {
                    Node::Part(part) => match projected(&part, &projection.expr, schema)? {
                        Some(part) => Ok(part.into()),
                        None => built(LogicalPlanBuilder::from(self.close(&part)?).project(projection.expr)?),
                    },
                    Node::Plan(plan) => built(LogicalPlanBuilder::from(plan).project(projection.expr)?),
                }
            }
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(Arc::unwrap_or_clone(input)),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Window(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::Distinct(Distinct::On(_)) => self.rebuilt(plan),
            other => Err(Error::invalid(format!(
                "`{}` is not supported in SQL over cubes",
                other.display().to_string().chars().take(100).collect::<String>()
            ))),
        }
    }

    /// A node that runs on the rows of its inputs.
    fn rebuilt(&mut self, plan: LogicalPlan) -> Result<Node> {
        let rebuilt = plan.map_children(|child| {
            let closed = self.closed(child).map_err(external)?;
            Ok(Transformed::yes(closed))
        });
        let plan = rebuilt.map_err(super::catalog::planning)?.data;
        Ok(Node::Plan(plan.recompute_schema().map_err(super::catalog::planning)?))
    }

    /// The node with the subqueries of its expressions rewritten.
    fn with_subqueries(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let replaced = plan.map_expressions(|expr| {
            expr.transform_down(|expr| {
                Ok(match expr {
                    Expr::ScalarSubquery(subquery) => Transformed::yes(Expr::ScalarSubquery(self.subquery(subquery)?)),
                    Expr::InSubquery(mut inside) => {
                        inside.subquery = self.subquery(inside.subquery)?;
                        Transformed::yes(Expr::InSubquery(inside))
                    }
                    Expr::Exists(mut exists) => {
                        exists.subquery = self.subquery(exists.subquery)?;
                        Transformed::yes(Expr::Exists(exists))
                    }
                    Expr::SetComparison(mut compared) => {
                        compared.subquery = self.subquery(compared.subquery)?;
                        Transformed::yes(Expr::SetComparison(compared))
                    }
                    other => Transformed::no(other),
                })
            })
        });
        Ok(replaced.map_err(super::catalog::planning)?.data)
    }

    fn subquery(&mut self, subquery: Subquery) -> datafusion::error::Result<Subquery> {
        let plan = self.closed(Arc::unwrap_or_clone(subquery.subquery)).map_err(external)?;
        Ok(Subquery {
            subquery: Arc::new(plan),
            ..subquery
        })
    }

    fn filter(&mut self, filter: Filter) -> Result<Node> {
        let part = match self.node(Arc::unwrap_or_clone(filter.input))? {
            Node::Part(part) => part,
            Node::Plan(plan) => return built(LogicalPlanBuilder::from(plan).filter(filter.predicate)?),
        };
        if !part.is_limited()
            && is_scalar(&filter.predicate, part.grouped.is_none())
            && let Some(condition) = part.substituted(&filter.predicate)?
        {
            match &part.grouped {
                None => {
                    let mut part = *part;
                    part.conditions.push(condition);
                    return Ok(part.into());
                }
                Some(grouped) => {
                    let said = Translator::new(&part, self.functions, self.asked.timezone()).all(&[condition]);
                    // A condition on a key of the groups holds for the group as for its rows.
                    if said.rest.is_empty() && said.ranges.is_empty() && said.segments.is_empty() {
                        let mut grouped = grouped.clone();
                        grouped.having.extend(said.filters);
                        return Ok(Part {
                            grouped: Some(grouped),
                            ..*part
                        }
                        .into());
                    }
                }
            }
        }
        let plan = self.close(&part)?;
        built(LogicalPlanBuilder::from(plan).filter(filter.predicate)?)
    }

    fn aggregate(&mut self, aggregate: Aggregate) -> Result<Node> {
        let Aggregate {
            input,
            group_expr,
            aggr_expr,
            schema,
            ..
        } = aggregate;
        let input = match self.node(Arc::unwrap_or_clone(input))? {
            Node::Plan(plan) => plan,
            Node::Part(part) => {
                if part.grouped.is_none() && !part.is_limited() {
                    let keys = all_substituted(&part, &group_expr)?;
                    let aggregates = all_substituted(&part, &aggr_expr)?;
                    if let (Some(keys), Some(aggregates)) = (keys, aggregates)
                        && let Some(grouped) = aggregate::group(&part, &keys, &aggregates, schema)?
                    {
                        return Ok(grouped.into());
                    }
                }
                self.close(&part)?
            }
        };
        refuse_measures(&aggr_expr)?;
        built(LogicalPlanBuilder::from(input).aggregate(group_expr, aggr_expr)?)
    }

    fn distinct(&mut self, input: LogicalPlan) -> Result<Node> {
        let schema = Arc::clone(input.schema());
        let input = match self.node(input)? {
            Node::Plan(plan) => plan,
            Node::Part(part) => {
                if !part.is_limited() && part.order.is_empty() {
                    match &part.grouped {
                        None => {
                            if let Some(grouped) = aggregate::group(&part, &part.exprs, &[], schema)? {
                                return Ok(grouped.into());
                            }
                        }
                        // With all keys among the columns no two groups are alike.
                        Some(grouped) => {
                            let shown: HashSet<&str> = part.exprs.iter().filter_map(as_member).collect();
                            if grouped.keys().iter().all(|key| shown.contains(key.as_str())) {
                                return Ok(Node::Part(part));
                            }
                        }
                    }
                }
                self.close(&part)?
            }
        };
        built(LogicalPlanBuilder::from(input).distinct()?)
    }

    fn sort(&mut self, sort: Sort) -> Result<Node> {
        let part = match self.node(Arc::unwrap_or_clone(sort.input))? {
            Node::Part(part) => part,
            Node::Plan(plan) => return built(LogicalPlanBuilder::from(plan).sort(sort.expr)?),
        };
        let mut order = Vec::with_capacity(sort.expr.len());
        for key in &sort.expr {
            // Nulls are last when ascending and first when descending, as in PostgreSQL.
            let usual = key.nulls_first != key.asc;
            let expr = part.substituted(&key.expr)?;
            let path = expr.as_ref().and_then(|expr| as_member(uncast(&part, unaliased(expr))));
            match path {
                Some(path) if usual && !is_join_field(path) && !is_segment(&part, path) => {
                    order.push((path.to_owned(), !key.asc));
                }
                _ => break,
            }
        }
        if order.len() == sort.expr.len() && !part.is_limited() && sort.fetch.is_none() {
            return Ok(Part { order, ..*part }.into());
        }
        let plan = self.close(&part)?;
        built(LogicalPlanBuilder::from(plan).sort(sort.expr)?)
    }

    fn limit(&mut self, limit: Limit) -> Result<Node> {
        let (skip, fetch) = match (limit.get_skip_type(), limit.get_fetch_type()) {
            (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) => (skip, fetch),
            _ => {
                return Err(Error::invalid(
                    "LIMIT and OFFSET must be whole numbers that are not negative",
                ));
            }
        };
        match self.node(Arc::unwrap_or_clone(limit.input))? {
            Node::Part(part) if !part.is_limited() => Ok(Part {
                skip: skip as u64,
                fetch: fetch.map(|rows| rows as u64),
                ..*part
            }
            .into()),
            Node::Part(part) => {
                let plan = self.close(&part)?;
                built(LogicalPlanBuilder::from(plan).limit(skip, fetch)?)
            }
            Node::Plan(plan) => built(LogicalPlanBuilder::from(plan).limit(skip, fetch)?),
        }
    }

    /// Cubes are joined as the model joins them when the client joins them by their join field, or leaves out the
    /// condition. Anything else is a join of rows.
    fn join(&mut self, join: Join) -> Result<Node> {
        let schema = Arc::clone(&join.schema);
        let left = self.node(join.left.as_ref().clone())?;
        let right = self.node(join.right.as_ref().clone())?;
        if let (Node::Part(left), Node::Part(right)) = (&left, &right)
            && let Some(joined) = merged(left, right, &join, schema)?
        {
            return Ok(joined.into());
        }
        let mut plans = Vec::with_capacity(2);
        let mut rows = 0;
        for side in [left, right] {
            plans.push(match side {
                Node::Plan(plan) => plan,
                Node::Part(part) => {
                    rows += usize::from(part.grouped.is_none() && !part.is_limited());
                    self.close(&part)?
                }
            });
        }
        if rows == 2 && join.on.is_empty() && !has_equality(join.filter.as_ref()) {
            return Err(Error::invalid(
                "a join of all rows with all rows is not supported: join cubes with CROSS JOIN of the cubes themselves, by \
                 `__cubeJoinField`, or with an equality in ON",
            ));
        }
        let mut plans = plans.into_iter();
        let (Some(left), Some(right)) = (plans.next(), plans.next()) else {
            return Err(Error::internal("a join without sides"));
        };
        let rebuilt = LogicalPlan::Join(Join {
            left: Arc::new(left),
            right: Arc::new(right),
            ..join
        });
        Ok(Node::Plan(
            rebuilt.recompute_schema().map_err(super::catalog::planning)?,
        ))
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(error.into())
}

fn built(builder: LogicalPlanBuilder) -> Result<Node> {
    Ok(Node::Plan(builder.build().map_err(super::catalog::planning)?))
}

fn scan_of(scan: &TableScan) -> Result<Node> {
    if let Some(table) = scan.source.downcast_ref::<CubeTable>() {
        return Ok(Part::scan(&table.cube, Arc::clone(&scan.projected_schema)).into());
    }
    match scan.source.downcast_ref::<Described>() {
        Some(table) => built(LogicalPlanBuilder::from(table.plan()?).alias(scan.table_name.clone())?),
        None => Err(Error::internal(format!(
            "`{}` is no table of the catalog",
            scan.table_name
        ))),
    }
}

/// The bucket that a column is in another type: it has the same order.
fn uncast<'e>(part: &Part, expr: &'e Expr) -> &'e Expr {
    match (&part.grouped, expr) {
        (Some(grouped), Expr::Cast(cast)) => {
            let is_bucket = |path: &str| grouped.times.iter().any(|(time, of)| path == format!("{time}.{of}"));
            match as_member(&cast.expr) {
                Some(path) if is_bucket(path) => &cast.expr,
                _ => expr,
            }
        }
        _ => expr,
    }
}

fn is_segment(part: &Part, path: &str) -> bool {
    part.grouped.is_none() && matches!(part.kind(path), Some(super::part::Kind::Segment))
}

/// The part with other columns. `None` when they are not computed from single rows.
fn projected(part: &Part, exprs: &[Expr], schema: DFSchemaRef) -> Result<Option<Part>> {
    if !exprs.iter().all(|expr| is_scalar(expr, false)) {
        return Ok(None);
    }
    let exprs = match all_substituted(part, exprs)? {
        Some(exprs) => exprs.iter().map(|expr| unaliased(expr).clone()).collect(),
        None => return Ok(None),
    };
    Ok(Some(Part {
        exprs,
        schema,
        ..part.clone()
    }))
}

fn all_substituted(part: &Part, exprs: &[Expr]) -> Result<Option<Vec<Expr>>> {
    exprs.iter().map(|expr| part.substituted(expr)).collect()
}

/// `MEASURE` over rows that are no longer those of a cube.
fn refuse_measures(aggregates: &[Expr]) -> Result<()> {
    let is_measure =
        |expr: &Expr| matches!(expr, Expr::AggregateFunction(call) if call.func.name() == super::functions::MEASURE);
    match aggregates
        .iter()
        .find(|expr| expr.exists(|e| Ok(is_measure(e))).unwrap_or(true))
    {
        Some(expr) => Err(Error::invalid(format!(
            "`{}` cannot be answered here: MEASURE() works on the columns of a cube or view, not of a limited, grouped or \
             otherwise joined subquery",
            aggregate::shown(expr)
        ))),
        None => Ok(()),
    }
}

/// Two parts as one, when the client joins them as the model does.
fn merged(left: &Part, right: &Part, join: &Join, schema: DFSchemaRef) -> Result<Option<Part>> {
    let rows = |part: &Part| part.grouped.is_none() && !part.is_limited() && part.order.is_empty();
    if !rows(left) || !rows(right) || !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return Ok(None);
    }
    let both = Part {
        exprs: left.exprs.iter().chain(&right.exprs).cloned().collect(),
        conditions: left.conditions.iter().chain(&right.conditions).cloned().collect(),
        cubes: left.cubes.iter().chain(&right.cubes).cloned().collect(),
        hints: left.hints.iter().chain(&right.hints).cloned().collect(),
        schema,
        ..left.clone()
    };
    // Conditions of the right side of an outer join do not select rows of the left.
    if join.join_type == JoinType::Left && !right.conditions.is_empty() {
        return Ok(None);
    }
    for (one, other) in &join.on {
        let pair = one.clone().eq(other.clone());
        if !both.substituted(&pair)?.is_some_and(|pair| joins(&pair)) {
            return Ok(None);
        }
    }
    if let Some(filter) = &join.filter {
        let by_field = both.substituted(filter)?.is_some_and(|filter| joins(&filter));
        if !by_field {
            return Ok(None);
        }
    }
    let names: HashSet<&str> = both.cubes.iter().map(|cube| cube.name.as_str()).collect();
    if names.len() != both.cubes.len() {
        return Err(Error::invalid(
            "a cube cannot be joined with itself: join subqueries of it with an equality in ON",
        ));
    }
    let mut both = both;
    for cube in &left.cubes {
        for other in &right.cubes {
            if cube.joins.iter().any(|join| join.target == other.name) {
                both.hints.push(vec![cube.name.clone(), other.name.clone()]);
            }
        }
    }
    Ok(Some(both))
}

/// Whether a condition of a join has an equality in it, so that not all rows meet all rows.
fn has_equality(filter: Option<&Expr>) -> bool {
    use datafusion::logical_expr::Operator;
    use datafusion::logical_expr::utils::split_conjunction;
    let equal = |expr: &&Expr| match expr {
        Expr::BinaryExpr(binary) => {
            binary.op == Operator::Eq && !binary.left.column_refs().is_empty() && !binary.right.column_refs().is_empty()
        }
        _ => false,
    };
    filter.is_some_and(|filter| split_conjunction(filter).iter().any(equal))
}

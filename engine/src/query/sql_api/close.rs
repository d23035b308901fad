//! From a finished part to a typed query, its plan, and the columns that the rest of the client's SQL reads.

use super::aggregate::{Made, What, made_path};
use super::condition::Translator;
use super::part::{Kind, Part, as_member, is_join_field, member, members};
use super::rewrite::Rewriter;
use super::{extend, part};
use crate::error::{Error, Result};
use crate::model::{Measure, MeasureType};
use crate::query::{OrderBy, Query, QueryTimeDimension, plan};
use arrow::datatypes::{DataType, Field, TimeUnit};
use chrono_tz::Tz;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue, TableReference};
use datafusion::functions::datetime::expr_fn::to_local_time;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TryCast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use std::collections::HashMap;
use std::sync::Arc;

/// A typed query and what makes its answer the columns of the part.
#[derive(Debug, Clone)]
pub struct Question {
    /// The query.
    pub query: Query,
    /// Members it brings itself.
    pub made: Vec<Made>,
    /// The part's columns over the keys of the answer.
    pub exprs: Vec<Expr>,
}

impl Question {
    /// Whether the columns are keys of the answer, in whichever type, and nothing is computed from them.
    pub fn is_plain(&self) -> bool {
        fn plain(expr: &Expr) -> bool {
            match expr {
                Expr::Cast(cast) => plain(&cast.expr),
                Expr::Literal(value, _) => value.is_null(),
                other => as_member(other).is_some(),
            }
        }
        self.exprs.iter().all(plain)
    }
}

/// The typed query that `part` is.
///
/// # Errors
/// `Invalid` for what has no meaning, such as a condition that mixes measures and dimensions.
pub fn question(rewriter: &Rewriter<'_>, part: &Part) -> Result<Question> {
    let asked = rewriter.asked;
    let said = Translator::new(part, rewriter.functions, asked.timezone()).all(&part.conditions);
    let mut query = Query {
        join_hints: part.hints.clone(),
        filters: said.filters,
        segments: said.segments,
        offset: part.skip,
        limit: part.fetch.unwrap_or(plan::NO_LIMIT),
        ..asked.asker.clone()
    };
    let mut ranges = said.ranges;
    let (mut made, exprs) = match &part.grouped {
        Some(grouped) => {
            query.dimensions.clone_from(&grouped.dimensions);
            query.measures.clone_from(&grouped.measures);
            query.filters.extend(grouped.having.iter().cloned());
            for (path, granularity) in &grouped.times {
                query.time_dimensions.push(QueryTimeDimension {
                    dimension: path.clone(),
                    granularity: Some(granularity.clone()),
                    date_range: ranges.shift_remove(path),
                });
            }
            (grouped.made.clone(), part.exprs.clone())
        }
        None => ungrouped(rewriter, part, &mut query)?,
    };
    for (dimension, range) in ranges {
        query.time_dimensions.push(QueryTimeDimension {
            dimension,
            granularity: None,
            date_range: Some(range),
        });
    }
    for condition in said.rest {
        if part.has_measure(&condition) {
            return Err(Error::invalid(format!(
                "the condition `{}` on a measure is not one that a query can have: use HAVING, with a measure on one side \
                 and a constant on the other",
                super::aggregate::shown(&condition)
            )));
        }
        let what = What::Segment(condition);
        let path = made_path(part, &what, made.len());
        query.segments.push(path.clone());
        made.push(Made { path, what });
    }
    query.order = Some(
        part.order
            .iter()
            .map(|(id, desc)| OrderBy {
                id: id.clone(),
                desc: *desc,
            })
            .collect(),
    );
    Ok(Question { query, made, exprs })
}

/// The columns of an ungrouped query, and what they are made of.
fn ungrouped(rewriter: &Rewriter<'_>, part: &Part, query: &mut Query) -> Result<(Vec<Made>, Vec<Expr>)> {
    query.ungrouped = true;
    query.ungrouped_without_primary_key = true;
    let mut made: Vec<Made> = Vec::new();
    let mut replaced: HashMap<String, Expr> = HashMap::new();
    let ordered = part.order.iter().map(|(path, _)| path.clone());
    for path in part.exprs.iter().flat_map(members).chain(ordered) {
        if replaced.contains_key(&path) {
            continue;
        }
        let is = match part.kind(&path) {
            Some(Kind::Dimension(_)) => {
                query.dimensions.push(path.clone());
                member(path.as_str())
            }
            Some(Kind::Measure(measure)) => {
                let named = rewriter.words.contains(&measure.name);
                if !named && !has_row_value(measure) {
                    let data_type = super::catalog::measure_type(measure);
                    Expr::Literal(ScalarValue::try_from(&data_type)?, None)
                } else {
                    query.measures.push(path.clone());
                    member(path.as_str())
                }
            }
            Some(Kind::Segment) => {
                let what = What::Dimension(member(path.as_str()), DataType::Boolean);
                let own = made_path(part, &what, made.len());
                query.dimensions.push(own.clone());
                made.push(Made {
                    path: own.clone(),
                    what,
                });
                member(own)
            }
            None if is_join_field(&path) => Expr::Literal(ScalarValue::Utf8View(None), None),
            None => return Err(Error::internal(format!("'{path}' is no member of the part"))),
        };
        replaced.insert(path, is);
    }
    if query.dimensions.is_empty() && query.measures.is_empty() {
        query.dimensions.push(any_dimension(part)?);
    }
    let exprs: Result<Vec<Expr>> = part.exprs.iter().map(|expr| replace(expr, &replaced)).collect();
    Ok((made, exprs?))
}

fn replace(expr: &Expr, replaced: &HashMap<String, Expr>) -> Result<Expr> {
    let out = expr.clone().transform_up(|expr| {
        let found = as_member(&expr).and_then(|path| replaced.get(path)).cloned();
        Ok(match (found, &expr) {
            (Some(found), Expr::Column(_)) => Transformed::yes(found),
            _ => Transformed::no(expr),
        })
    })?;
    Ok(out.data)
}

/// Whether a measure has a value for one row. The others are null where `SELECT *` brings them in.
fn has_row_value(measure: &Measure) -> bool {
    use MeasureType as T;
    let simple = matches!(
        measure.kind,
        T::Count | T::CountDistinct | T::CountDistinctApprox | T::Sum | T::Avg | T::Min | T::Max
    );
    simple && measure.rolling_window.is_none() && measure.multi_stage.is_none()
}

/// A dimension to read rows by when no column of them is wanted.
fn any_dimension(part: &Part) -> Result<String> {
    for cube in &part.cubes {
        let usable = |d: &&crate::model::Dimension| d.public && d.unsupported.is_none() && !d.sub_query;
        let key = cube.dimensions.iter().find(|d| d.primary_key && usable(d));
        if let Some(dimension) = key.or_else(|| cube.dimensions.iter().find(usable)) {
            return Ok(format!("{}.{}", cube.name, dimension.name));
        }
    }
    Err(Error::invalid(
        "the query reads rows of a cube that has no dimension: select one of its measures with MEASURE()",
    ))
}

/// The plan of a question: the answer's keys as the part's columns.
///
/// # Errors
/// Those of planning the query.
pub fn plan(rewriter: &Rewriter<'_>, part: &Part, question: &Question) -> Result<LogicalPlan> {
    let tz = rewriter.asked.timezone();
    let planned = if question.made.is_empty() {
        plan::plan(&question.query, rewriter.compiled, rewriter.functions)?
    } else {
        let extended = extend::extend(rewriter.compiled, part, &question.made, tz)?;
        plan::plan(&question.query, &extended, rewriter.functions)?
    };
    let leaf = planned.plan;
    let fields = part.schema.iter().zip(&question.exprs);
    let columns: Result<Vec<Expr>> = fields
        .map(|((qualifier, field), expr)| column(&leaf, expr, qualifier, field, tz))
        .collect();
    Ok(LogicalPlanBuilder::from(leaf).project(columns?)?.build()?)
}

/// A column of the part: its expression over the answer's keys, in its type and under its name.
fn column(leaf: &LogicalPlan, expr: &Expr, qualifier: Option<&TableReference>, field: &Field, tz: Tz) -> Result<Expr> {
    let schema = leaf.schema();
    let out = expr.clone().transform_up(|expr| {
        let Some(key) = as_member(&expr).map(str::to_owned) else {
            return Ok(Transformed::no(expr));
        };
        let found = schema.field_with_unqualified_name(&key)?;
        Ok(Transformed::yes(local(plan::named(key), found.data_type(), tz)))
    })?;
    // The types of the keys are the engine's; the client's SQL was planned with those of the catalog.
    let value = coerced(out.data, schema)?;
    let value = match value.get_type(schema)? {
        same if same == *field.data_type() => value,
        // What is shown in the place of a masked value may be a text where others are numbers.
        other if is_text(&other) && !is_text(field.data_type()) => {
            Expr::TryCast(TryCast::new(Box::new(value), field.data_type().clone()))
        }
        _ => crate::query::filter::cast(value, field.data_type().clone()),
    };
    Ok(value.alias_qualified(qualifier.cloned(), field.name()))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Instants as wall clocks of the query's zone; other values as they are.
pub fn local(value: Expr, data_type: &DataType, tz: Tz) -> Expr {
    match data_type {
        DataType::Timestamp(_, Some(_)) => {
            let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(tz.name().into()));
            to_local_time(vec![crate::query::filter::cast(value, zoned)])
        }
        _ => value,
    }
}

/// `expr` with the casts that its operators need.
///
/// # Errors
/// `Invalid` when types do not fit.
pub fn coerced(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().build());
    simplifier.coerce(expr, schema).map_err(super::catalog::planning)
}

/// The type of an expression over the part's members.
///
/// # Errors
/// `Invalid` when types do not fit.
pub fn type_of(part: &Part, expr: &Expr) -> Result<DataType> {
    let mut fields = Vec::new();
    for path in members(expr) {
        let data_type = match part.kind(&path) {
            Some(Kind::Dimension(dimension)) => super::catalog::dimension_type(dimension.kind),
            Some(Kind::Measure(measure)) => super::catalog::measure_type(measure),
            Some(Kind::Segment) => DataType::Boolean,
            None => DataType::Utf8View,
        };
        let qualifier = match part::member(path.as_str()) {
            Expr::Column(column) => column.relation,
            _ => None,
        };
        fields.push((qualifier, Arc::new(Field::new(path, data_type, true))));
    }
    let schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
    let expr = coerced(expr.clone(), &schema)?;
    expr.get_type(&schema).map_err(super::catalog::planning)
}

//! A part of a client's SQL that is one query of cubes: it grows node by node, from the scan of a cube upwards, for as
//! long as the typed query language can say it.

use super::aggregate::Grouped;
use crate::error::Result;
use crate::model::{Cube, Dimension, DimensionType, Measure, MeasureType};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, ScalarValue, TableReference};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::Expr;
use std::sync::Arc;

/// The relation of columns that are members or keys of an answer.
const MEMBER: &str = "$member";
/// Nodes of an expression of a part: names may multiply when queries are put into queries.
const NODES_MAX: usize = 2 * crate::limits::SQL_API_TOKENS_MAX;

/// The column that stands for a member, or for a key of an answer.
pub fn member(path: impl Into<String>) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(MEMBER)), path))
}

/// The member that an expression stands for, when it is one.
pub fn as_member(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => {
            let is_member = column.relation.as_ref().is_some_and(|r| r.table() == MEMBER);
            is_member.then_some(column.name.as_str())
        }
        Expr::Alias(alias) => as_member(&alias.expr),
        _ => None,
    }
}

/// Paths of all members in `expr`, each once.
pub fn members(expr: &Expr) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for column in expr.column_refs() {
        if column.relation.as_ref().is_some_and(|r| r.table() == MEMBER) && !found.contains(&column.name) {
            found.push(column.name.clone());
        }
    }
    found.sort();
    found
}

/// What a member's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Text.
    Text,
    /// Numbers.
    Number,
    /// Truth values.
    Boolean,
    /// Instants.
    Time,
}

/// A member of the part's cubes.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// A dimension.
    Dimension(&'a Dimension),
    /// A measure.
    Measure(&'a Measure),
    /// A segment.
    Segment,
}

impl Kind<'_> {
    /// What its values are.
    pub fn values(&self) -> Values {
        match self {
            Kind::Dimension(dimension) => match dimension.kind {
                DimensionType::Number => Values::Number,
                DimensionType::Boolean => Values::Boolean,
                DimensionType::Time => Values::Time,
                _ => Values::Text,
            },
            Kind::Measure(measure) => match measure.kind {
                MeasureType::String => Values::Text,
                MeasureType::Boolean => Values::Boolean,
                MeasureType::Time => Values::Time,
                _ => Values::Number,
            },
            Kind::Segment => Values::Boolean,
        }
    }

    /// Whether it is a measure.
    pub fn is_measure(&self) -> bool {
        matches!(self, Kind::Measure(_))
    }
}

/// Rows or groups of joined cubes.
#[derive(Debug, Clone)]
pub struct Part {
    /// The cubes; the first is the root of the joins.
    pub cubes: Vec<Arc<Cube>>,
    /// Ways through the joins.
    pub hints: Vec<Vec<String>>,
    /// The columns, as the client's SQL sees them.
    pub schema: DFSchemaRef,
    /// What each of them is, over [`member`]s.
    pub exprs: Vec<Expr>,
    /// Conditions on rows, over members; those of measures select groups.
    pub conditions: Vec<Expr>,
    /// Set when the rows are groups; the members of `exprs` are then keys of the answer.
    pub grouped: Option<Grouped>,
    /// Keys to sort by, each with whether it descends.
    pub order: Vec<(String, bool)>,
    /// Rows to leave out.
    pub skip: u64,
    /// Rows at the most.
    pub fetch: Option<u64>,
}

impl Part {
    /// All rows of a cube.
    pub fn scan(cube: &Arc<Cube>, schema: DFSchemaRef) -> Self {
        let exprs = schema.fields().iter().map(|field| match field.name().as_str() {
            super::catalog::JOIN_FIELD => member(join_field(&cube.name)),
            super::catalog::USER_FIELD => Expr::Literal(ScalarValue::Utf8View(None), None),
            name => member(format!("{}.{name}", cube.name)),
        });
        Self {
            cubes: vec![Arc::clone(cube)],
            hints: Vec::new(),
            exprs: exprs.collect(),
            schema,
            conditions: Vec::new(),
            grouped: None,
            order: Vec::new(),
            skip: 0,
            fetch: None,
        }
    }

    /// Whether rows were cut off, so that nothing may select or group them any more.
    pub fn is_limited(&self) -> bool {
        self.skip > 0 || self.fetch.is_some()
    }

    /// The member of this path, if it is one of the part's cubes.
    pub fn kind(&self, path: &str) -> Option<Kind<'_>> {
        let (cube, name) = path.split_once('.')?;
        let cube = self.cubes.iter().find(|found| found.name == cube)?;
        if let Some(measure) = cube.measure(name) {
            return Some(Kind::Measure(measure));
        }
        if let Some(dimension) = cube.dimension(name) {
            return Some(Kind::Dimension(dimension));
        }
        cube.segment(name).map(|_| Kind::Segment)
    }

    /// Whether `expr` has a measure in it.
    pub fn has_measure(&self, expr: &Expr) -> bool {
        let paths = members(expr);
        paths
            .iter()
            .any(|path| self.kind(path).is_some_and(|kind| kind.is_measure()))
    }

    /// `expr`, which is over the part's columns, over members. `None` when it grows too large.
    ///
    /// # Errors
    /// Those of planning, for a column that is not there.
    pub fn substituted(&self, expr: &Expr) -> Result<Option<Expr>> {
        let replaced = expr.clone().transform_up(|expr| match &expr {
            Expr::Column(column) => {
                let at = self.schema.index_of_column(column)?;
                Ok(match self.exprs.get(at) {
                    Some(known) => Transformed::yes(known.clone()),
                    None => Transformed::no(expr),
                })
            }
            _ => Ok(Transformed::no(expr)),
        });
        let replaced = replaced.map_err(super::catalog::planning)?.data;
        Ok((nodes(&replaced) <= NODES_MAX).then_some(replaced))
    }
}

/// The path that stands for a cube's join field.
pub fn join_field(cube: &str) -> String {
    format!("{cube}.{}", super::catalog::JOIN_FIELD)
}

/// Whether a path is some cube's join field.
pub fn is_join_field(path: &str) -> bool {
    path.ends_with(super::catalog::JOIN_FIELD)
}

fn nodes(expr: &Expr) -> usize {
    let mut count = 0;
    let counted: PlanResult<TreeNodeRecursion> = expr.apply(|_| {
        count += 1;
        Ok(match count > NODES_MAX {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    if counted.is_err() { NODES_MAX + 1 } else { count }
}

/// Whether `expr` is computed from one row alone. With `subqueries`, those that do not look out of themselves are too.
pub fn is_scalar(expr: &Expr, subqueries: bool) -> bool {
    let other = expr.exists(|expr| {
        Ok(match expr {
            Expr::ScalarSubquery(subquery) => !subqueries || !subquery.outer_ref_columns.is_empty(),
            Expr::InSubquery(inside) => !subqueries || !inside.subquery.outer_ref_columns.is_empty(),
            Expr::Exists(inside) => !subqueries || !inside.subquery.outer_ref_columns.is_empty(),
            Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::GroupingSet(_)
            | Expr::Unnest(_)
            | Expr::Placeholder(_) => true,
            _ => false,
        })
    });
    !other.unwrap_or(true)
}

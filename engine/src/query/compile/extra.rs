//! Members that one query brings itself: expressions over the compiled members of a cube. To the planner they are
//! members like those of the model, so that joins, policies and windows hold for them too.

use super::{CompiledCube, CompiledMeasure, CompiledModel, Leaf, RowMember, leaf_column, outlined, with_leaves};
use crate::error::{Error, Result};
use crate::model::{Dimension, Measure, Segment};
use crate::query::join::{JoinPath, distinct};
use crate::query::measure::{self, Parts};
use crate::query::{filter, sql};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, ExprSchemable};
use std::sync::Arc;

/// A member that a query brings.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a query makes a handful, each taken apart at once"
)]
pub enum Extra {
    /// A value of a row.
    Dimension(Dimension, RowMember),
    /// A condition on a row.
    Segment(Segment, RowMember),
    /// An aggregate.
    Measure(Measure, CompiledMeasure),
}

impl RowMember {
    /// A member computed from `parts` by `column`, which is an expression over their expressions.
    pub fn derived(column: filter::Column, parts: &[&RowMember]) -> Self {
        Self {
            raw: column.clone(),
            column,
            uses: uses(parts, &[]),
            weight: 0,
        }
    }
}

/// What all of `parts` need besides `known`.
fn uses(parts: &[&RowMember], known: &[JoinPath]) -> Arc<[JoinPath]> {
    let all = parts.iter().flat_map(|part| part.uses.iter());
    distinct(known.iter().chain(all).cloned()).into()
}

impl CompiledMeasure {
    /// A measure computed by `aggregate`, whose parts on rows are `of`, from `parts` and from rows of `cube`.
    ///
    /// # Errors
    /// `Invalid` when types do not fit.
    pub fn derived(
        cube: &CompiledCube,
        measure: &Measure,
        aggregate: Expr,
        of: &Parts,
        parts: &[&RowMember],
    ) -> Result<Self> {
        let data_type = aggregate
            .get_type(cube.relation()?.schema())
            .map_err(sql::model_error)?;
        let (outline, leaves) = outlined(&cube.name, aggregate.clone())?;
        Ok(Self {
            aggregate,
            outline,
            leaves,
            data_type,
            row: measure::of_row(measure, of).map_err(|error| error.message().to_owned()),
            filter: of.filter.clone(),
            uses: uses(parts, &[vec![cube.name.clone()]]),
            weight: 0,
        })
    }

    /// The same measure over the rows that meet `condition`, which is made of `parts`.
    ///
    /// # Errors
    /// `Internal` when an aggregate cannot be taken apart.
    pub fn filtered(&self, condition: &Expr, parts: &[&RowMember]) -> Result<Self> {
        let restricted = |aggregate: &Expr| match aggregate.clone() {
            Expr::AggregateFunction(mut call) => {
                call.params.filter = Some(Box::new(match call.params.filter.take() {
                    Some(own) => own.and(condition.clone()),
                    None => condition.clone(),
                }));
                Expr::AggregateFunction(call)
            }
            other => other,
        };
        let restrict = |leaf: &Leaf| Leaf {
            cube: leaf.cube.clone(),
            alone: restricted(&leaf.alone),
            joined: restricted(&leaf.joined),
        };
        let leaves: Vec<Leaf> = self.leaves.iter().map(restrict).collect();
        let alone = |leaf: usize| Ok(leaves.get(leaf).map(|leaf| leaf.alone.clone()));
        Ok(Self {
            aggregate: with_leaves(self.outline.clone(), alone)?,
            leaves,
            filter: None,
            uses: uses(parts, &self.uses),
            ..self.clone()
        })
    }
}

impl CompiledMeasure {
    /// The measure as an expression over its aggregates, and each of these as a measure. The columns that stand for them get
    /// their meaning from [`together`].
    ///
    /// # Errors
    /// `Internal` when the measure cannot be taken apart.
    pub fn apart(&self) -> Result<(Expr, Vec<CompiledMeasure>)> {
        let only = |leaf: &Leaf| CompiledMeasure {
            aggregate: leaf.alone.clone(),
            outline: leaf_column(0),
            leaves: vec![leaf.clone()],
            ..self.clone()
        };
        Ok((self.outline.clone(), self.leaves.iter().map(only).collect()))
    }

    /// The same with other aggregates in the places of its own.
    pub fn replaced(&self, other: &dyn Fn(&AggregateFunction) -> Expr) -> CompiledMeasure {
        let replace = |aggregate: &Expr| match aggregate {
            Expr::AggregateFunction(call) => other(call),
            expr => expr.clone(),
        };
        let leaf = |leaf: &Leaf| Leaf {
            cube: leaf.cube.clone(),
            alone: replace(&leaf.alone),
            joined: replace(&leaf.joined),
        };
        CompiledMeasure {
            aggregate: replace(&self.aggregate),
            leaves: self.leaves.iter().map(leaf).collect(),
            ..self.clone()
        }
    }

    /// A value on the rows that the measure aggregates.
    pub fn value(&self, expr: Expr) -> RowMember {
        let column = filter::Column {
            expr,
            data_type: DataType::Utf8,
        };
        RowMember {
            raw: column.clone(),
            column,
            uses: Arc::clone(&self.uses),
            weight: 0,
        }
    }
}

/// `expr` with a column in the place of each aggregate, and the aggregates.
///
/// # Errors
/// None of its own.
pub fn aggregates(expr: Expr) -> Result<(Expr, Vec<Expr>)> {
    let mut found: Vec<Expr> = Vec::new();
    let outline = expr.transform_down(|expr| {
        if !matches!(expr, Expr::AggregateFunction(_)) {
            return Ok(Transformed::no(expr));
        }
        let at = found.iter().position(|known| *known == expr).unwrap_or_else(|| {
            found.push(expr);
            found.len() - 1
        });
        let place = leaf_column(at);
        Ok(Transformed::new(place, true, TreeNodeRecursion::Jump))
    });
    Ok((outline.map_err(sql::model_error)?.data, found))
}

/// An outline with `values` in the places of its aggregates.
///
/// # Errors
/// `Internal` when a value is missing.
pub fn together(outline: Expr, values: &[Expr]) -> Result<Expr> {
    with_leaves(outline, |leaf| Ok(values.get(leaf).cloned()))
}

impl CompiledModel {
    /// The same model in which a dimension is computed by `column`.
    ///
    /// # Errors
    /// `Internal` when there is no such dimension.
    pub fn with_column(&self, cube: &str, dimension: &str, column: filter::Column) -> Result<Self> {
        let missing = || Error::internal(format!("`{cube}.{dimension}` is not compiled"));
        let mut cubes = self.cubes.clone();
        let compiled = cubes.get_mut(cube).ok_or_else(missing)?;
        let mut members = compiled.as_ref().clone();
        let slot = members.dimensions.get_mut(dimension).ok_or_else(missing)?;
        if let Ok(member) = slot {
            member.column = column;
        }
        *compiled = Arc::new(members);
        Ok(Self {
            model: Arc::clone(&self.model),
            graph: Arc::clone(&self.graph),
            cubes,
            outlines: Arc::clone(&self.outlines),
        })
    }

    /// The same model with another member in the cube `cube`.
    ///
    /// # Errors
    /// `Internal` when there is no such cube or it has no expressions.
    pub fn with_member(&self, cube: &str, extra: Extra) -> Result<Self> {
        let missing = || Error::internal(format!("cube `{cube}` is not compiled"));
        let mut model = self.model.as_ref().clone();
        let slot = model.cubes.get_mut(cube).ok_or_else(missing)?;
        let mut described = slot.as_ref().clone();
        let mut cubes = self.cubes.clone();
        let compiled = cubes.get_mut(cube).ok_or_else(missing)?;
        let mut members = compiled.as_ref().clone();
        match extra {
            Extra::Dimension(dimension, made) => {
                members.dimensions.insert(dimension.name.clone(), Ok(made));
                described.dimensions.push(dimension);
            }
            Extra::Segment(segment, made) => {
                members.segments.insert(segment.name.clone(), Ok(made));
                described.segments.push(segment);
            }
            Extra::Measure(measure, made) => {
                members.measures.insert(measure.name.clone(), Ok(made));
                described.measures.push(measure);
            }
        }
        *slot = Arc::new(described);
        *compiled = Arc::new(members);
        Ok(Self {
            model: Arc::new(model),
            graph: Arc::clone(&self.graph),
            cubes,
            outlines: Arc::clone(&self.outlines),
        })
    }
}

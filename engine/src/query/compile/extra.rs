//! Members that one query brings itself: expressions over the compiled members of a cube. To the planner they are
//! members like those of the model, so that joins, policies and windows hold for them too.

use super::{CompiledCube, CompiledMeasure, CompiledModel, Parts, RowMember};
use crate::error::{Error, Result};
use crate::model::{Dimension, Measure, Segment};
use crate::query::{filter, sql};
use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, ExprSchemable};
use std::sync::Arc;

/// A member that a query brings.
#[derive(Debug, Clone)]
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
    pub fn derived(column: filter::Column, _parts: &[&RowMember]) -> Self {
        Self { column }
    }
}

/// Beginning of the name of a column that stands for an aggregate; its index follows.
const LEAF: &str = "leaf:";

impl CompiledMeasure {
    /// The measure as an expression over its aggregates, and each of these as a measure. The columns that stand for them get
    /// their meaning from [`CompiledMeasure::together`].
    ///
    /// # Errors
    /// `Internal` when the measure cannot be taken apart.
    pub fn apart(&self) -> Result<(Expr, Vec<CompiledMeasure>)> {
        let (outline, found) = aggregates(self.aggregate.clone())?;
        let leaf = |aggregate: Expr| CompiledMeasure {
            aggregate,
            ..self.clone()
        };
        Ok((outline, found.into_iter().map(leaf).collect()))
    }

    /// The same with another aggregate in the place of its own.
    pub fn replaced(&self, other: &dyn Fn(&AggregateFunction) -> Expr) -> CompiledMeasure {
        let replace = |aggregate: &Expr| match aggregate {
            Expr::AggregateFunction(call) => other(call),
            expr => expr.clone(),
        };
        CompiledMeasure {
            aggregate: replace(&self.aggregate),
            ..self.clone()
        }
    }

    /// A value on the rows that the measure aggregates.
    pub fn value(&self, expr: Expr) -> RowMember {
        RowMember {
            column: filter::Column {
                expr,
                data_type: DataType::Utf8,
            },
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
        let place = Expr::Column(Column::new_unqualified(format!("{LEAF}{at}")));
        Ok(Transformed::new(place, true, TreeNodeRecursion::Jump))
    });
    Ok((outline.map_err(sql::model_error)?.data, found))
}

/// An outline with `values` in the places of its aggregates.
///
/// # Errors
/// `Internal` when a value is missing.
pub fn together(outline: Expr, values: &[Expr]) -> Result<Expr> {
    let filled = outline.transform_down(|expr| {
        let Expr::Column(column) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let leaf = column.name.strip_prefix(LEAF).filter(|_| column.relation.is_none());
        let Some(leaf) = leaf.and_then(|leaf| leaf.parse::<usize>().ok()) else {
            return Ok(Transformed::no(expr));
        };
        match values.get(leaf) {
            Some(value) => Ok(Transformed::new(value.clone(), true, TreeNodeRecursion::Jump)),
            None => datafusion::common::internal_err!("an aggregate is gone"),
        }
    });
    Ok(filled.map_err(sql::model_error)?.data)
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
        _parts: &[&RowMember],
    ) -> Result<Self> {
        let data_type = aggregate
            .get_type(cube.relation()?.schema())
            .map_err(sql::model_error)?;
        Ok(Self {
            aggregate,
            data_type,
            row: super::measure::of_row(measure, of).map_err(|error| error.message().to_owned()),
            filter: of.filter.clone(),
        })
    }

    /// The same measure over the rows that meet `condition`, which is made of `parts`.
    ///
    /// # Errors
    /// `Internal` when the aggregate cannot be taken apart.
    pub fn filtered(&self, condition: &Expr, _parts: &[&RowMember]) -> Result<Self> {
        let aggregate = self.aggregate.clone().transform_up(|expr| {
            let Expr::AggregateFunction(mut call) = expr else {
                return Ok(Transformed::no(expr));
            };
            call.params.filter = Some(Box::new(match call.params.filter.take() {
                Some(own) => own.and(condition.clone()),
                None => condition.clone(),
            }));
            Ok(Transformed::yes(Expr::AggregateFunction(call)))
        })?;
        Ok(Self {
            aggregate: aggregate.data,
            filter: None,
            ..self.clone()
        })
    }
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
            cubes,
            outlines: Arc::clone(&self.outlines),
        })
    }
}

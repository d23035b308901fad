//! Measures: from their parts to aggregates, and to what is computed of other measures.

use super::compiler::{Compiler, contains_aggregate, not_yet, told};
use super::scope::Scope;
use super::{CompiledMeasure, Leaf};
use crate::error::{Error, Result};
use crate::model::{Cube, Measure, MeasureType};
use crate::query::join::JoinPath;
use crate::query::measure::{self, Parts};
use crate::query::{filter, sql};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, lit, when};
use std::sync::Arc;

impl<'m> Compiler<'m> {
    /// What tells a row of `cube` from a missing one, and whether that can be null in the cube's own rows: its primary
    /// key. `None` without one.
    fn presence(&self, cube: &'m Cube) -> Result<Option<(Expr, bool)>> {
        let mut keys = Vec::new();
        for dimension in cube.dimensions.iter().filter(|dimension| dimension.primary_key) {
            keys.push(told(self.row(cube, &dimension.name))?.raw.expr);
        }
        let schema = self.columns(cube);
        let nullable = keys.iter().any(|key| key.nullable(schema).unwrap_or(true));
        match keys.len() {
            0 | 1 => Ok(keys.pop().map(|key| (key, nullable))),
            _ => {
                let all = filter::balanced(keys.into_iter().map(Expr::is_not_null).collect(), true);
                let some = all.unwrap_or_else(|| lit(true));
                Ok(Some((when(some, lit(1_i64)).end()?, nullable)))
            }
        }
    }

    pub(super) fn own_measure(
        &self,
        cube: &'m Cube,
        measure: &Measure,
        uses: Arc<[JoinPath]>,
    ) -> Result<CompiledMeasure> {
        if let Some(key) = &measure.unsupported {
            return Err(not_yet(&measure.name, key));
        }
        if measure.is_staged() {
            return Err(staged(measure));
        }
        let mut scope = Scope::default();
        let mut weight = 0_usize;
        let mut filters = Vec::with_capacity(measure.filters.len());
        for template in &measure.filters {
            let (condition, length) = self.condition(cube, template, &mut scope)?;
            weight = weight.saturating_add(length);
            filters.push(condition);
        }
        let filter = filter::balanced(filters, true);
        let calculated = measure.kind.row().calculated;
        let text = match &measure.sql {
            Some(template) => Some(self.render(cube, template, &mut scope, calculated)?),
            None => None,
        };
        weight = weight.saturating_add(text.as_ref().map_or(0, String::len));
        let weight = weight.saturating_add(scope.weight);
        match text {
            Some(text) if calculated => self.calculated(cube, measure, &text, &scope, uses, weight),
            text => self.aggregated(cube, measure, text.as_deref(), filter, &scope, uses, weight),
        }
    }

    /// A measure that aggregates rows.
    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one measure, found by its only caller"
    )]
    fn aggregated(
        &self,
        cube: &'m Cube,
        measure: &Measure,
        text: Option<&str>,
        filter: Option<Expr>,
        scope: &Scope,
        uses: Arc<[JoinPath]>,
        weight: usize,
    ) -> Result<CompiledMeasure> {
        let (sql, sql_type) = match text {
            Some(text) => {
                let (expr, data_type) = self.on_row(cube, text, scope)?;
                (Some(expr), Some(data_type))
            }
            None => (None, None),
        };
        let counts_rows = measure.kind == MeasureType::Count && sql.is_none();
        let present = if counts_rows { self.presence(cube)? } else { None };
        let parts = |sql: Option<Expr>| Parts {
            sql,
            sql_type: sql_type.clone(),
            filter: filter.clone(),
        };
        let of_present = present.as_ref().map(|(key, _)| key.clone());
        let alone = match &present {
            Some((key, true)) => parts(Some(key.clone())),
            _ => parts(sql.clone()),
        };
        let joined = parts(sql.or(of_present));
        let schema = scope.schema(self.columns(cube))?;
        let aggregate = measure::aggregate(measure, &alone)?;
        let data_type = aggregate.get_type(&schema).map_err(sql::model_error)?;
        let aggregate = scope.filled(aggregate)?;
        let (outline, mut leaves) = self.outlined(cube, aggregate.clone())?;
        let over_joined = scope.filled(measure::aggregate(measure, &joined)?)?;
        for (leaf, joined) in leaves.iter_mut().zip(self.outlined(cube, over_joined)?.1) {
            leaf.joined = joined.joined;
        }
        let row = measure::of_row(measure, &joined).and_then(|row| scope.filled(row));
        Ok(CompiledMeasure {
            aggregate,
            outline,
            leaves,
            data_type,
            row: row.map_err(|error| error.message().to_owned()),
            filter: filter.map(|filter| scope.filled(filter)).transpose()?,
            uses,
            weight,
        })
    }

    /// A measure that is computed from others or has its author's own aggregates.
    fn calculated(
        &self,
        cube: &'m Cube,
        measure: &Measure,
        text: &str,
        scope: &Scope,
        uses: Arc<[JoinPath]>,
        weight: usize,
    ) -> Result<CompiledMeasure> {
        let (written, data_type) = self.parsed(cube, text, scope)?;
        let mut leaves = Vec::new();
        let outline = self.outline(cube, written.clone(), scope, &mut leaves)?;
        let aggregate = super::with_leaves(outline.clone(), |leaf| {
            Ok(leaves.get(leaf).map(|leaf| leaf.alone.clone()))
        })?;
        let row = self.calculated_row(measure, written, scope);
        Ok(CompiledMeasure {
            aggregate,
            outline,
            leaves,
            data_type,
            row: row.map_err(|error| error.message().to_owned()),
            filter: None,
            uses,
            weight,
        })
    }

    /// The value of a calculated measure for one row: the measures in it have theirs.
    fn calculated_row(&self, measure: &Measure, written: Expr, scope: &Scope) -> Result<Expr> {
        if contains_aggregate(&written) {
            return Err(Error::invalid(format!(
                "measure `{}` aggregates rows, so an ungrouped query cannot have it",
                measure.name
            )));
        }
        let row = written.transform_down(|expr| {
            if let Some(row) = scope.row_of(&expr) {
                return Ok(Transformed::new(row.clone(), true, TreeNodeRecursion::Jump));
            }
            match scope.measure_of(&expr) {
                Some(measure) => match &measure.row {
                    Ok(row) => Ok(Transformed::new(row.clone(), true, TreeNodeRecursion::Jump)),
                    Err(message) => Err(datafusion::error::DataFusionError::External(
                        Error::invalid(message.clone()).into(),
                    )),
                },
                None => Ok(Transformed::no(expr)),
            }
        });
        Ok(row.map_err(sql::model_error)?.data)
    }

    fn outlined(&self, cube: &Cube, aggregate: Expr) -> Result<(Expr, Vec<Leaf>)> {
        super::outlined(&owner(cube, &aggregate)?, aggregate)
    }

    /// `expr` with its aggregates taken to `leaves`; measures of `scope` bring theirs.
    fn outline(&self, cube: &Cube, expr: Expr, scope: &Scope, leaves: &mut Vec<Leaf>) -> Result<Expr> {
        let external = |error: Error| datafusion::error::DataFusionError::External(error.into());
        let outline = expr.transform_down(|expr| {
            if let Expr::AggregateFunction(_) = &expr {
                let leaf = self.leaf(cube, expr, scope).map_err(external)?;
                let place = super::leaf_column(Leaf::place(leaves, leaf));
                return Ok(Transformed::new(place, true, TreeNodeRecursion::Jump));
            }
            if let Some(row) = scope.row_of(&expr) {
                return Ok(Transformed::new(row.clone(), true, TreeNodeRecursion::Jump));
            }
            let Some(measure) = scope.measure_of(&expr) else {
                return Ok(Transformed::no(expr));
            };
            let places: Vec<usize> = measure
                .leaves
                .iter()
                .map(|leaf| Leaf::place(leaves, leaf.clone()))
                .collect();
            let moved = super::with_leaves(measure.outline.clone(), |leaf| {
                Ok(places.get(leaf).map(|place| super::leaf_column(*place)))
            });
            Ok(Transformed::new(
                moved.map_err(external)?,
                true,
                TreeNodeRecursion::Jump,
            ))
        });
        Ok(outline.map_err(sql::model_error)?.data)
    }

    /// An aggregate of `cube`'s author as a leaf.
    fn leaf(&self, cube: &Cube, aggregate: Expr, scope: &Scope) -> Result<Leaf> {
        let of_measure = |expr: &Expr| Ok(scope.measure_of(expr).is_some());
        if aggregate.exists(of_measure).map_err(sql::model_error)? {
            return Err(Error::model("an aggregate of a measure is not allowed here"));
        }
        let aggregate = scope.filled(aggregate)?;
        Ok(Leaf {
            cube: owner(cube, &aggregate)?,
            alone: aggregate.clone(),
            joined: aggregate,
        })
    }
}

pub(super) fn staged(measure: &Measure) -> Error {
    Error::invalid(format!(
        "measure `{}` is computed over a window or in stages and cannot be used here",
        measure.name
    ))
}

/// The cube whose rows `aggregate`, written in `cube`, aggregates: itself, or for a view the one cube that it reads.
fn owner(cube: &Cube, aggregate: &Expr) -> Result<String> {
    if cube.view().is_none() {
        return Ok(cube.name.clone());
    }
    owner_of(aggregate).ok_or_else(|| {
        Error::model(format!(
            "an aggregate of the view `{}` must be over the members of one cube",
            cube.name
        ))
    })
}

/// The one cube that `expr` reads.
fn owner_of(expr: &Expr) -> Option<String> {
    let mut owner: Option<&str> = None;
    for column in expr.column_refs() {
        let cube = column.relation.as_ref()?.table();
        if owner.is_some_and(|owner| owner != cube) {
            return None;
        }
        owner = Some(cube);
    }
    owner.map(str::to_owned)
}

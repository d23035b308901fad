//! Members that one query brings itself: expressions over the compiled members of a cube. To the planner they are
//! members like those of the model, so that joins, policies and windows hold for them too.

use super::{CompiledMeasure, CompiledModel, RowMember};
use crate::error::{Error, Result};
use crate::model::{Dimension, Measure, Segment};
use crate::query::filter;
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
        })
    }
}

//! Which files of a table can hold a row that passes: decided from the table log alone, before any file is opened.

use super::table::{bound_value, day_number};
use crate::event::Column;
use crate::store::{Bound, DataFile};
use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column as Named, DFSchema, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use std::collections::HashSet;
use std::sync::Arc;

const DAY_MICROS: i64 = crate::clock::DAY_MICROS;

/// The files that may hold rows for which all `filters` are true. `read` describes the columns of the filters; `instant`
/// is the column whose UTC day is the partition.
///
/// # Errors
/// When a filter does not plan, which is a defect.
pub fn remaining(
    state: &dyn Session,
    files: &[Arc<DataFile>],
    read: &SchemaRef,
    instant: &str,
    filters: &[Expr],
) -> PlanResult<Vec<Arc<DataFile>>> {
    let Some(condition) = conjunction(filters.iter().cloned()).filter(|_| !files.is_empty()) else {
        return Ok(files.to_vec());
    };
    let schema = DFSchema::try_from(Arc::clone(read))?;
    let Ok(condition) = unqualified(condition) else {
        return Ok(files.to_vec());
    };
    let condition = state.create_physical_expr(condition, &schema)?;
    let Some(predicate) = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(read))
        .build(condition)
    else {
        return Ok(files.to_vec());
    };
    let keep = predicate.prune(&Files { files, read, instant })?;
    let kept = files.iter().zip(keep).filter(|(_, keep)| *keep);
    Ok(kept.map(|(file, _)| Arc::clone(file)).collect())
}

/// Filters may name the table; the schema here does not.
fn unqualified(expr: Expr) -> PlanResult<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let plain = expr.transform_up(|expr| match expr {
        Expr::Column(column) if column.relation.is_some() => {
            Ok(Transformed::yes(Expr::Column(Named::new_unqualified(column.name))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plain.data)
}

/// The log's statistics, one container a file.
struct Files<'a> {
    files: &'a [Arc<DataFile>],
    read: &'a Schema,
    instant: &'a str,
}

impl Files<'_> {
    /// One bound of every file; absent ones are null, which keeps the file.
    fn bounds(&self, column: &Named, max: bool) -> Option<ArrayRef> {
        let field = self.read.field_with_name(&column.name).ok()?;
        let data_type = field.data_type();
        let null = ScalarValue::try_from(data_type).ok()?;
        let bounds = self
            .files
            .iter()
            .map(|file| self.bound(file, &column.name, data_type, max).unwrap_or(null.clone()));
        ScalarValue::iter_to_array(bounds).ok()
    }

    fn bound(&self, file: &DataFile, name: &str, data_type: &DataType, max: bool) -> Option<ScalarValue> {
        let day = day_number(&file.date);
        if name == crate::event::schema::PARTITION_COLUMN {
            return day.map(|day| ScalarValue::Date32(Some(day)));
        }
        let known = Column::from_name(name).and_then(|column| file.stats.get(&column));
        let known = known.and_then(|known| if max { known.max.as_ref() } else { known.min.as_ref() });
        if let Some(bound) = known {
            return bound_value(bound, data_type);
        }
        if name != self.instant {
            return None;
        }
        let start = i64::from(day?) * DAY_MICROS;
        bound_value(
            &Bound::Timestamp(if max { start + DAY_MICROS - 1 } else { start }),
            data_type,
        )
    }
}

impl PruningStatistics for Files<'_> {
    fn min_values(&self, column: &Named) -> Option<ArrayRef> {
        self.bounds(column, false)
    }

    fn max_values(&self, column: &Named) -> Option<ArrayRef> {
        self.bounds(column, true)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Named) -> Option<ArrayRef> {
        let column = Column::from_name(&column.name)?;
        let counts = self
            .files
            .iter()
            .map(|file| file.stats.get(&column).and_then(|known| known.null_count));
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(
            self.files.iter().map(|file| file.rows).collect::<UInt64Array>(),
        ))
    }

    fn contained(&self, _: &Named, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

//! The tables that a model's SQL may name, as planning sees them: a name and a schema, without a project.
//!
//! A plan made here cannot run: its scans have no data. [`super::restrict::bind`] puts one project's tables in their
//! place, and only `exec` can make those.

use crate::error::{Error, Result};
use crate::event::schema;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableScan, TableSource};
use std::sync::{Arc, LazyLock};

/// Events, one row each.
pub const EVENTS: &str = "events";
/// Events that could not be accepted, with the reason.
pub const REJECTED: &str = "rejected";
/// All tables.
pub const ALL: &[&str] = &[EVENTS, REJECTED];

static EVENTS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| readable(&schema::events()));
static REJECTED_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| readable(&schema::rejected()));

/// The schema that queries see: text as views, which are cheaper to filter and group than offsets, and the partition
/// column `date` (the UTC day) last.
fn readable(stored: &Schema) -> SchemaRef {
    let view = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    };
    let mut fields: Vec<Arc<Field>> = stored.fields().iter().map(view).collect();
    fields.push(Arc::new(Field::new(schema::PARTITION_COLUMN, DataType::Date32, false)));
    Arc::new(Schema::new(fields))
}

/// The schema of a table, the partition column included.
pub fn schema_of(table: &str) -> Option<SchemaRef> {
    match table {
        EVENTS => Some(Arc::clone(&EVENTS_SCHEMA)),
        REJECTED => Some(Arc::clone(&REJECTED_SCHEMA)),
        _ => None,
    }
}

/// A table that is not yet bound to a project. It can be planned against, never scanned.
#[derive(Debug, Clone)]
pub struct UnboundTable {
    name: &'static str,
    schema: SchemaRef,
    /// The cube whose rows are read.
    cube: Option<Arc<str>>,
}

impl UnboundTable {
    /// The cube whose rows are read, when the scan was tagged.
    pub fn cube(&self) -> Option<&str> {
        self.cube.as_deref()
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl TableSource for UnboundTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The unbound table of this name; a `public.` before it and quotes are the caller's to strip.
///
/// # Errors
/// `Model` when there is no such table.
pub fn source(table: &str) -> Result<Arc<dyn TableSource>> {
    let name = ALL.iter().find(|name| **name == table);
    match name.and_then(|name| Some((name, schema_of(name)?))) {
        Some((name, schema)) => Ok(Arc::new(UnboundTable {
            name,
            schema,
            cube: None,
        })),
        None => Err(Error::model(format!(
            "table `{table}` does not exist: SQL can read `{}`",
            ALL.join("` and `")
        ))),
    }
}

/// The same plan whose scans carry the name of the cube whose rows they read, so that its access policies find them
/// wherever a planner puts them.
///
/// # Errors
/// When the plan cannot be rebuilt, which would be a defect.
pub fn tagged(plan: LogicalPlan, cube: &str) -> Result<LogicalPlan> {
    let cube: Arc<str> = Arc::from(cube);
    let tagged = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else {
            return Ok(Transformed::no(node));
        };
        let Some(table) = scan.source.downcast_ref::<UnboundTable>() else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        let source: Arc<dyn TableSource> = Arc::new(UnboundTable {
            cube: Some(Arc::clone(&cube)),
            ..table.clone()
        });
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
    });
    Ok(tagged?.data)
}

/// The beginning of a plan: all rows of a table of the project that the plan will be bound to.
///
/// # Errors
/// `Model` when there is no such table.
pub fn scan(table: &str) -> Result<LogicalPlanBuilder> {
    Ok(LogicalPlanBuilder::scan(table, source(table)?, None)?)
}

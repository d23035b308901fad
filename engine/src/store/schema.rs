//! A table's columns as the table log writes them.

use super::TableKind;
use crate::error::{Error, Result};
use crate::event::schema::{self, PARTITION_COLUMN};
use arrow::datatypes::{DataType, Field, SchemaRef};
use serde_json::{Value, json};

/// The Arrow schema of a kind of table's files, without the partition column.
pub fn of_files(kind: TableKind) -> SchemaRef {
    match kind {
        TableKind::Events => schema::events(),
        TableKind::Rejected => schema::rejected(),
    }
}

/// The name of an Arrow type in the table format.
fn type_name(data_type: &DataType) -> Result<String> {
    Ok(match data_type {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => {
            return Err(Error::internal(format!(
                "a column of type {other} has no place in a table"
            )));
        }
    })
}

/// A column as an element of a schema. Every column may be null: a file written before a column existed lacks it.
fn column(field: &Field) -> Result<Value> {
    Ok(json!({
        "name": field.name(),
        "type": type_name(field.data_type())?,
        "nullable": true,
        "metadata": {},
    }))
}

/// The schema of a new table, as JSON.
pub fn new_table(kind: TableKind) -> Result<Value> {
    let schema = of_files(kind);
    let mut fields = schema
        .fields()
        .iter()
        .map(|field| column(field))
        .collect::<Result<Vec<_>>>()?;
    fields.push(json!({"name": PARTITION_COLUMN, "type": "date", "nullable": true, "metadata": {}}));
    Ok(json!({"type": "struct", "fields": fields}))
}

/// The metadata action of a new table.
pub fn new_metadata(kind: TableKind, created_millis: i64) -> Result<Value> {
    Ok(json!({
        "id": uuid::Uuid::new_v4().to_string(),
        "name": null,
        "description": null,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": new_table(kind)?.to_string(),
        "partitionColumns": [PARTITION_COLUMN],
        "configuration": {KEEP_REMOVED.0: KEEP_REMOVED.1},
        "createdTime": created_millis,
    }))
}

/// How long checkpoints name files that were removed. By the format's default a week, which is thousands of names in each; nothing
/// here reads them, and the files themselves are deleted sooner.
const KEEP_REMOVED: (&str, &str) = ("delta.deletedFileRetentionDuration", "interval 1 day");

/// `metadata` with the columns and settings that this version knows and the table lacks, or `None` when it lacks none. Columns of
/// the table that this version does not know stay: another version wrote them.
///
/// # Errors
/// `Storage` when the table's schema is no schema, or has a column of ours with another type.
pub fn evolve(kind: TableKind, metadata: &Value) -> Result<Option<Value>> {
    let unusable = || Error::storage("the table log holds a schema that is no schema; restore the table from a backup");
    let text = metadata
        .get("schemaString")
        .and_then(Value::as_str)
        .ok_or_else(unusable)?;
    let mut schema: Value = serde_json::from_str(text).map_err(|_| unusable())?;
    let fields = schema
        .get_mut("fields")
        .and_then(Value::as_array_mut)
        .ok_or_else(unusable)?;
    let is_named = |field: &Value, name: &str| field.get("name").and_then(Value::as_str) == Some(name);
    let mut has_changed = false;
    for field in of_files(kind).fields() {
        let ours = column(field)?;
        match fields.iter().find(|theirs| is_named(theirs, field.name())) {
            None => {
                fields.push(ours);
                has_changed = true;
            }
            Some(theirs) if theirs.get("type") != ours.get("type") => {
                return Err(Error::storage(format!(
                    "the table's column `{}` has type {} where Tally writes {}: another program changed the table",
                    field.name(),
                    theirs.get("type").unwrap_or(&Value::Null),
                    ours.get("type").unwrap_or(&Value::Null),
                )));
            }
            Some(_) => {}
        }
    }
    let configured = metadata.get("configuration").and_then(|all| all.get(KEEP_REMOVED.0));
    if !has_changed && configured.is_some() {
        return Ok(None);
    }
    let mut evolved = metadata.clone();
    if configured.is_none() {
        evolved["configuration"][KEEP_REMOVED.0] = json!(KEEP_REMOVED.1);
    }
    let slot = evolved.get_mut("schemaString").ok_or_else(unusable)?;
    *slot = Value::String(schema.to_string());
    Ok(Some(evolved))
}

//! What the SQL of one member refers to besides the columns of its own cube.
//!
//! References become columns that stand for what they mean; after parsing, the meaning is put in their places. So SQL of
//! one cube is never read against the columns of another.

use super::CompiledMeasure;
use crate::error::Result;
use crate::query::filter;
use crate::query::sql;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, TableReference};
use datafusion::logical_expr::Expr;
use std::collections::HashMap;
use std::sync::Arc;

/// The references of one member.
#[derive(Default)]
pub(super) struct Scope {
    fields: Vec<(Option<TableReference>, FieldRef)>,
    rows: HashMap<String, Expr>,
    pub(super) measures: HashMap<String, CompiledMeasure>,
    /// Bytes of SQL that the references stand for.
    pub(super) weight: usize,
}

impl Scope {
    fn field(&mut self, relation: Option<&str>, name: &str, data_type: DataType) {
        let relation = relation.map(TableReference::bare);
        let known = |(r, f): &(Option<TableReference>, FieldRef)| *r == relation && f.name() == name;
        if !self.fields.iter().any(known) {
            self.fields
                .push((relation, Arc::new(Field::new(name, data_type, true))));
        }
    }

    /// Adds a member of rows and gives the name of the column that stands for it.
    pub(super) fn row(&mut self, cube: &str, name: &str, column: &filter::Column, weight: usize) -> String {
        let place = format!("row:{cube}.{name}");
        self.field(None, &place, column.data_type.clone());
        self.rows.insert(place.clone(), column.expr.clone());
        self.weight = self.weight.saturating_add(weight);
        place
    }

    /// Adds a measure and gives the name of the column that stands for it.
    pub(super) fn measure(&mut self, cube: &str, name: &str, measure: CompiledMeasure) -> String {
        let place = format!("measure:{cube}.{name}");
        self.field(None, &place, measure.data_type.clone());
        self.weight = self.weight.saturating_add(measure.weight);
        self.measures.insert(place.clone(), measure);
        place
    }

    /// Adds all columns of another cube.
    pub(super) fn cube(&mut self, schema: &DFSchema) {
        for (relation, field) in schema.iter() {
            let known =
                |(r, f): &(Option<TableReference>, FieldRef)| r.as_ref() == relation && f.name() == field.name();
            if !self.fields.iter().any(known) {
                self.fields.push((relation.cloned(), Arc::clone(field)));
            }
        }
    }

    /// The columns that SQL in this scope can name.
    pub(super) fn schema(&self, own: &DFSchemaRef) -> Result<DFSchemaRef> {
        if self.fields.is_empty() {
            return Ok(Arc::clone(own));
        }
        let columns = own
            .iter()
            .map(|(relation, field)| (relation.cloned(), Arc::clone(field)));
        let all = DFSchema::new_with_metadata(columns.chain(self.fields.iter().cloned()).collect(), HashMap::new());
        all.map(Arc::new).map_err(sql::model_error)
    }

    /// The measure that `expr` stands for.
    pub(super) fn measure_of(&self, expr: &Expr) -> Option<&CompiledMeasure> {
        match expr {
            Expr::Column(column) if column.relation.is_none() => self.measures.get(&column.name),
            _ => None,
        }
    }

    /// The row member that `expr` stands for.
    pub(super) fn row_of(&self, expr: &Expr) -> Option<&Expr> {
        match expr {
            Expr::Column(column) if column.relation.is_none() => self.rows.get(&column.name),
            _ => None,
        }
    }

    /// `expr` with the row members put in their places.
    pub(super) fn filled(&self, expr: Expr) -> Result<Expr> {
        if self.rows.is_empty() {
            return Ok(expr);
        }
        let filled = expr.transform_down(|expr| match self.row_of(&expr) {
            Some(row) => Ok(Transformed::new(
                row.clone(),
                true,
                datafusion::common::tree_node::TreeNodeRecursion::Jump,
            )),
            None => Ok(Transformed::no(expr)),
        });
        Ok(filled.map_err(sql::model_error)?.data)
    }
}

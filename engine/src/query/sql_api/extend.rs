//! A model with the members that a client's SQL makes: expressions over the compiled members of a cube, never text.

use super::aggregate::{Made, What, members_of};
use super::close::local;
use super::part::{Part, as_member, is_join_field};
use crate::error::{Error, Result};
use crate::model::{
    Dimension, DimensionSql, DimensionType, Location, Measure, MeasureType, Piece, Segment, SqlTemplate,
};
use crate::query::compile::{CompiledCube, CompiledMeasure, CompiledModel, Extra, RowMember};
use crate::query::filter::{Column, cast};
use crate::query::measure::{self, Parts};
use arrow::datatypes::DataType;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;

/// `compiled` with `made` in it.
///
/// # Errors
/// `Invalid` when types do not fit or a member cannot be computed with; `Model` when the model's SQL is wrong.
pub fn extend(compiled: &CompiledModel, part: &Part, made: &[Made], tz: Tz) -> Result<CompiledModel> {
    let mut extended = compiled.clone();
    for one in made {
        let (cube, name) = one.path.split_once('.').unwrap_or_default();
        let maker = Maker {
            compiled,
            part,
            tz,
            name,
        };
        let extra = maker.member(compiled.cube(cube)?, &one.what)?;
        extended = extended.with_member(cube, extra)?;
    }
    Ok(extended)
}

/// Makes one member.
struct Maker<'a> {
    compiled: &'a CompiledModel,
    part: &'a Part,
    tz: Tz,
    name: &'a str,
}

impl Maker<'_> {
    fn member(&self, cube: &CompiledCube, what: &What) -> Result<Extra> {
        let parts: Result<Vec<&RowMember>> = members_of(what)
            .iter()
            .filter(|path| !self.part.kind(path).is_some_and(|kind| kind.is_measure()) && !is_join_field(path))
            .map(|path| self.row_member(path))
            .collect();
        let parts = parts?;
        Ok(match what {
            What::Dimension(expr, data_type) => {
                let member = RowMember::derived(self.column(expr)?, &parts);
                let dimension = Dimension::new(
                    self.name,
                    kind_of(data_type),
                    DimensionSql::Expr(made_of(what)),
                    Location::default(),
                );
                Extra::Dimension(dimension, member)
            }
            What::Segment(expr) => {
                let column = self.column(expr)?;
                if !matches!(column.data_type, DataType::Boolean | DataType::Null) {
                    let text = super::aggregate::shown(expr);
                    return Err(Error::invalid(format!(
                        "`{text}` is no condition: it gives {}",
                        column.data_type
                    )));
                }
                let segment = Segment {
                    name: self.name.to_owned(),
                    short_title: String::new(),
                    titled: false,
                    description: None,
                    sql: made_of(what),
                    public: true,
                    meta: None,
                    origin: None,
                    unsupported: None,
                    location: Location::default(),
                };
                Extra::Segment(segment, RowMember::derived(column, &parts))
            }
            What::Measure(kind, sql, filter) => {
                let sql = sql.as_ref().map(|sql| self.column(sql)).transpose()?;
                let filter = filter.as_ref().map(|filter| self.column(filter)).transpose()?;
                let measure = self.measure(*kind, what);
                let of = Parts {
                    sql_type: sql.as_ref().map(|column| column.data_type.clone()),
                    sql: sql.map(|column| column.expr),
                    filter: filter.map(|column| column.expr),
                };
                let aggregate = measure::aggregate(&measure, &of)?;
                let made = CompiledMeasure::derived(cube, &measure, aggregate, &of, &parts)?;
                Extra::Measure(measure, made)
            }
            What::Filtered(path, filter) => {
                let filter = self.column(filter)?.expr;
                let (owner, name) = path.split_once('.').unwrap_or_default();
                let base = self.compiled.cube(owner)?.measure(name)?;
                let measure = self.measure(self.simple_kind(path)?, what);
                Extra::Measure(measure, base.filtered(&filter, &parts)?)
            }
        })
    }

    fn measure(&self, kind: MeasureType, what: &What) -> Measure {
        Measure {
            sql: Some(made_of(what)),
            ..Measure::new(self.name, kind, Location::default())
        }
    }

    /// The type of a measure that is an aggregate of rows.
    fn simple_kind(&self, path: &str) -> Result<MeasureType> {
        match self.part.kind(path) {
            Some(super::part::Kind::Measure(measure)) if simple(measure) => Ok(measure.kind),
            _ => Err(Error::invalid(format!(
                "`FILTER` cannot be used with '{path}', which is computed over time or in stages"
            ))),
        }
    }

    fn row_member(&self, path: &str) -> Result<&RowMember> {
        let (cube, name) = path.split_once('.').unwrap_or_default();
        let compiled = self.compiled.cube(cube)?;
        match self.part.kind(path) {
            Some(super::part::Kind::Dimension(dimension)) if dimension.sub_query => Err(Error::invalid(format!(
                "'{path}' is computed from another cube and cannot be part of an expression: select it in a subquery"
            ))),
            Some(super::part::Kind::Segment) => compiled.segment(name),
            _ => compiled.dimension(name),
        }
    }

    /// An expression over members as one over the rows of the cubes. Values have the types that the client's SQL was
    /// planned with: instants are wall clocks of the query's zone.
    fn column(&self, expr: &Expr) -> Result<Column> {
        let mut failed = None;
        let replaced = expr.clone().transform_up(|expr| {
            let Some(path) = as_member(&expr).filter(|_| matches!(expr, Expr::Column(_))) else {
                return Ok(Transformed::no(expr));
            };
            if is_join_field(path) {
                return Ok(Transformed::yes(Expr::Literal(ScalarValue::Utf8View(None), None)));
            }
            match self.value(path) {
                Ok(value) => Ok(Transformed::yes(value)),
                Err(error) => {
                    failed.get_or_insert(error);
                    Ok(Transformed::no(expr))
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let data_type = super::close::type_of(self.part, expr)?;
        Ok(Column {
            expr: replaced.data,
            data_type,
        })
    }

    fn value(&self, path: &str) -> Result<Expr> {
        let column = &self.row_member(path)?.column;
        let wanted = match self.part.kind(path) {
            Some(super::part::Kind::Dimension(dimension)) => super::catalog::dimension_type(dimension.kind),
            _ => DataType::Boolean,
        };
        let value = local(column.expr.clone(), &column.data_type, self.tz);
        Ok(match column.data_type == wanted {
            true => value,
            false => cast(value, wanted),
        })
    }
}

/// Whether a measure is an aggregate of rows, or calculated from such.
fn simple(measure: &Measure) -> bool {
    measure.rolling_window.is_none()
        && measure.multi_stage.is_none()
        && !matches!(measure.kind, MeasureType::RunningTotal | MeasureType::Funnel)
}

fn kind_of(data_type: &DataType) -> DimensionType {
    match data_type {
        DataType::Boolean => DimensionType::Boolean,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => DimensionType::Time,
        other if other.is_numeric() => DimensionType::Number,
        _ => DimensionType::String,
    }
}

/// The SQL of a made member: no text, only the members it is made of, so that whoever asks what a member needs finds
/// them. It stands in no file.
fn made_of(what: &What) -> SqlTemplate {
    let reference = |path: String| {
        let (cube, name) = path.split_once('.').unwrap_or_default();
        Piece::OtherMember(cube.to_owned(), name.to_owned())
    };
    SqlTemplate {
        source: String::new(),
        pieces: members_of(what).into_iter().map(reference).collect(),
        location: Location::default(),
    }
}

//! What a client's SQL can name: a table for every cube and view, whose columns are their members, and a description of
//! those tables. There is nothing else, above all not the tables that the cubes are made of.

use super::functions;
use crate::error::{Error, Result};
use crate::model::{Asker, Cube, CubeSource, DimensionType, Measure, MeasureType, Model, policy};
use crate::query::sql;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF, lit,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The schema of the cubes.
pub const PUBLIC: &str = "public";
/// The schema of the description.
const INFORMATION: &str = "information_schema";
/// The column by which cubes are joined as the model joins them.
pub const JOIN_FIELD: &str = "__cubeJoinField";
/// The column that names whom a query is asked for, in Cube. It is always null here.
pub const USER_FIELD: &str = "__user";
const SPECIAL: [&str; 2] = [USER_FIELD, JOIN_FIELD];
/// Name of the database.
pub const DATABASE: &str = "db";

/// Functions whose value is the moment of the statement.
pub const CLOCK: &[&str] = &["now", "current_timestamp", "localtimestamp", "current_date"];

/// The type of wall clocks in clients' SQL.
pub fn wall_clock() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The type of a measure's column.
pub fn measure_type(measure: &Measure) -> DataType {
    match measure.kind {
        MeasureType::Count | MeasureType::CountDistinct | MeasureType::CountDistinctApprox => DataType::Int64,
        MeasureType::String => DataType::Utf8View,
        MeasureType::Boolean => DataType::Boolean,
        MeasureType::Time => wall_clock(),
        _ => DataType::Float64,
    }
}

/// The type of a dimension's column.
pub fn dimension_type(kind: DimensionType) -> DataType {
    match kind {
        DimensionType::Number => DataType::Float64,
        DimensionType::Boolean => DataType::Boolean,
        DimensionType::Time => wall_clock(),
        _ => DataType::Utf8View,
    }
}

/// A cube as a table. It can be planned against, never scanned.
#[derive(Debug)]
pub struct CubeTable {
    /// The cube.
    pub cube: Arc<Cube>,
    schema: SchemaRef,
}

impl CubeTable {
    fn new(cube: &Arc<Cube>, asker: &Asker<'_>) -> Self {
        Self {
            cube: Arc::clone(cube),
            schema: Arc::new(Schema::new(columns(cube, asker))),
        }
    }
}

impl TableSource for CubeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The columns of a cube's table in the order of `SELECT *`: measures, dimensions, segments, special columns. Members that
/// are hidden, or that no policy grants, are not there.
fn columns(cube: &Cube, asker: &Asker<'_>) -> Vec<Field> {
    let granted = |name: &str| policy::visible(cube, name, asker);
    let measures = cube.measures.iter();
    let measures = measures.filter(|m| m.public && m.unsupported.is_none() && granted(&m.name));
    let measures = measures.map(|m| Field::new(&m.name, measure_type(m), true));
    let dimensions = cube.dimensions.iter();
    let dimensions = dimensions.filter(|d| d.public && d.unsupported.is_none() && granted(&d.name));
    let dimensions = dimensions.map(|d| Field::new(&d.name, dimension_type(d.kind), true));
    let segments = cube.segments.iter();
    let segments = segments.filter(|s| s.public && s.unsupported.is_none() && granted(&s.name));
    let segments = segments.map(|s| Field::new(&s.name, DataType::Boolean, true));
    let special = SPECIAL.map(|name| Field::new(name, DataType::Utf8View, true));
    measures.chain(dimensions).chain(segments).chain(special).collect()
}

/// The name of a column's type in `information_schema`.
fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int64 => "bigint",
        DataType::Float64 => "numeric",
        DataType::Boolean => "boolean",
        DataType::Timestamp(..) => "timestamp without time zone",
        _ => "text",
    }
}

/// Everything that one statement can name.
pub struct Tables<'a> {
    model: &'a Model,
    asker: Asker<'a>,
    constants: HashMap<&'static str, Arc<ScalarUDF>>,
}

/// What functions without arguments give.
#[derive(Debug, Clone)]
pub struct Constants {
    /// The user's name.
    pub user: String,
    /// The wall clock of the query's zone, in microseconds.
    pub wall_micros: i64,
}

impl<'a> Tables<'a> {
    /// The tables of `model` as `asker` may see them.
    pub fn new(model: &'a Model, asker: Asker<'a>, constants: &Constants) -> Self {
        let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
        let now = ScalarValue::TimestampMicrosecond(Some(constants.wall_micros), None);
        let days = i32::try_from(constants.wall_micros.div_euclid(86_400_000_000)).ok();
        let rows = [
            ("now", now.clone()),
            ("current_timestamp", now.clone()),
            ("localtimestamp", now),
            ("current_date", ScalarValue::Date32(days)),
            ("current_user", text(&constants.user)),
            ("session_user", text(&constants.user)),
            ("user", text(&constants.user)),
            ("current_schema", text(PUBLIC)),
            ("current_database", text(DATABASE)),
            ("current_catalog", text(DATABASE)),
            ("version", text("PostgreSQL 15.0, Tally")),
        ];
        Self {
            model,
            asker,
            constants: rows
                .into_iter()
                .map(|(name, value)| (name, functions::constant(name, value)))
                .collect(),
        }
    }

    fn cube(&self, name: &str) -> Option<&'a Arc<Cube>> {
        let cubes = &self.model.cubes;
        let exact = cubes.get(name);
        let found = exact.or_else(|| cubes.values().find(|cube| cube.name.eq_ignore_ascii_case(name)));
        found.filter(|cube| cube.public && shows(cube, &self.asker))
    }
}

/// Whether there is something in the cube for `asker`.
fn shows(cube: &Cube, asker: &Asker<'_>) -> bool {
    cube.access_policy.is_empty() || columns(cube, asker).len() > SPECIAL.len()
}

/// The cubes and views that are listed for `asker`, by name.
pub fn listed<'m>(model: &'m Model, asker: &Asker<'_>) -> Vec<&'m Arc<Cube>> {
    let listed = model.cubes.values();
    let mut listed: Vec<_> = listed
        .filter(|cube| cube.public && cube.alias_of.is_none() && shows(cube, asker))
        .collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    listed
}

/// A table of `information_schema` as literal rows.
#[derive(Debug)]
pub struct Described {
    rows: Vec<Vec<ScalarValue>>,
    schema: SchemaRef,
}

impl Described {
    /// The rows as a plan under the names of the table's columns.
    ///
    /// # Errors
    /// Those of planning.
    pub fn plan(&self) -> Result<LogicalPlan> {
        let names = self.schema.fields().iter().map(|field| field.name().as_str());
        if self.rows.is_empty() {
            let nulls = vec![vec![lit(ScalarValue::Utf8(None)); self.schema.fields().len()]];
            let none = LogicalPlanBuilder::values(nulls)?.filter(lit(false))?;
            return Ok(none.project(renamed(names))?.build()?);
        }
        let rows = self.rows.iter().map(|row| row.iter().cloned().map(lit).collect());
        let plan = LogicalPlanBuilder::values(rows.collect())?;
        Ok(plan.project(renamed(names))?.build()?)
    }
}

/// The columns of `VALUES` under other names.
fn renamed<'n>(names: impl Iterator<Item = &'n str>) -> Vec<Expr> {
    let column = |at: usize| crate::query::plan::named(format!("column{}", at + 1));
    names.enumerate().map(|(at, name)| column(at).alias(name)).collect()
}

impl TableSource for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

fn text(text: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(text.to_owned()))
}

/// The table of `information_schema` of this name.
fn described(model: &Model, asker: &Asker<'_>, name: &str) -> Option<Described> {
    let (rows, names): (Vec<Vec<ScalarValue>>, &[&str]) = match name {
        "tables" => {
            let row = |cube: &&Arc<Cube>| {
                let kind = if cube.view().is_some() { "VIEW" } else { "BASE TABLE" };
                vec![text(DATABASE), text(PUBLIC), text(&cube.name), text(kind)]
            };
            let names: &[&str] = &["table_catalog", "table_schema", "table_name", "table_type"];
            (listed(model, asker).iter().map(row).collect(), names)
        }
        "columns" => (
            listed(model, asker)
                .into_iter()
                .flat_map(|cube| described_columns(cube, asker))
                .collect(),
            &[
                "table_catalog",
                "table_schema",
                "table_name",
                "column_name",
                "ordinal_position",
                "column_default",
                "is_nullable",
                "data_type",
            ],
        ),
        "schemata" => {
            let row = |schema: &&str| vec![text(DATABASE), text(schema)];
            let names: &[&str] = &["catalog_name", "schema_name"];
            ([PUBLIC, INFORMATION].iter().map(row).collect(), names)
        }
        "views" | "table_constraints" | "key_column_usage" | "referential_constraints" | "routines" => {
            (Vec::new(), &["table_catalog", "table_schema", "table_name"])
        }
        _ => return None,
    };
    let field = |(at, name): (usize, &&str)| {
        let data_type = rows.iter().find_map(|row| row.get(at).map(ScalarValue::data_type));
        Field::new(*name, data_type.unwrap_or(DataType::Utf8), true)
    };
    let schema = Arc::new(Schema::new(names.iter().enumerate().map(field).collect::<Vec<_>>()));
    Some(Described { rows, schema })
}

fn described_columns(cube: &Arc<Cube>, asker: &Asker<'_>) -> Vec<Vec<ScalarValue>> {
    let row = |(at, field): (usize, Field)| {
        vec![
            text(DATABASE),
            text(PUBLIC),
            text(&cube.name),
            text(field.name()),
            ScalarValue::Int64(i64::try_from(at + 1).ok()),
            ScalarValue::Utf8(None),
            text("YES"),
            text(type_name(field.data_type())),
        ]
    };
    columns(cube, asker).into_iter().enumerate().map(row).collect()
}

impl ContextProvider for Tables<'_> {
    fn get_table_source(&self, name: TableReference) -> PlanResult<Arc<dyn TableSource>> {
        let unknown = || DataFusionError::Plan(format!("Table or CTE with name '{name}' not found"));
        if name.catalog().is_some_and(|database| database != DATABASE) {
            return Err(unknown());
        }
        match name.schema() {
            None | Some(PUBLIC) => {
                let cube = self.cube(name.table()).ok_or_else(unknown)?;
                Ok(Arc::new(CubeTable::new(cube, &self.asker)))
            }
            Some(INFORMATION) => {
                let described = described(self.model, &self.asker, name.table()).ok_or_else(unknown)?;
                Ok(Arc::new(described))
            }
            Some(_) => Err(unknown()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        sql::planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.constants.get(name).cloned().or_else(|| functions::scalar(name))
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        functions::aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        functions::window(name)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        sql::functions().config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        functions::scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        functions::aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        functions::window_names()
    }
}

/// Whether a cube's members are computed by a funnel, not by expressions.
pub fn is_funnel(cube: &Cube) -> bool {
    matches!(cube.source, CubeSource::Funnel(_))
}

/// What the library adds to errors that it takes for its own; here they are the statement's.
const LIBRARY_REPORT: &str = ".\nThis issue was likely caused by a bug in DataFusion's code. Please help us to resolve this \
                              by filing a bug report in our issue tracker: https://github.com/apache/datafusion/issues";

/// An error of planning a client's SQL.
pub fn planning(error: DataFusionError) -> Error {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return Error::new(ours.kind(), ours.message());
    }
    let text = error.strip_backtrace().replace(LIBRARY_REPORT, "");
    Error::invalid(text.replace("Internal error: ", ""))
}

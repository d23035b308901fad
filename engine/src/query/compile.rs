//! Compiles the SQL of a model once: every member becomes an expression on its cube's rows, every cube a plan without a
//! project. A member that is wrong does not hinder the others; asking for it gives its error.

mod extra;
mod stage;

pub use extra::{Extra, aggregates, together};
pub use stage::{Outline, Reference};

use super::measure::{self, Parts};
use super::{filter, params, sql, tables};
use crate::error::{Error, ErrorKind, Result};
use crate::model::dimension::CaseLabel;
use crate::model::{
    Cube, CubeSource, Dimension, DimensionSql, DimensionType, Location, Mask, Measure, Member, Model, Piece, Segment,
    SqlTemplate,
};
use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// Levels of references to references. A circle is deeper than any honest model.
const REFERENCE_DEPTH_MAX: usize = 32;
/// Measures compiled for one cube, counting each use in a calculated measure. Uses of uses can multiply.
const SUBSTITUTIONS_MAX: usize = 20_000;
/// Beginning of the name of a column that stands for a measure inside a calculated measure's SQL.
const MEASURE_COLUMN: &str = "measure:";

/// A compiled row-level member.
#[derive(Debug, Clone)]
pub struct RowMember {
    /// The expression on the cube's rows, with its type.
    pub column: filter::Column,
}

/// A compiled measure.
#[derive(Debug, Clone)]
pub struct CompiledMeasure {
    /// The aggregate, or an expression over aggregates.
    pub aggregate: Expr,
    /// Its type.
    pub data_type: DataType,
    /// Its value for one row, for queries without grouping; the error of an aggregate that has none.
    pub row: std::result::Result<Expr, String>,
    /// The conditions that a row must meet to be counted.
    pub filter: Option<Expr>,
}

/// A compiled thing, or what is wrong with it and where it was written.
type Compiled<T> = std::result::Result<T, Defect>;

/// Why a member or a cube cannot be asked.
#[derive(Debug, Clone)]
struct Defect {
    /// `Model` when the author must mend it, `Invalid` when it is right and not answered yet.
    kind: ErrorKind,
    message: String,
    location: Location,
}

impl Defect {
    fn at(location: &Location) -> impl Fn(Error) -> Defect + use<> {
        let location = location.clone();
        move |error| Defect {
            kind: error.kind(),
            message: error.message().to_owned(),
            location: location.clone(),
        }
    }
}

/// A cube whose SQL is compiled.
#[derive(Debug, Clone)]
pub struct CompiledCube {
    relation: Compiled<LogicalPlan>,
    dimensions: HashMap<String, Compiled<RowMember>>,
    /// Of dimensions whose mask is computed.
    masks: HashMap<String, Compiled<RowMember>>,
    segments: HashMap<String, Compiled<RowMember>>,
    measures: HashMap<String, Compiled<CompiledMeasure>>,
    /// Measures over windows, without their windows.
    windows: HashMap<String, Compiled<CompiledMeasure>>,
}

fn found<'a, T>(compiled: Option<&'a Compiled<T>>, name: &str) -> Result<&'a T> {
    match compiled {
        Some(Ok(member)) => Ok(member),
        Some(Err(defect)) if defect.kind == ErrorKind::Invalid => Err(Error::invalid(defect.message.clone())),
        Some(Err(defect)) => Err(Error::new(
            defect.kind,
            format!("{}: {}", defect.location, defect.message),
        )),
        None => Err(Error::internal(format!("`{name}` is not compiled"))),
    }
}

impl CompiledCube {
    /// The cube's rows under the cube's name, bound to no project.
    ///
    /// # Errors
    /// `Model` when the cube's SQL is wrong.
    pub fn relation(&self) -> Result<&LogicalPlan> {
        found(Some(&self.relation), "the cube")
    }

    /// A dimension.
    ///
    /// # Errors
    /// `Model` when its SQL is wrong.
    pub fn dimension(&self, name: &str) -> Result<&RowMember> {
        found(self.dimensions.get(name), name)
    }

    /// The mask of a dimension, when it is computed.
    ///
    /// # Errors
    /// `Model` when its SQL is wrong.
    pub fn mask(&self, name: &str) -> Result<&RowMember> {
        found(self.masks.get(name), name)
    }

    /// A segment.
    ///
    /// # Errors
    /// `Model` when its SQL is wrong.
    pub fn segment(&self, name: &str) -> Result<&RowMember> {
        found(self.segments.get(name), name)
    }

    /// A measure.
    ///
    /// # Errors
    /// `Model` when its SQL is wrong.
    pub fn measure(&self, name: &str) -> Result<&CompiledMeasure> {
        found(self.measures.get(name), name)
    }

    /// A measure without its window, if it has one.
    ///
    /// # Errors
    /// `Model` when its SQL is wrong.
    pub fn window(&self, name: &str) -> Result<&CompiledMeasure> {
        found(self.windows.get(name).or_else(|| self.measures.get(name)), name)
    }

    /// Every error with the place it was written at. What is merely not answered yet is none.
    pub fn problems(&self) -> Vec<(Location, String)> {
        fn errors<'a, T: 'a>(all: impl Iterator<Item = &'a Compiled<T>>) -> Vec<(Location, String)> {
            let defects = all.filter_map(|one| one.as_ref().err());
            let wrong = defects.filter(|defect| defect.kind != ErrorKind::Invalid);
            wrong
                .map(|defect| (defect.location.clone(), defect.message.clone()))
                .collect()
        }
        let mut all = errors(std::iter::once(&self.relation));
        if all.is_empty() {
            all.extend(errors(self.dimensions.values()));
            all.extend(errors(self.masks.values()));
            all.extend(errors(self.segments.values()));
            all.extend(errors(self.measures.values()));
            all.extend(errors(self.windows.values()));
        }
        all.sort_by(|a, b| (&a.0.file, a.0.line, &a.1).cmp(&(&b.0.file, b.0.line, &b.1)));
        all
    }
}

/// A model whose SQL is compiled.
#[derive(Debug, Clone)]
pub struct CompiledModel {
    model: Arc<Model>,
    cubes: HashMap<String, Arc<CompiledCube>>,
    outlines: Arc<stage::Outlines>,
}

impl CompiledModel {
    /// Compiles every cube of `model`. Funnel cubes have no SQL and are left to the funnel planner.
    pub fn new(model: Arc<Model>) -> Self {
        let with_sql = model
            .cubes
            .values()
            .filter(|cube| matches!(cube.source, CubeSource::Table(_) | CubeSource::Sql(_)));
        let outlines = Arc::new(stage::Outlines::new(&model));
        let cubes = with_sql
            .map(|cube| (cube.name.clone(), Arc::new(compile(cube, &outlines))))
            .collect();
        Self { model, cubes, outlines }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How a measure is computed from other measures' answers; `None` when it is an aggregate of rows or of windows of rows.
    pub fn outline(&self, cube: &str, measure: &str) -> Option<Result<&Outline>> {
        self.outlines.get(cube, measure)
    }

    /// The compiled cube of this name.
    ///
    /// # Errors
    /// `Internal` when it is a funnel or unknown.
    pub fn cube(&self, name: &str) -> Result<&CompiledCube> {
        let cube = self.cubes.get(name).map(Arc::as_ref);
        cube.ok_or_else(|| Error::internal(format!("cube `{name}` is not compiled")))
    }
}

/// Compiles all SQL of `model` and tells every error with the place it was written at. An alias is not told twice.
pub fn check_sql(model: &Model) -> Vec<(Location, String)> {
    let checked = model.cubes.values().filter(|cube| cube.alias_of.is_none());
    let with_sql = checked.filter(|cube| matches!(cube.source, CubeSource::Table(_) | CubeSource::Sql(_)));
    let outlines = stage::Outlines::new(model);
    let mut problems: Vec<(Location, String)> = with_sql.flat_map(|cube| compile(cube, &outlines).problems()).collect();
    let aliased = |cube: &str| model.cubes.get(cube).is_some_and(|cube| cube.alias_of.is_some());
    for (cube, defect) in outlines.defects() {
        if defect.kind == ErrorKind::Model && !aliased(cube) {
            problems.push((defect.location.clone(), defect.message.clone()));
        }
    }
    problems
}

fn compile(cube: &Cube, outlines: &stage::Outlines) -> CompiledCube {
    let at = |location: &Location| Defect::at(location);
    let relation = relation(cube).map_err(at(&cube.location));
    let schema = match &relation {
        Ok(plan) => Arc::clone(plan.schema()),
        Err(_) => Arc::new(DFSchema::empty()),
    };
    let compiler = Compiler {
        cube,
        schema,
        measure_schema: Arc::new(DFSchema::empty()),
        substitutions: Cell::new(0),
    };
    let mut dimensions = HashMap::new();
    let mut masks = HashMap::new();
    let mut segments = HashMap::new();
    let mut measures = HashMap::new();
    let mut windows = HashMap::new();
    if relation.is_ok() {
        for dimension in cube
            .dimensions
            .iter()
            .filter(|dimension| dimension.unsupported.is_none())
        {
            let compiled = compiler.dimension(dimension).map_err(at(&dimension.location));
            dimensions.insert(dimension.name.clone(), compiled);
            if let Some(Mask::Sql(mask)) = &dimension.mask {
                let compiled = compiler.render(mask, false, 0).and_then(|text| compiler.row(&text));
                masks.insert(dimension.name.clone(), compiled.map_err(at(&mask.location)));
            }
        }
        for segment in &cube.segments {
            segments.insert(
                segment.name.clone(),
                compiler.segment(segment).map_err(at(&segment.location)),
            );
        }
        let compiler = compiler.with_measures();
        for measure in &cube.measures {
            if measure.unsupported.is_some() {
                continue;
            }
            let compiled = match outlines.has(&cube.name, &measure.name) {
                true => Err(staged(measure)),
                false => compiler.measure(measure, 0),
            };
            measures.insert(measure.name.clone(), compiled.map_err(at(&measure.location)));
            if let Some(whole) = measure.without_window() {
                let compiled = compiler.measure(&whole, 0).map_err(at(&measure.location));
                windows.insert(measure.name.clone(), compiled);
            }
        }
    }
    CompiledCube {
        relation,
        dimensions,
        masks,
        segments,
        measures,
        windows,
    }
}

fn staged(measure: &Measure) -> Error {
    Error::invalid(format!(
        "measure `{}` is computed over a window or in stages and cannot be used here",
        measure.name
    ))
}

/// The cube's rows, under the cube's name so that `{CUBE}.column` finds them.
fn relation(cube: &Cube) -> Result<LogicalPlan> {
    let plan = match &cube.source {
        CubeSource::Table(name) => tables::scan(table_name(name)?)?.build()?,
        CubeSource::Sql(template) => sql::query(&cube_sql(cube, template)?)?,
        CubeSource::Funnel(_) | CubeSource::View(_) => return Err(Error::internal("funnels and views have no SQL")),
    };
    let name = datafusion::common::TableReference::bare(cube.name.as_str());
    let plan = tables::tagged(plan, &cube.name)?;
    Ok(LogicalPlanBuilder::from(plan).alias(name)?.build()?)
}

/// The table that `sql_table` names: quotes and a `public.` are allowed.
fn table_name(written: &str) -> Result<&str> {
    let name = written.trim();
    let (schema, table) = name.rsplit_once('.').unwrap_or(("public", name));
    match schema.trim_matches('"') {
        "public" => Ok(table.trim_matches('"')),
        _ => Err(Error::model(format!(
            "table `{written}` does not exist: SQL can read `{}`",
            tables::ALL.join("` and `")
        ))),
    }
}

/// The text of a cube's `sql` with `FILTER_PARAMS` in their marker's form.
fn cube_sql(cube: &Cube, template: &SqlTemplate) -> Result<String> {
    let mut text = String::with_capacity(template.source.len());
    for piece in params::pieces(template).iter() {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Context(reference) if params::is_reference(reference) => {
                let expand = |template: &SqlTemplate| cube_sql(cube, template);
                text.push_str(&request_reference(reference, cube, &expand)?);
            }
            Piece::Context(reference) => return Err(not_in_cube_sql(reference)),
            Piece::Cube => return Err(Error::model("`{CUBE}` has no meaning in the `sql` of the cube itself")),
            Piece::Member(name) | Piece::OtherCube(name) => return Err(not_in_cube_sql(name)),
            Piece::OtherMember(other, name) => return Err(not_in_cube_sql(&format!("{other}.{name}"))),
        }
    }
    Ok(text.trim().trim_end_matches(';').to_owned())
}

/// The SQL of a reference to the request, written in `cube`.
fn request_reference(reference: &str, cube: &Cube, expand: &dyn Fn(&SqlTemplate) -> Result<String>) -> Result<String> {
    let kind_of = |named: &str, member: &str| {
        let dimension = (named == cube.name).then(|| cube.dimension(member)).flatten();
        dimension.map(|dimension| dimension.kind)
    };
    let around = params::Surroundings {
        cube: &cube.name,
        kind_of: &kind_of,
        expand,
    };
    params::render(reference, &around)
}

fn not_in_cube_sql(name: &str) -> Error {
    Error::invalid(format!("`{{{name}}}` is not answered in the `sql` of a cube"))
}

/// Compiles the members of one cube.
struct Compiler<'a> {
    cube: &'a Cube,
    /// The cube's columns.
    schema: DFSchemaRef,
    /// The cube's columns and one column for each measure, for the SQL of calculated measures.
    measure_schema: DFSchemaRef,
    /// Measures put into calculated measures so far.
    substitutions: Cell<usize>,
}

impl Compiler<'_> {
    fn with_measures(mut self) -> Self {
        let places = self.cube.measures.iter().map(|measure| {
            let field = Field::new(format!("{MEASURE_COLUMN}{}", measure.name), DataType::Float64, true);
            (None, Arc::new(field))
        });
        let columns = self
            .schema
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
        let all = DFSchema::new_with_metadata(columns.chain(places).collect(), HashMap::new());
        self.measure_schema = all.map(Arc::new).unwrap_or_else(|_| Arc::clone(&self.schema));
        self
    }

    /// The template's text with its references expanded. A measure becomes a column that stands for it.
    fn render(&self, template: &SqlTemplate, measures: bool, depth: usize) -> Result<String> {
        if depth > REFERENCE_DEPTH_MAX {
            return Err(Error::model(format!(
                "the references of `{}` go round in a circle",
                template.source
            )));
        }
        let mut text = String::with_capacity(template.source.len());
        for piece in params::pieces(template).iter() {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Context(reference) if params::is_reference(reference) => {
                    let expand = |template: &SqlTemplate| self.render(template, false, depth + 1);
                    text.push_str(&request_reference(reference, self.cube, &expand)?);
                }
                Piece::Cube => text.push_str(&quoted(&self.cube.name)),
                Piece::Member(name) => text.push_str(&self.reference(name, measures, depth)?),
                Piece::OtherMember(cube, name) if *cube == self.cube.name => {
                    text.push_str(&self.reference(name, measures, depth)?);
                }
                Piece::OtherMember(cube, name) => {
                    return Err(Error::invalid(format!(
                        "`{{{cube}.{name}}}` needs a join, which is not answered yet"
                    )));
                }
                Piece::OtherCube(name) => {
                    return Err(Error::invalid(format!(
                        "`{{{name}}}` needs a join, which is not answered yet"
                    )));
                }
                Piece::Context(reference) => {
                    return Err(Error::invalid(format!(
                        "`{{{reference}}}` is not answered in the SQL of a member"
                    )));
                }
            }
        }
        if text.len() > sql::SQL_BYTES_MAX {
            return Err(Error::model(format!(
                "`{}` is too long after expanding its references",
                template.source
            )));
        }
        Ok(text)
    }

    fn reference(&self, name: &str, measures: bool, depth: usize) -> Result<String> {
        match self.cube.member(name) {
            Some(Member::Dimension(dimension)) => Ok(format!("({})", self.dimension_sql(dimension, depth + 1)?)),
            Some(Member::Segment(segment)) => Ok(format!("({})", self.render(&segment.sql, false, depth + 1)?)),
            Some(Member::Measure(_)) if measures => Ok(quoted(&format!("{MEASURE_COLUMN}{name}"))),
            Some(Member::Measure(_)) => Err(Error::model(format!(
                "`{{{name}}}` is a measure: only measures of type number, string, boolean and time can refer to it"
            ))),
            // Not a member: a column of the cube, as Cube takes it.
            None => Ok(format!("{}.{}", quoted(&self.cube.name), quoted(name))),
        }
    }

    fn dimension_sql(&self, dimension: &Dimension, depth: usize) -> Result<String> {
        match &dimension.sql {
            DimensionSql::Expr(template) => self.render(template, false, depth),
            DimensionSql::Case { when, else_label } => {
                let label = |label: &CaseLabel| -> Result<String> {
                    match label {
                        CaseLabel::Text(text) => Ok(format!("'{}'", text.replace('\'', "''"))),
                        CaseLabel::Sql(template) => Ok(format!("({})", self.render(template, false, depth)?)),
                    }
                };
                let mut text = String::from("CASE");
                for (condition, then) in when {
                    let condition = self.render(condition, false, depth)?;
                    text.push_str(&format!(" WHEN ({condition}) THEN {}", label(then)?));
                }
                if let Some(otherwise) = else_label {
                    text.push_str(&format!(" ELSE {}", label(otherwise)?));
                }
                text.push_str(" END");
                Ok(text)
            }
            DimensionSql::Geo { latitude, longitude } => Ok(format!(
                "CAST(({}) AS VARCHAR) || ',' || CAST(({}) AS VARCHAR)",
                self.render(latitude, false, depth)?,
                self.render(longitude, false, depth)?
            )),
            DimensionSql::Funnel => Err(Error::internal("a funnel's dimension has no SQL")),
        }
    }

    /// Parses text against the cube's columns and finds its type.
    fn row(&self, text: &str) -> Result<RowMember> {
        let expr = sql::expression(text, &self.schema)?;
        if contains_aggregate(&expr) {
            return Err(Error::model("an aggregate is not allowed here"));
        }
        let data_type = expr.get_type(&self.schema).map_err(sql::model_error)?;
        Ok(RowMember {
            column: filter::Column { expr, data_type },
        })
    }

    fn dimension(&self, dimension: &Dimension) -> Result<RowMember> {
        let member = self.row(&self.dimension_sql(dimension, 0)?)?;
        Ok(match (dimension.kind, &member.column.data_type) {
            // Instants are compared and cut as such, whatever the column's precision and zone.
            (DimensionType::Time, found) if *found != filter::instant_type() && is_temporal(found) => RowMember {
                column: filter::Column {
                    expr: filter::cast(member.column.expr, filter::instant_type()),
                    data_type: filter::instant_type(),
                },
            },
            _ => member,
        })
    }

    fn condition(&self, template: &SqlTemplate) -> Result<Expr> {
        let member = self.row(&self.render(template, false, 0)?)?;
        match member.column.data_type {
            DataType::Boolean | DataType::Null => Ok(member.column.expr),
            other => Err(Error::model(format!(
                "`{}` is no condition: it gives {other}",
                template.source
            ))),
        }
    }

    fn segment(&self, segment: &Segment) -> Result<RowMember> {
        let expr = self.condition(&segment.sql)?;
        Ok(RowMember {
            column: filter::Column {
                expr,
                data_type: DataType::Boolean,
            },
        })
    }

    fn measure(&self, measure: &Measure, depth: usize) -> Result<CompiledMeasure> {
        self.substitutions.set(self.substitutions.get() + 1);
        if depth > REFERENCE_DEPTH_MAX || self.substitutions.get() > SUBSTITUTIONS_MAX {
            return Err(Error::model(format!(
                "the references of `{}` go round in a circle",
                measure.name
            )));
        }
        if let Some(key) = &measure.unsupported {
            return Err(Error::model(format!(
                "`{}` is not answered yet: it uses `{key}`",
                measure.name
            )));
        }
        if measure.is_staged() {
            return Err(staged(measure));
        }
        let filters: Result<Vec<Expr>> = measure
            .filters
            .iter()
            .map(|template| self.condition(template))
            .collect();
        let filter = filter::balanced(filters?, true);
        let Some(template) = &measure.sql else {
            return self.finished(
                measure,
                Parts {
                    sql: None,
                    sql_type: None,
                    filter,
                },
                None,
            );
        };
        let calculated = measure.kind.row().calculated;
        let text = self.render(template, calculated, 0)?;
        if !calculated {
            let column = self.row(&text)?.column;
            return self.finished(
                measure,
                Parts {
                    sql: Some(column.expr),
                    sql_type: Some(column.data_type),
                    filter,
                },
                None,
            );
        }
        let outline = sql::expression(&text, &self.measure_schema)?;
        let aggregate = self.substituted(outline.clone(), depth, |measure| Ok(measure.aggregate))?;
        let row = self.substituted(outline, depth, |measure| measure.row.map_err(Error::model));
        self.finished(
            measure,
            Parts {
                sql: Some(aggregate),
                sql_type: None,
                filter: None,
            },
            Some(row),
        )
    }

    /// `outline` with every column that stands for a measure replaced by what `part` takes of it.
    fn substituted(&self, outline: Expr, depth: usize, part: impl Fn(CompiledMeasure) -> Result<Expr>) -> Result<Expr> {
        let replaced = outline.transform_up(|expr| {
            let Expr::Column(column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            let Some(name) = column.name.strip_prefix(MEASURE_COLUMN) else {
                return Ok(Transformed::no(expr));
            };
            let external = |error: Error| datafusion::error::DataFusionError::External(error.into());
            let measure = self
                .cube
                .measure(name)
                .ok_or_else(|| external(Error::internal("a measure is gone")))?;
            let compiled = self.measure(measure, depth + 1).and_then(&part).map_err(external)?;
            Ok(Transformed::yes(compiled))
        });
        Ok(replaced.map_err(sql::model_error)?.data)
    }

    fn finished(&self, measure: &Measure, parts: Parts, row: Option<Result<Expr>>) -> Result<CompiledMeasure> {
        let aggregate = measure::aggregate(measure, &parts)?;
        let data_type = aggregate.get_type(&self.schema).map_err(sql::model_error)?;
        let row = row.unwrap_or_else(|| measure::of_row(measure, &parts)).and_then(|row| {
            if contains_aggregate(&row) {
                return Err(Error::invalid(format!(
                    "measure `{}` aggregates rows, so an ungrouped query cannot have it",
                    measure.name
                )));
            }
            Ok(row)
        });
        Ok(CompiledMeasure {
            aggregate,
            data_type,
            row: row.map_err(|error| error.message().to_owned()),
            filter: parts.filter,
        })
    }
}

fn is_temporal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

fn contains_aggregate(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::AggregateFunction(_) | Expr::WindowFunction(_))))
        .unwrap_or(true)
}

/// A name as a quoted identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

//! From templates to expressions, over all cubes of a model.

use super::measures::staged;
use super::relation::{relation, request_reference};
use super::scope::Scope;
use super::stage::Outlines;
use super::{
    Compiled, CompiledCube, CompiledMeasure, Defect, JoinCondition, REFERENCE_DEPTH_MAX, RowMember, SUB_QUERY_COLUMN,
};
use crate::error::{Error, Result};
use crate::functions;
use crate::model::{
    CaseLabel, Cube, CubeSource, Dialect, Dimension, DimensionSql, DimensionType, Location, Mask, Measure, MeasureType,
    Member, Model, Origin, Piece, Segment, SqlTemplate,
};
use crate::query::join::{self, JoinPath, path_reference};
use crate::query::{filter, params, sql};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, DFSchemaRef, TableReference};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// Members compiled so far; `None` while one is being compiled, so that a circle is seen.
type Slots<T> = RefCell<HashMap<(String, String), Option<Compiled<T>>>>;

/// Compiles the members of all cubes, each once.
pub(super) struct Compiler<'m> {
    model: &'m Model,
    outlines: &'m Outlines,
    dialects: HashMap<&'m str, Dialect>,
    relations: HashMap<&'m str, Compiled<LogicalPlan>>,
    nothing: DFSchemaRef,
    rows: Slots<RowMember>,
    measures: Slots<CompiledMeasure>,
    depth: Cell<usize>,
}

impl<'m> Compiler<'m> {
    pub(super) fn new(model: &'m Model, outlines: &'m Outlines) -> Self {
        let dialects: HashMap<&str, Dialect> = model
            .cubes
            .values()
            .map(|cube| (cube.name.as_str(), sql::dialect_of_cube(cube)))
            .collect();
        let of = |cube: &'m Arc<Cube>| {
            let dialect = dialects.get(cube.name.as_str()).copied();
            let compiled = relation(cube, dialect.unwrap_or(Dialect::PostgreSql)).map_err(Defect::at(&cube.location));
            (cube.name.as_str(), compiled)
        };
        let with_rows = |cube: &&Arc<Cube>| matches!(cube.source, CubeSource::Table(_) | CubeSource::Sql(_));
        Self {
            model,
            outlines,
            relations: model.cubes.values().filter(with_rows).map(of).collect(),
            dialects,
            nothing: Arc::new(DFSchema::empty()),
            rows: RefCell::default(),
            measures: RefCell::default(),
            depth: Cell::new(0),
        }
    }

    /// Everything of one cube.
    pub(super) fn cube(&self, cube: &'m Cube) -> CompiledCube {
        let relation = match self.relations.get(cube.name.as_str()) {
            Some(relation) => relation.clone(),
            None => Err(Defect::at(&cube.location)(Error::internal(format!(
                "`{}` is a view and has no rows",
                cube.name
            )))),
        };
        let mut compiled = CompiledCube {
            name: cube.name.clone(),
            relation,
            dimensions: HashMap::new(),
            masks: HashMap::new(),
            segments: HashMap::new(),
            measures: HashMap::new(),
            windows: HashMap::new(),
            sub_queries: HashMap::new(),
            joins: HashMap::new(),
        };
        if compiled.relation.is_err() && cube.view().is_none() {
            return compiled;
        }
        for dimension in cube.dimensions.iter().filter(|d| d.unsupported.is_none()) {
            compiled
                .dimensions
                .insert(dimension.name.clone(), self.row(cube, &dimension.name));
            if let Some(Mask::Sql(mask)) = &dimension.mask
                && dimension.origin.is_none()
            {
                let made = self
                    .mask(cube, &dimension.name, mask)
                    .map_err(Defect::at(&mask.location));
                compiled.masks.insert(dimension.name.clone(), made);
            }
            if dimension.sub_query && dimension.origin.is_none() {
                let computed = self.sub_query(cube, dimension).map_err(Defect::at(&dimension.location));
                compiled.sub_queries.insert(dimension.name.clone(), computed);
            }
        }
        for segment in cube.segments.iter().filter(|s| s.unsupported.is_none()) {
            compiled
                .segments
                .insert(segment.name.clone(), self.row(cube, &segment.name));
        }
        for measure in cube.measures.iter().filter(|m| m.unsupported.is_none()) {
            compiled
                .measures
                .insert(measure.name.clone(), self.measure(cube, &measure.name));
            if let Some(whole) = measure.without_window()
                && measure.origin.is_none()
            {
                let made = self.uses(cube, &measure.name);
                let made = made.and_then(|uses| self.own_measure(cube, &whole, uses));
                let made = made.map_err(Defect::at(&measure.location));
                compiled.windows.insert(measure.name.clone(), made);
            }
        }
        for join in cube
            .joins
            .iter()
            .filter(|join| self.model.cubes.contains_key(&join.target))
        {
            let condition = self.join(cube, &join.sql).map_err(Defect::at(&join.location));
            compiled.joins.insert(join.target.clone(), condition);
        }
        compiled
    }

    fn dialect(&self, cube: &Cube) -> Dialect {
        let known = self.dialects.get(cube.name.as_str()).copied();
        known.unwrap_or(Dialect::PostgreSql)
    }

    pub(super) fn columns(&self, cube: &Cube) -> &DFSchemaRef {
        match self.relations.get(cube.name.as_str()) {
            Some(Ok(plan)) => plan.schema(),
            _ => &self.nothing,
        }
    }

    fn other(&self, name: &str) -> Result<&'m Cube> {
        match self.model.cubes.get(name).map(Arc::as_ref) {
            Some(cube) if matches!(cube.source, CubeSource::Funnel(_)) => {
                Err(Error::model(format!("`{name}` is a funnel: no SQL can refer to it")))
            }
            Some(cube) => Ok(cube),
            None => Err(Error::model(format!("cube `{name}` does not exist"))),
        }
    }

    /// Does `work` one level of references deeper.
    fn deeper<T>(&self, what: &str, location: &Location, work: impl FnOnce() -> Result<T>) -> Compiled<T> {
        let depth = self.depth.get();
        if depth > REFERENCE_DEPTH_MAX {
            return Err(Defect::at(location)(circle(what)));
        }
        self.depth.set(depth + 1);
        let done = work();
        self.depth.set(depth);
        done.map_err(Defect::at(location))
    }

    /// The dimension or segment `name` of `cube`, compiled once.
    pub(super) fn row(&self, cube: &'m Cube, name: &str) -> Compiled<RowMember> {
        let location = match cube.member(name) {
            Some(Member::Dimension(dimension)) => &dimension.location,
            Some(Member::Segment(segment)) => &segment.location,
            _ => &cube.location,
        };
        memo(&self.rows, cube, name, location, || {
            self.deeper(name, location, || match cube.member(name) {
                Some(Member::Dimension(dimension)) => self.dimension(cube, dimension),
                Some(Member::Segment(segment)) => self.segment(cube, segment),
                _ => Err(Error::model(format!("`{}.{name}` is no dimension", cube.name))),
            })
        })
    }

    /// The measure `name` of `cube`, compiled once.
    fn measure(&self, cube: &'m Cube, name: &str) -> Compiled<CompiledMeasure> {
        let Some(measure) = cube.measure(name) else {
            let missing = Error::model(format!("`{}.{name}` is no measure", cube.name));
            return Err(Defect::at(&cube.location)(missing));
        };
        memo(&self.measures, cube, name, &measure.location, || {
            self.deeper(name, &measure.location, || match &measure.origin {
                Some(origin) => Ok(CompiledMeasure {
                    uses: self.uses(cube, name)?,
                    ..told(self.measure(self.other(origin.cube())?, &origin.member))?
                }),
                None if self.outlines.has(&cube.name, name) => Err(staged(measure)),
                None => self.own_measure(cube, measure, self.uses(cube, name)?),
            })
        })
    }

    fn uses(&self, cube: &Cube, name: &str) -> Result<Arc<[JoinPath]>> {
        Ok(join::hints(self.model, &format!("{}.{name}", cube.name))?.into())
    }

    /// The template's text with its references as columns of `scope`.
    pub(super) fn render(
        &self,
        cube: &'m Cube,
        template: &SqlTemplate,
        scope: &mut Scope,
        measures: bool,
    ) -> Result<String> {
        let mut text = String::with_capacity(template.source.len());
        for piece in params::pieces(template).iter() {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Context(reference) if params::is_reference(reference) => {
                    let inner = RefCell::new(&mut *scope);
                    let expand = |template: &SqlTemplate| self.render(cube, template, &mut inner.borrow_mut(), false);
                    text.push_str(&request_reference(reference, cube, &expand)?);
                }
                Piece::Cube if cube.view().is_some() => {
                    return Err(Error::model(format!(
                        "`{{CUBE}}`: the view `{}` has no columns of its own",
                        cube.name
                    )));
                }
                Piece::Cube => text.push_str(&quoted(&cube.name)),
                Piece::Member(name) => text.push_str(&self.reference(cube, name, scope, measures)?),
                Piece::OtherMember(other, name) if *other == cube.name => {
                    text.push_str(&self.reference(cube, name, scope, measures)?);
                }
                Piece::OtherMember(other, name) => {
                    text.push_str(&self.member(self.other(other)?, name, scope, measures)?);
                }
                Piece::OtherCube(name) => {
                    scope.cube(self.other_columns(name)?);
                    text.push_str(&quoted(name));
                }
                Piece::Context(reference) => match path_reference(reference) {
                    Some((way, name)) => {
                        let owner = way.last().copied().unwrap_or_default();
                        text.push_str(&self.member(self.other(owner)?, name, scope, measures)?);
                    }
                    None => {
                        return Err(Error::invalid(format!(
                            "`{{{reference}}}` is not answered in the SQL of a member"
                        )));
                    }
                },
            }
        }
        if text.len().saturating_add(scope.weight) > sql::SQL_BYTES_MAX {
            return Err(Error::model(format!(
                "`{}` is too long after expanding its references",
                template.source
            )));
        }
        Ok(text)
    }

    fn other_columns(&self, name: &str) -> Result<&DFSchemaRef> {
        match self.relations.get(name) {
            Some(Ok(plan)) => Ok(plan.schema()),
            Some(Err(defect)) => Err(Error::new(defect.kind, defect.message.clone())),
            None => Err(Error::model(format!(
                "`{{{name}}}`: `{name}` has no columns to refer to"
            ))),
        }
    }

    /// A reference to a member or a column of the cube itself.
    fn reference(&self, cube: &'m Cube, name: &str, scope: &mut Scope, measures: bool) -> Result<String> {
        match cube.member(name) {
            Some(_) => self.member(cube, name, scope, measures),
            None if cube.view().is_some() => Err(Error::model(format!("`{{{name}}}` does not exist"))),
            // Not a member: a column of the cube, as Cube takes it.
            None => Ok(format!("{}.{}", quoted(&cube.name), quoted(name))),
        }
    }

    /// A reference by a column that stands for the member.
    fn member(&self, cube: &'m Cube, name: &str, scope: &mut Scope, measures: bool) -> Result<String> {
        match cube.member(name) {
            Some(Member::Measure(measure)) if measures => {
                if let Some(key) = &measure.unsupported {
                    return Err(not_yet(name, key));
                }
                let compiled = told(self.measure(cube, name))?;
                Ok(quoted(&scope.measure(&cube.name, name, compiled)))
            }
            Some(Member::Measure(_)) => Err(Error::model(format!(
                "`{{{name}}}` is a measure: only measures of type number, string, boolean and time can refer to it"
            ))),
            Some(_) => {
                let compiled = told(self.row(cube, name))?;
                Ok(quoted(&scope.row(&cube.name, name, &compiled.raw, compiled.weight)))
            }
            None => Err(Error::model(format!("`{{{}.{name}}}` does not exist", cube.name))),
        }
    }

    fn dimension_sql(&self, cube: &'m Cube, dimension: &Dimension, scope: &mut Scope) -> Result<String> {
        match &dimension.sql {
            DimensionSql::Expr(template) => self.render(cube, template, scope, false),
            DimensionSql::Case { when, else_label } => {
                let label = |label: &CaseLabel, scope: &mut Scope| -> Result<String> {
                    match label {
                        CaseLabel::Text(text) => Ok(format!("'{}'", text.replace('\'', "''"))),
                        CaseLabel::Sql(template) => Ok(format!("({})", self.render(cube, template, scope, false)?)),
                    }
                };
                let mut text = String::from("CASE");
                for (condition, then) in when {
                    let condition = self.render(cube, condition, scope, false)?;
                    text.push_str(&format!(" WHEN ({condition}) THEN {}", label(then, scope)?));
                }
                if let Some(otherwise) = else_label {
                    text.push_str(&format!(" ELSE {}", label(otherwise, scope)?));
                }
                text.push_str(" END");
                Ok(text)
            }
            DimensionSql::Geo { latitude, longitude } => Ok(format!(
                "CAST(({}) AS VARCHAR) || ',' || CAST(({}) AS VARCHAR)",
                self.render(cube, latitude, scope, false)?,
                self.render(cube, longitude, scope, false)?
            )),
            DimensionSql::Switch(_) => Err(Error::invalid(format!(
                "`{}` is of type switch, which is not answered yet",
                dimension.name
            ))),
            DimensionSql::Funnel => Err(Error::internal("a funnel's dimension has no SQL")),
        }
    }

    /// Parses text against the cube's columns and finds its type. Row members are not yet put in.
    pub(super) fn parsed(&self, cube: &Cube, text: &str, scope: &Scope) -> Result<(Expr, DataType)> {
        let schema = scope.schema(self.columns(cube))?;
        let expr = sql::expression_in(self.dialect(cube), text, &schema)?;
        let data_type = expr.get_type(&schema).map_err(sql::model_error)?;
        Ok((expr, data_type))
    }

    /// As [`Compiler::parsed`], for what is computed from one row.
    pub(super) fn on_row(&self, cube: &Cube, text: &str, scope: &Scope) -> Result<(Expr, DataType)> {
        let (expr, data_type) = self.parsed(cube, text, scope)?;
        if contains_aggregate(&expr) {
            return Err(Error::model("an aggregate is not allowed here"));
        }
        Ok((expr, data_type))
    }

    fn row_member(
        &self,
        cube: &'m Cube,
        name: &str,
        (expr, data_type): (Expr, DataType),
        weight: usize,
    ) -> Result<RowMember> {
        let raw = filter::Column { expr, data_type };
        Ok(RowMember {
            column: raw.clone(),
            raw,
            uses: self.uses(cube, name)?,
            weight,
        })
    }

    fn of_origin(&self, cube: &'m Cube, name: &str, origin: &Origin) -> Result<RowMember> {
        Ok(RowMember {
            uses: self.uses(cube, name)?,
            ..told(self.row(self.other(origin.cube())?, &origin.member))?
        })
    }

    fn dimension(&self, cube: &'m Cube, dimension: &'m Dimension) -> Result<RowMember> {
        if let Some(origin) = &dimension.origin {
            return self.of_origin(cube, &dimension.name, origin);
        }
        if let Some(key) = &dimension.unsupported {
            return Err(not_yet(&dimension.name, key));
        }
        let mut member = match dimension.sub_query {
            true => {
                let computed = self.sub_query(cube, dimension)?;
                let column = Column::new(
                    Some(TableReference::bare(cube.name.as_str())),
                    format!("{SUB_QUERY_COLUMN}{}", dimension.name),
                );
                let typed = (Expr::Column(column), computed.data_type);
                self.row_member(cube, &dimension.name, typed, computed.weight)?
            }
            false => {
                let mut scope = Scope::default();
                let text = self.dimension_sql(cube, dimension, &mut scope)?;
                let (expr, data_type) = self.on_row(cube, &text, &scope)?;
                let weight = text.len().saturating_add(scope.weight);
                self.row_member(cube, &dimension.name, (scope.filled(expr)?, data_type), weight)?
            }
        };
        // Instants are compared and cut as such, whatever the column's precision and zone.
        let found = &member.raw.data_type;
        if dimension.kind == DimensionType::Time && *found != filter::instant_type() && is_temporal(found) {
            member.column = filter::Column {
                expr: filter::cast(member.raw.expr.clone(), filter::instant_type()),
                data_type: filter::instant_type(),
            };
        }
        Ok(member)
    }

    fn mask(&self, cube: &'m Cube, name: &str, mask: &'m SqlTemplate) -> Result<RowMember> {
        let mut scope = Scope::default();
        let text = self.render(cube, mask, &mut scope, false)?;
        let (expr, data_type) = self.on_row(cube, &text, &scope)?;
        self.row_member(cube, name, (scope.filled(expr)?, data_type), text.len())
    }

    /// What a sub-query dimension computes for each row of its cube.
    fn sub_query(&self, cube: &'m Cube, dimension: &'m Dimension) -> Result<CompiledMeasure> {
        let DimensionSql::Expr(template) = &dimension.sql else {
            return Err(Error::model(format!(
                "`{}` is a sub query: its `sql` must be an expression over measures",
                dimension.name
            )));
        };
        if !cube.dimensions.iter().any(|dimension| dimension.primary_key) {
            return Err(primary_key_needed(&cube.name));
        }
        let measure = Measure {
            sql: Some(template.clone()),
            ..Measure::new(&dimension.name, MeasureType::Number, dimension.location.clone())
        };
        let uses = join::of_templates(self.model, cube, &[template]);
        self.own_measure(cube, &measure, uses.into())
    }

    pub(super) fn condition(&self, cube: &'m Cube, template: &SqlTemplate, scope: &mut Scope) -> Result<(Expr, usize)> {
        let text = self.render(cube, template, scope, false)?;
        match self.on_row(cube, &text, scope)? {
            (expr, DataType::Boolean | DataType::Null) => Ok((expr, text.len())),
            // ClickHouse's conditions are numbers.
            (expr, found) if found.is_numeric() && self.dialect(cube) == Dialect::ClickHouse => {
                let truth = functions::scalar(functions::TRUTH).ok_or_else(|| Error::internal("a function is gone"))?;
                Ok((truth.call(vec![expr]), text.len()))
            }
            (_, other) => Err(Error::model(format!(
                "`{}` is no condition: it gives {other}",
                template.source
            ))),
        }
    }

    fn segment(&self, cube: &'m Cube, segment: &Segment) -> Result<RowMember> {
        if let Some(origin) = &segment.origin {
            return self.of_origin(cube, &segment.name, origin);
        }
        if let Some(key) = &segment.unsupported {
            return Err(not_yet(&segment.name, key));
        }
        let mut scope = Scope::default();
        let (expr, length) = self.condition(cube, &segment.sql, &mut scope)?;
        let weight = length.saturating_add(scope.weight);
        self.row_member(cube, &segment.name, (scope.filled(expr)?, DataType::Boolean), weight)
    }

    fn join(&self, cube: &'m Cube, template: &SqlTemplate) -> Result<JoinCondition> {
        let mut scope = Scope::default();
        let (expr, _) = self.condition(cube, template, &mut scope)?;
        Ok(JoinCondition {
            expr: scope.filled(expr)?,
            uses: join::of_templates(self.model, cube, &[template]).into(),
        })
    }
}

/// What `compile` gives for a member, computed once.
fn memo<T: Clone>(
    slots: &Slots<T>,
    cube: &Cube,
    name: &str,
    location: &Location,
    compile: impl FnOnce() -> Compiled<T>,
) -> Compiled<T> {
    let key = (cube.name.clone(), name.to_owned());
    match slots.borrow().get(&key) {
        Some(Some(done)) => return done.clone(),
        Some(None) => return Err(Defect::at(location)(circle(name))),
        None => {}
    }
    slots.borrow_mut().insert(key.clone(), None);
    let done = compile();
    slots.borrow_mut().insert(key, Some(done.clone()));
    done
}

/// The error of a member that another refers to, without its place.
pub(super) fn told<T>(compiled: Compiled<T>) -> Result<T> {
    compiled.map_err(|defect| Error::new(defect.kind, defect.message))
}

fn circle(what: &str) -> Error {
    Error::model(format!("the references of `{what}` go round in a circle"))
}

pub(super) fn not_yet(name: &str, key: &str) -> Error {
    Error::invalid(format!("`{name}` is not answered yet: it uses `{key}`"))
}

/// Cube's text for a cube that must have a primary key and has none.
pub(super) fn primary_key_needed(cube: &str) -> Error {
    Error::invalid(format!("One or more Primary key is required for '{cube}' cube"))
}

fn is_temporal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

pub(super) fn contains_aggregate(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::AggregateFunction(_) | Expr::WindowFunction(_))))
        .unwrap_or(true)
}

/// A name as a quoted identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

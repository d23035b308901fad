//! Compiles the SQL of a model once: every member becomes an expression on its cube's rows, every cube a plan without a
//! project, every join a condition. A member that is wrong does not hinder the others; asking for it gives its error.

mod compiler;
mod extra;
mod measures;
mod relation;
mod scope;
mod stage;

pub use extra::{Extra, aggregates, together};
pub use stage::{Outline, Reference};

use super::filter;
use super::join::{Graph, JoinPath};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{CubeSource, Location, Model};
use arrow::datatypes::DataType;
use compiler::Compiler;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use std::collections::HashMap;
use std::sync::Arc;

/// Levels of references to references. A circle is deeper than any honest model.
const REFERENCE_DEPTH_MAX: usize = 32;
/// Beginning of the name of the column of a cube's rows that holds a sub-query dimension's value.
pub const SUB_QUERY_COLUMN: &str = "subquery:";
/// Beginning of the name of a column that stands for an aggregate of [`CompiledMeasure::leaves`]; its index follows.
pub const LEAF_COLUMN: &str = "leaf:";

/// A compiled row-level member.
#[derive(Debug, Clone)]
pub struct RowMember {
    /// The expression on the rows of the cube, or of the cubes it refers to, with its type.
    pub column: filter::Column,
    /// The same as the author wrote it: instants are not yet made so.
    pub raw: filter::Column,
    /// The cubes it needs, in Cube's order; see [`super::join::hints`].
    pub uses: Arc<[JoinPath]>,
    /// Bytes of SQL that it stands for.
    weight: usize,
}

/// An aggregate that a measure is computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The cube whose rows it aggregates.
    pub cube: String,
    /// The aggregate over the rows of that cube alone.
    pub alone: Expr,
    /// The same over joined rows, where a row of the cube may be missing: counts tell it by the primary key.
    pub joined: Expr,
}

impl Leaf {
    /// The place of `leaf` in `leaves`, where it is put when it is new.
    fn place(leaves: &mut Vec<Leaf>, leaf: Leaf) -> usize {
        match leaves.iter().position(|known| *known == leaf) {
            Some(at) => at,
            None => {
                leaves.push(leaf);
                leaves.len() - 1
            }
        }
    }
}

/// A compiled measure.
#[derive(Debug, Clone)]
pub struct CompiledMeasure {
    /// The aggregate, or an expression over aggregates, on the rows of one cube alone.
    pub aggregate: Expr,
    /// The same with a [`LEAF_COLUMN`] in the place of each aggregate.
    pub outline: Expr,
    /// The aggregates.
    pub leaves: Vec<Leaf>,
    /// Its type.
    pub data_type: DataType,
    /// Its value for one row, for queries without grouping; the error of an aggregate that has none.
    pub row: std::result::Result<Expr, String>,
    /// The conditions that a row must meet to be counted.
    pub filter: Option<Expr>,
    /// The cubes it needs, in Cube's order; see [`super::join::hints`].
    pub uses: Arc<[JoinPath]>,
    /// Bytes of SQL that it stands for.
    weight: usize,
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

/// The condition of a join.
#[derive(Debug, Clone)]
pub struct JoinCondition {
    /// The condition on the joined rows.
    pub expr: Expr,
    /// The cubes it refers to.
    pub uses: Arc<[JoinPath]>,
}

/// A cube whose SQL is compiled.
#[derive(Debug, Clone)]
pub struct CompiledCube {
    name: String,
    relation: Compiled<LogicalPlan>,
    dimensions: HashMap<String, Compiled<RowMember>>,
    /// Of dimensions whose mask is computed.
    masks: HashMap<String, Compiled<RowMember>>,
    segments: HashMap<String, Compiled<RowMember>>,
    measures: HashMap<String, Compiled<CompiledMeasure>>,
    /// Measures over windows, without their windows.
    windows: HashMap<String, Compiled<CompiledMeasure>>,
    /// What the sub-query dimensions compute.
    sub_queries: HashMap<String, Compiled<CompiledMeasure>>,
    joins: HashMap<String, Compiled<JoinCondition>>,
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
    /// `Model` when the cube's SQL is wrong, `Internal` for a view, which has no rows.
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

    /// The measure that a sub-query dimension of this name computes for each primary key.
    ///
    /// # Errors
    /// `Model` when its SQL is wrong.
    pub fn sub_query(&self, name: &str) -> Result<&CompiledMeasure> {
        found(self.sub_queries.get(name), name)
    }

    /// The condition of the join to `target`.
    ///
    /// # Errors
    /// `Model` when its SQL is wrong.
    pub fn join(&self, target: &str) -> Result<&JoinCondition> {
        found(self.joins.get(target), target)
    }

    /// Every error with the place it was written at. What is merely not answered yet is none.
    pub fn problems(&self) -> Vec<(Location, String)> {
        fn errors<'a, T: 'a>(all: impl Iterator<Item = &'a Compiled<T>>) -> Vec<(Location, String)> {
            let defects = all.filter_map(|one| one.as_ref().err());
            let wrong = defects.filter(|defect| defect.kind == ErrorKind::Model);
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
            all.extend(errors(self.sub_queries.values()));
            all.extend(errors(self.joins.values()));
        }
        all.sort_by(|a, b| (&a.0.file, a.0.line, &a.1).cmp(&(&b.0.file, b.0.line, &b.1)));
        all.dedup();
        all
    }
}

/// A model whose SQL is compiled.
#[derive(Debug, Clone)]
pub struct CompiledModel {
    model: Arc<Model>,
    graph: Arc<Graph>,
    cubes: HashMap<String, Arc<CompiledCube>>,
    outlines: Arc<stage::Outlines>,
}

impl CompiledModel {
    /// Compiles every cube of `model`. Funnel cubes have no SQL and are left to the funnel planner.
    pub fn new(model: Arc<Model>) -> Self {
        let outlines = Arc::new(stage::Outlines::new(&model));
        Self {
            graph: Arc::new(Graph::new(&model)),
            cubes: compile(&model, &outlines),
            model,
            outlines,
        }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How a measure is computed from other measures' answers; `None` when it is an aggregate of rows or of windows of rows.
    pub fn outline(&self, cube: &str, measure: &str) -> Option<Result<&Outline>> {
        self.outlines.get(cube, measure)
    }

    /// Its joins.
    pub fn graph(&self) -> &Graph {
        &self.graph
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
    let outlines = stage::Outlines::new(model);
    let compiled = compile(model, &outlines);
    let checked = model.cubes.values().filter(|cube| cube.alias_of.is_none());
    let checked = checked.filter_map(|cube| compiled.get(&cube.name));
    let mut problems: Vec<(Location, String)> = checked.flat_map(|cube| cube.problems()).collect();
    let aliased = |cube: &str| model.cubes.get(cube).is_some_and(|cube| cube.alias_of.is_some());
    for (cube, defect) in outlines.defects() {
        if defect.kind == ErrorKind::Model && !aliased(cube) {
            problems.push((defect.location.clone(), defect.message.clone()));
        }
    }
    problems
}

fn compile(model: &Model, outlines: &stage::Outlines) -> HashMap<String, Arc<CompiledCube>> {
    let compiler = Compiler::new(model, outlines);
    let answered = model
        .cubes
        .values()
        .filter(|cube| !matches!(cube.source, CubeSource::Funnel(_)));
    answered
        .map(|cube| (cube.name.clone(), Arc::new(compiler.cube(cube))))
        .collect()
}

/// `expr` over the rows of `cube` with its aggregates taken to leaves.
///
/// # Errors
/// None of its own.
fn outlined(cube: &str, expr: Expr) -> Result<(Expr, Vec<Leaf>)> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let outline = expr.transform_down(|expr| {
        if !matches!(expr, Expr::AggregateFunction(_)) {
            return Ok(Transformed::no(expr));
        }
        let leaf = Leaf {
            cube: cube.to_owned(),
            alone: expr.clone(),
            joined: expr,
        };
        let place = leaf_column(Leaf::place(&mut leaves, leaf));
        Ok(Transformed::new(place, true, TreeNodeRecursion::Jump))
    });
    Ok((outline.map_err(super::sql::model_error)?.data, leaves))
}

/// The column that stands for a leaf.
fn leaf_column(leaf: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("{LEAF_COLUMN}{leaf}")))
}

/// `outline` with what `meaning` gives for a leaf's index in the leaf's place.
///
/// # Errors
/// What `meaning` gives; `Internal` when it has nothing for a leaf.
pub fn with_leaves(outline: Expr, meaning: impl Fn(usize) -> Result<Option<Expr>>) -> Result<Expr> {
    let external = |error: Error| datafusion::error::DataFusionError::External(error.into());
    let filled = outline.transform_down(|expr| {
        let Expr::Column(column) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let leaf = match &column.relation {
            None => column.name.strip_prefix(LEAF_COLUMN),
            Some(_) => None,
        };
        let Some(leaf) = leaf.and_then(|leaf| leaf.parse().ok()) else {
            return Ok(Transformed::no(expr));
        };
        let meaning = meaning(leaf).map_err(external)?;
        let meaning = meaning.ok_or_else(|| external(Error::internal("an aggregate is gone")))?;
        Ok(Transformed::new(meaning, true, TreeNodeRecursion::Jump))
    });
    Ok(filled.map_err(super::sql::model_error)?.data)
}

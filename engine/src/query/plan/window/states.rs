//! The partial states of measures over windows: each aggregate of a measure as something that can be merged.

use super::super::stage::Stages;
use super::Model;
use crate::error::{Error, Result};
use crate::model::{Dimension, DimensionSql, DimensionType, Measure, MeasureType};
use crate::query::compile::{CompiledMeasure, Extra, together};
use crate::query::filter;
use crate::query::plan::named;
use crate::query::plan::window::fold::Merge;
use crate::query::resolve::{Resolved, SelectedDimension, SelectedMeasure};
use arrow::datatypes::DataType;
use datafusion::execution::FunctionRegistry;
use datafusion::functions::core::expr_fn::{coalesce, nullif};
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{Expr, ExprFunctionExt, WindowFunctionDefinition, lit, when};

/// Beginning of the names of the members that hold states.
const STATE: &str = "window state ";

/// How an aggregate is computed from parts.
enum Way {
    /// The parts' values merge.
    Merge(Merge),
    /// A sum over a count.
    Mean,
    /// Distinct values.
    Distinct,
}

/// The table of aggregates that windows can have.
fn way(call: &AggregateFunction) -> Option<Way> {
    Some(match (call.func.name(), call.params.distinct) {
        ("count", true) | ("approx_distinct", _) => Way::Distinct,
        ("count" | "sum", false) => Way::Merge(Merge::Sum),
        ("min" | "bool_and", _) => Way::Merge(Merge::Min),
        ("max" | "bool_or", _) => Way::Merge(Merge::Max),
        ("avg", false) => Way::Mean,
        _ => return None,
    })
}

/// A state: a member that the inner query has, and the column of its windows.
pub(super) struct State {
    /// `Cube.member`.
    pub path: String,
    /// How it merges; `None` for distinct values.
    pub merge: Option<Merge>,
    cube: usize,
    measure: Option<Measure>,
    dimension: Option<Dimension>,
}

/// The states of some measures.
pub(super) struct States<'s> {
    stages: &'s Stages<'s>,
    compiled: Model,
    states: Vec<State>,
    cubes: Vec<std::sync::Arc<crate::model::Cube>>,
    /// The measures as expressions over the states, each with its column.
    outputs: Vec<(String, Expr)>,
    /// The measures as plain ones, for queries without buckets: the path inside, the measure.
    plain: Vec<(String, Measure)>,
}

impl<'s> States<'s> {
    /// The states of `measures`, which are computed over windows.
    ///
    /// # Errors
    /// `Invalid` for an aggregate that cannot be computed over windows, `Model` when a measure's SQL is wrong.
    pub fn of(stages: &'s Stages<'s>, measures: &[SelectedMeasure<'_>]) -> Result<Self> {
        let mut all = Self {
            stages,
            compiled: stages.compiled.clone(),
            states: Vec::new(),
            cubes: Vec::new(),
            outputs: Vec::new(),
            plain: Vec::new(),
        };
        for measure in measures {
            all.add(measure)?;
        }
        Ok(all)
    }

    fn add(&mut self, selected: &SelectedMeasure<'_>) -> Result<()> {
        let measure = selected.measure;
        let plain = self
            .stages
            .compiled
            .cube(&selected.cube.name)?
            .window(&measure.name)?
            .clone();
        let cube = self.cubes.len();
        self.cubes.push(std::sync::Arc::clone(selected.cube));
        let name = format!("{STATE}{}", self.plain.len());
        let whole = Measure::new(name, MeasureType::Number, measure.location.clone());
        self.member(cube, Extra::Measure(whole.clone(), plain.clone()))?;
        self.plain
            .push((format!("{}.{}", selected.cube.name, whole.name), whole));
        let (outline, leaves) = plain.apart()?;
        let mut columns = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            columns.push(self.leaf(cube, measure, &leaf)?);
        }
        let output = together(outline, &columns)?;
        self.outputs.push((selected.path.to_owned(), output));
        Ok(())
    }

    /// The states of one aggregate; gives its value as an expression over their columns.
    fn leaf(&mut self, cube: usize, measure: &Measure, leaf: &CompiledMeasure) -> Result<Expr> {
        let Expr::AggregateFunction(call) = &leaf.aggregate else {
            return Err(Error::internal("a leaf is an aggregate"));
        };
        let refused = || {
            Error::invalid(format!(
                "measure `{}` cannot have a window: its aggregate `{}` cannot be computed from parts",
                measure.name,
                call.func.name()
            ))
        };
        Ok(match way(call).ok_or_else(refused)? {
            Way::Merge(merge) => named(self.measure(cube, measure, leaf.clone(), merge)?),
            Way::Mean => {
                let part = |of: fn(Expr) -> Expr| {
                    leaf.replaced(&|call| {
                        let arg = call.params.args.first().cloned().unwrap_or_else(|| lit(1_i64));
                        match (of(arg), call.params.filter.clone()) {
                            (Expr::AggregateFunction(mut made), filter) => {
                                made.params.filter = filter;
                                Expr::AggregateFunction(made)
                            }
                            (other, _) => other,
                        }
                    })
                };
                let (total, number) = (part(sum), part(count));
                let total = named(self.measure(cube, measure, total, Merge::Sum)?);
                let number = named(self.measure(cube, measure, number, Merge::Sum)?);
                let float = |expr: Expr| filter::cast(expr, DataType::Float64);
                float(total) / nullif(float(number), lit(0.0))
            }
            Way::Distinct => {
                let value = call.params.args.first().cloned().ok_or_else(refused)?;
                let value = match &call.params.filter {
                    Some(filter) => when(filter.as_ref().clone(), value).end()?,
                    None => value,
                };
                let name = format!("{STATE}{} {}", self.plain.len(), self.states.len());
                let dimension = Dimension::new(
                    name,
                    DimensionType::String,
                    DimensionSql::Funnel,
                    measure.location.clone(),
                );
                let path = format!("{}.{}", self.cube(cube)?.name, dimension.name);
                self.member(cube, Extra::Dimension(dimension.clone(), leaf.value(value)))?;
                self.states.push(State {
                    path: path.clone(),
                    merge: None,
                    cube,
                    measure: None,
                    dimension: Some(dimension),
                });
                coalesce(vec![named(path), lit(0_i64)])
            }
        })
    }

    fn measure(&mut self, cube: usize, measure: &Measure, compiled: CompiledMeasure, merge: Merge) -> Result<String> {
        let name = format!("{STATE}{} {}", self.plain.len(), self.states.len());
        let part = Measure::new(name, MeasureType::Number, measure.location.clone());
        let path = format!("{}.{}", self.cube(cube)?.name, part.name);
        self.member(cube, Extra::Measure(part.clone(), compiled))?;
        self.states.push(State {
            path: path.clone(),
            merge: Some(merge),
            cube,
            measure: Some(part),
            dimension: None,
        });
        Ok(path)
    }

    fn member(&mut self, cube: usize, extra: Extra) -> Result<()> {
        let name = self.cube(cube)?.name.clone();
        self.compiled = self.compiled.with_member(&name, extra)?;
        Ok(())
    }

    fn cube(&self, cube: usize) -> Result<&std::sync::Arc<crate::model::Cube>> {
        let found = self.cubes.get(cube);
        found.ok_or_else(|| Error::internal("a state without a cube"))
    }

    /// The model with the states' members.
    pub fn compiled(&self) -> &Model {
        &self.compiled
    }

    /// States that merge.
    pub fn merged(&self) -> impl Iterator<Item = &State> {
        self.states.iter().filter(|state| state.measure.is_some())
    }

    /// States of distinct values.
    pub fn distinct(&self) -> impl Iterator<Item = &State> {
        self.states.iter().filter(|state| state.dimension.is_some())
    }

    /// The state as a measure of the inner query.
    pub fn selected<'a>(&'a self, state: &'a State) -> Option<SelectedMeasure<'a>> {
        Some(SelectedMeasure {
            path: &state.path,
            cube: self.cubes.get(state.cube)?,
            measure: state.measure.as_ref()?,
        })
    }

    /// The value of a state of distinct values as a dimension of the inner query.
    pub fn selected_value<'a>(&'a self, state: &'a State) -> Option<SelectedDimension<'a>> {
        Some(SelectedDimension {
            path: &state.path,
            cube: self.cubes.get(state.cube)?,
            dimension: state.dimension.as_ref()?,
        })
    }

    /// The query that asks the measures without their windows.
    pub fn whole<'a>(&'a self, resolved: &Resolved<'a>) -> Resolved<'a> {
        let plain = self.plain.iter().zip(&self.cubes);
        let selected = plain.map(|((path, measure), cube)| SelectedMeasure { path, cube, measure });
        Resolved {
            measures: selected.collect(),
            groups: Vec::new(),
            ..resolved.clone()
        }
    }

    /// The measures of [`States::whole`] under their own names.
    pub fn renamed(&self) -> Vec<Expr> {
        let both = self.plain.iter().zip(&self.outputs);
        both.map(|((inside, _), (path, _))| named(inside.as_str()).alias(path))
            .collect()
    }

    /// The measures, computed from the columns of the states.
    pub fn columns(&self) -> Vec<Expr> {
        let outputs = self.outputs.iter();
        outputs.map(|(path, output)| output.clone().alias(path)).collect()
    }
}

/// The next value of `of` among rows of equal `partition`.
///
/// # Errors
/// `Internal` when the function is not registered.
pub(super) fn next_of(of: Expr, partition: Vec<Expr>, functions: &dyn FunctionRegistry) -> Result<Expr> {
    let lead = WindowFunctionDefinition::WindowUDF(functions.udwf("lead")?);
    let call = Expr::from(WindowFunction::new(lead, vec![of.clone()]));
    Ok(call
        .partition_by(partition)
        .order_by(vec![of.sort(true, true)])
        .build()?)
}

/// The lesser of two numbers, the second of which may be null.
///
/// # Errors
/// None for numbers.
pub(super) fn earlier(first: Expr, second: Expr) -> Result<Expr> {
    Ok(when(second.clone().lt(first.clone()), second).otherwise(first)?)
}

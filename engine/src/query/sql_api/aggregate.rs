//! From `GROUP BY`, aggregates and `DISTINCT` over rows of cubes to dimensions, buckets and measures.

use super::part::{Kind, Part, Values, as_member, is_scalar, member, members};
use crate::error::{Error, Result};
use crate::model::{Cube, Dimension, Measure, MeasureType, TimeUnit};
use crate::query::Filter;
use arrow::datatypes::{DataType, TimeUnit as TimeResolution};
use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Cast, Expr};

/// Beginning of the names of members that a client's SQL makes.
pub const MADE: &str = "__sql_";

/// A member that a client's SQL makes of others.
#[derive(Debug, Clone)]
pub struct Made {
    /// `Cube.member` of the member made.
    pub path: String,
    /// What it is.
    pub what: What,
}

/// What a made member is, over the members of the part.
#[derive(Debug, Clone)]
pub enum What {
    /// A value of a row.
    Dimension(Expr, DataType),
    /// A condition on a row.
    Segment(Expr),
    /// An aggregate of values of rows.
    Measure(MeasureType, Option<Expr>, Option<Expr>),
    /// A measure of the model over the rows that meet a condition.
    Filtered(String, Expr),
}

/// What the groups of a part are.
#[derive(Debug, Clone, Default)]
pub struct Grouped {
    /// Dimensions.
    pub dimensions: Vec<String>,
    /// Buckets: a time dimension and a granularity.
    pub times: Vec<(String, String)>,
    /// Measures.
    pub measures: Vec<String>,
    /// Conditions on groups.
    pub having: Vec<Filter>,
    /// Members made for these groups.
    pub made: Vec<Made>,
}

impl Grouped {
    /// The keys of the groups.
    pub fn keys(&self) -> Vec<String> {
        let times = self
            .times
            .iter()
            .map(|(path, granularity)| format!("{path}.{granularity}"));
        self.dimensions.iter().cloned().chain(times).collect()
    }
}

/// Groups the rows of `part` by `keys`, which with `aggregates` become the columns of `schema`; both are over the part's
/// members. `None` when the query language cannot say it.
///
/// # Errors
/// `Invalid` when a measure is used in a way that has no meaning.
pub fn group(part: &Part, keys: &[Expr], aggregates: &[Expr], schema: DFSchemaRef) -> Result<Option<Part>> {
    let mut builder = Builder {
        part,
        grouped: Grouped::default(),
    };
    let mut exprs = Vec::with_capacity(keys.len() + aggregates.len());
    for key in keys {
        match builder.key(unaliased(key))? {
            Some(expr) => exprs.push(expr),
            None => return Ok(None),
        }
    }
    for aggregate in aggregates {
        let Expr::AggregateFunction(call) = unaliased(aggregate) else {
            return Ok(None);
        };
        match builder.aggregate(call)? {
            Some(path) => exprs.push(member(path)),
            None if uses_measures(part, call) => return Err(no_measure(part, call)),
            None => return Ok(None),
        }
    }
    let grouped = builder.grouped;
    Ok(Some(Part {
        cubes: part.cubes.clone(),
        hints: part.hints.clone(),
        schema,
        exprs,
        conditions: part.conditions.clone(),
        grouped: Some(grouped),
        order: Vec::new(),
        skip: 0,
        fetch: None,
    }))
}

/// `expr` without its name.
pub fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

struct Builder<'a> {
    part: &'a Part,
    grouped: Grouped,
}

impl Builder<'_> {
    /// A key of the groups: what its column is, over the keys of the answer.
    fn key(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        if let Some((path, granularity, wrap)) = bucket(self.part, expr) {
            let key = format!("{path}.{granularity}");
            let entry = (path, granularity);
            if !self.grouped.times.contains(&entry) {
                self.grouped.times.push(entry);
            }
            return Ok(Some(match wrap {
                Some(data_type) => Expr::Cast(Cast::new(Box::new(member(key)), data_type)),
                None => member(key),
            }));
        }
        if let Some(path) = as_member(expr) {
            match self.part.kind(path) {
                Some(Kind::Dimension(_)) => {
                    add(&mut self.grouped.dimensions, path);
                    return Ok(Some(member(path)));
                }
                // A measure has one value in each group, so grouping by it changes nothing.
                Some(Kind::Measure(_)) => {
                    add(&mut self.grouped.measures, path);
                    return Ok(Some(member(path)));
                }
                Some(Kind::Segment) => {}
                None => return Ok(Some(Expr::Literal(ScalarValue::Utf8View(None), None))),
            }
        }
        if !is_scalar(expr, false) {
            return Ok(None);
        }
        if self.part.has_measure(expr) {
            return Err(Error::invalid(format!(
                "`{}` is an expression of a measure and cannot be grouped by: select it over a subquery",
                shown(expr)
            )));
        }
        if self.is_funnel() {
            return Ok(None);
        }
        let data_type = super::close::type_of(self.part, expr)?;
        let path = self.make(What::Dimension(expr.clone(), data_type));
        self.grouped.dimensions.push(path.clone());
        Ok(Some(member(path)))
    }

    /// The path of the measure that an aggregate is.
    fn aggregate(&mut self, call: &AggregateFunction) -> Result<Option<String>> {
        let params = &call.params;
        if !params.order_by.is_empty() || params.null_treatment.is_some() {
            return Ok(None);
        }
        let name = call.func.name();
        let argument = params.args.first().map(unaliased);
        let filter = params.filter.as_deref();
        if filter.is_some_and(|filter| self.part.has_measure(filter) || !is_scalar(filter, false)) {
            return Ok(None);
        }
        if let (1.., Some(path)) = (params.args.len(), argument.and_then(as_member))
            && let Some(Kind::Measure(measure)) = self.part.kind(path)
        {
            check_type(measure, name, params.distinct)?;
            return self.measure(path, filter).map(Some);
        }
        let rows =
            name == "count" && !params.distinct && matches!(argument, Some(Expr::Literal(one, _)) if !one.is_null());
        if rows {
            return self.count(filter).map(Some);
        }
        if self.is_funnel() || params.args.len() != 1 {
            return Ok(None);
        }
        let kind = match (name, params.distinct) {
            ("count", false) => MeasureType::Count,
            ("count", true) => MeasureType::CountDistinct,
            ("approx_distinct", false) => MeasureType::CountDistinctApprox,
            ("sum", false) => MeasureType::Sum,
            ("avg", false) => MeasureType::Avg,
            ("min", _) => MeasureType::Min,
            ("max", _) => MeasureType::Max,
            _ => return Ok(None),
        };
        match argument {
            Some(argument) if is_scalar(argument, false) && !self.part.has_measure(argument) => {
                let what = What::Measure(kind, Some(argument.clone()), filter.cloned());
                Ok(Some(self.made_measure(what)))
            }
            _ => Ok(None),
        }
    }

    /// `COUNT(*)`: the measure `count` of the first cube, or the count of its rows when it has none.
    fn count(&mut self, filter: Option<&Expr>) -> Result<String> {
        let Some(cube) = self.part.cubes.first() else {
            return Err(Error::internal("a part without cubes"));
        };
        let usable = |measure: &&Measure| measure.public && measure.unsupported.is_none();
        if let Some(measure) = cube.measure("count").filter(usable) {
            check_type(measure, "count", false)?;
            return self.measure(&format!("{}.count", cube.name), filter);
        }
        let plain = |m: &&Measure| {
            m.kind == MeasureType::Count && m.sql.is_none() && m.filters.is_empty() && m.rolling_window.is_none()
        };
        let mut measures = cube.measures.iter().filter(usable);
        if let Some(measure) = measures.find(plain) {
            return self.measure(&format!("{}.{}", cube.name, measure.name), filter);
        }
        if self.is_funnel() {
            return Err(Error::invalid(format!(
                "the rows of the funnel `{}` cannot be counted: select one of its measures",
                cube.name
            )));
        }
        Ok(self.made_measure(What::Measure(MeasureType::Count, None, filter.cloned())))
    }

    /// A measure of the model, over the rows that meet `filter`.
    fn measure(&mut self, path: &str, filter: Option<&Expr>) -> Result<String> {
        match filter {
            None => {
                add(&mut self.grouped.measures, path);
                Ok(path.to_owned())
            }
            Some(_) if self.is_funnel() => Err(Error::invalid(format!(
                "`FILTER` cannot be used with the measure '{path}' of a funnel: write the condition in WHERE"
            ))),
            Some(filter) => Ok(self.made_measure(What::Filtered(path.to_owned(), filter.clone()))),
        }
    }

    fn made_measure(&mut self, what: What) -> String {
        let path = self.make(what);
        self.grouped.measures.push(path.clone());
        path
    }

    fn make(&mut self, what: What) -> String {
        let path = made_path(self.part, &what, self.grouped.made.len());
        self.grouped.made.push(Made {
            path: path.clone(),
            what,
        });
        path
    }

    fn is_funnel(&self) -> bool {
        self.part.cubes.iter().any(|cube| super::catalog::is_funnel(cube))
    }
}

fn add(list: &mut Vec<String>, path: &str) {
    if !list.iter().any(|known| known == path) {
        list.push(path.to_owned());
    }
}

/// A time dimension cut into buckets, and the type that the bucket's start is then cast to.
fn bucket(part: &Part, expr: &Expr) -> Option<(String, String, Option<DataType>)> {
    let time = |expr: &Expr| -> Option<String> {
        let inner = match expr {
            Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(_, None)) => &cast.expr,
            other => other,
        };
        let path = as_member(inner)?;
        let kind = part.kind(path)?;
        (!kind.is_measure() && kind.values() == Values::Time).then(|| path.to_owned())
    };
    match expr {
        Expr::ScalarFunction(call) if call.name() == "date_trunc" => {
            let [Expr::Literal(unit, _), at] = call.args.as_slice() else {
                return None;
            };
            let path = time(at)?;
            let unit = unit.try_as_str().flatten()?;
            let Some(Kind::Dimension(dimension)) = part.kind(&path) else {
                return None;
            };
            Some((path, granularity(dimension, unit)?, None))
        }
        Expr::Cast(cast) => {
            let to = cast.field.data_type().clone();
            if let (DataType::Date32, Some(path)) = (&to, time(&cast.expr)) {
                return Some((path, "day".to_owned(), Some(to)));
            }
            let (path, granularity, inner) = bucket(part, &cast.expr)?;
            let whole_days = matches!(granularity.as_str(), "day" | "week" | "month" | "quarter" | "year");
            let keeps_apart = match to {
                DataType::Date32 => whole_days,
                DataType::Timestamp(unit, None) => unit != TimeResolution::Second || whole_days,
                _ => false,
            };
            (keeps_apart && inner.is_none()).then_some((path, granularity, Some(to)))
        }
        _ => None,
    }
}

/// The granularity that `date_trunc` names, the dimension's own included.
fn granularity(dimension: &Dimension, unit: &str) -> Option<String> {
    if let Some(own) = dimension.granularities.iter().find(|own| own.name == unit) {
        return Some(own.name.clone());
    }
    let unit = TimeUnit::from_name(&unit.to_ascii_lowercase())?;
    Some(unit.name().to_owned())
}

fn uses_measures(part: &Part, call: &AggregateFunction) -> bool {
    let filter = call.params.filter.iter().map(AsRef::as_ref);
    let mut all = call.params.args.iter().chain(filter);
    all.any(|expr| part.has_measure(expr)) || call.func.name() == super::functions::MEASURE
}

fn no_measure(part: &Part, call: &AggregateFunction) -> Error {
    let name = call.func.name().to_uppercase();
    let argument = call.params.args.first();
    let dimension = argument.and_then(as_member).filter(|path| part.kind(path).is_some());
    Error::invalid(match (dimension, argument) {
        (Some(path), _) if !part.has_measure(&member(path)) => {
            format!("Dimension '{path}' was used with the aggregate function '{name}()'. Please use a measure instead")
        }
        (_, Some(argument)) => format!(
            "`{name}({})` cannot be answered: a measure can be aggregated only by itself, in one aggregate whose \
             condition is on dimensions",
            shown(argument)
        ),
        (_, None) => format!("`{name}()` needs a measure"),
    })
}

/// An expression for messages: names without our marks, and not too long.
pub fn shown(expr: &Expr) -> String {
    let text = expr.to_string().replace("$member.", "");
    text.chars().take(200).collect()
}

/// Whether an aggregate fits a measure: `MEASURE` fits all, calculated numbers fit all.
fn check_type(measure: &Measure, name: &str, distinct: bool) -> Result<()> {
    use MeasureType as T;
    let fits = match (name, distinct) {
        (super::functions::MEASURE, _) => true,
        ("count", false) => measure.kind == T::Count,
        ("count", true) => matches!(measure.kind, T::CountDistinct | T::CountDistinctApprox),
        ("approx_distinct", _) => measure.kind == T::CountDistinctApprox,
        ("sum", false) => matches!(measure.kind, T::Sum | T::RunningTotal),
        ("avg", false) => measure.kind == T::Avg,
        ("min", _) => matches!(measure.kind, T::Min | T::Time),
        ("max", _) => matches!(measure.kind, T::Max | T::Time),
        ("string_agg", _) => measure.kind == T::String,
        _ => false,
    };
    if fits || matches!(measure.kind, T::Number | T::Funnel) {
        return Ok(());
    }
    let own = match measure.kind {
        T::String | T::Boolean | T::Time => "MEASURE".to_owned(),
        kind => kind.row().agg_type.to_uppercase(),
    };
    let called = match (name, distinct) {
        ("count", true) => "COUNTDISTINCT".to_owned(),
        (name, _) => name.to_uppercase(),
    };
    Err(Error::invalid(format!(
        "Measure aggregation type doesn't match. The aggregation type for '{}' is '{own}()' but '{called}()' was provided",
        measure.name
    )))
}

/// The path of the `at`-th made member: in the cube of the members it is made of, else in the root. Aggregates are made in
/// the cube whose rows they aggregate, also where its members are shown by a view.
pub fn made_path(part: &Part, what: &What, at: usize) -> String {
    let members = members_of(what);
    let owner = |path: &String| -> Option<String> {
        let of_rows = match part.kind(path)? {
            Kind::Dimension(dimension) => dimension.origin.as_ref(),
            Kind::Measure(measure) => measure.origin.as_ref(),
            Kind::Segment => None,
        };
        match (what, of_rows) {
            (What::Measure(..), Some(origin)) => Some(origin.cube().to_owned()),
            _ => path.split_once('.').map(|(cube, _)| cube.to_owned()),
        }
    };
    let mut owners = members.iter().filter_map(owner);
    let cube = match owners.next() {
        Some(first) if owners.all(|other| other == first) => first,
        _ => part.cubes.first().map_or_else(String::new, |cube| match what {
            What::Measure(..) => rows_of(cube),
            _ => cube.name.clone(),
        }),
    };
    format!("{cube}.{MADE}{at}")
}

/// The cube that a view's joins begin at; a cube itself.
fn rows_of(cube: &Cube) -> String {
    let root = cube.view().and_then(|view| view.join_paths.first()?.first());
    root.unwrap_or(&cube.name).clone()
}

/// Members of a made member.
pub fn members_of(what: &What) -> Vec<String> {
    let mut all = match what {
        What::Dimension(expr, _) | What::Segment(expr) => members(expr),
        What::Measure(_, sql, filter) => sql.iter().chain(filter).flat_map(members).collect(),
        What::Filtered(path, filter) => {
            let mut all = members(filter);
            all.push(path.clone());
            all
        }
    };
    all.sort();
    all.dedup();
    all
}

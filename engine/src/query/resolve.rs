//! Names to members: which cubes a query asks, which of their members, and the filters sorted into rows and groups.

use super::filter::Comparison;
use super::{DateRange, Filter, Operator, Query};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{Cube, CubeSource, Dimension, Granularity, Measure, Member, Model, Segment, TimeUnit};
use std::sync::Arc;

/// Where Cube explains hidden members; part of the message that clients know.
const HIDDEN_DOCS: &str = "https://cube.dev/docs/schema/reference/joins#setting-a-primary-key";

/// A selected measure.
#[derive(Debug, Clone, Copy)]
pub struct SelectedMeasure<'a> {
    /// `Cube.measure`, which is also the column's key.
    pub path: &'a str,
    /// The cube that owns it; not the view that shows it.
    pub cube: &'a Arc<Cube>,
    /// The measure.
    pub measure: &'a Measure,
}

/// A selected dimension.
#[derive(Debug, Clone, Copy)]
pub struct SelectedDimension<'a> {
    /// `Cube.dimension`, which is also the column's key.
    pub path: &'a str,
    /// The cube that owns it.
    pub cube: &'a Arc<Cube>,
    /// The dimension.
    pub dimension: &'a Dimension,
}

/// A segment of the query.
#[derive(Debug, Clone, Copy)]
pub struct SelectedSegment<'a> {
    /// The cube that owns it.
    pub cube: &'a Arc<Cube>,
    /// The segment.
    pub segment: &'a Segment,
}

/// A time dimension of the query.
#[derive(Debug, Clone)]
pub struct SelectedTime<'a> {
    /// `Cube.dimension`.
    pub path: &'a str,
    /// The cube that owns it.
    pub cube: &'a Arc<Cube>,
    /// The dimension.
    pub dimension: &'a Dimension,
    /// Its granularity; `None` only filters.
    pub granularity: Option<Granularity>,
    /// `Cube.dimension.granularity`, the column's key; the path alone when there is no granularity.
    pub key: String,
    /// Range, if any.
    pub range: Option<DateRange>,
}

/// A condition with its members found.
#[derive(Debug, Clone)]
pub enum Condition<'a> {
    /// All hold. Without elements: true.
    And(Vec<Condition<'a>>),
    /// One holds. Without elements: true, as Cube.
    Or(Vec<Condition<'a>>),
    /// A comparison.
    Member {
        /// `Cube.member`.
        path: &'a str,
        /// The cube that owns it.
        cube: &'a Arc<Cube>,
        /// The member.
        member: Member<'a>,
        /// The comparison.
        operator: Operator,
        /// Its values.
        values: &'a [Option<String>],
    },
}

/// A query whose names are all found.
#[derive(Debug, Clone)]
pub struct Resolved<'a> {
    /// The query.
    pub query: &'a Query,
    /// The owner of the first member; the only cube when it is a funnel. `plan::leaf::cubes` tells all that take part.
    pub cube: &'a Arc<Cube>,
    /// Dimensions, each once.
    pub dimensions: Vec<SelectedDimension<'a>>,
    /// Time dimensions; those with a granularity, each key once, are columns.
    pub times: Vec<SelectedTime<'a>>,
    /// Measures, each once.
    pub measures: Vec<SelectedMeasure<'a>>,
    /// Segments.
    pub segments: Vec<SelectedSegment<'a>>,
    /// Conditions on rows, all of which must hold.
    pub rows: Vec<Condition<'a>>,
    /// Conditions on groups, all of which must hold.
    pub groups: Vec<Condition<'a>>,
}

impl<'a> Resolved<'a> {
    /// Keys of the answer's columns: dimensions, time dimensions with granularity, measures.
    pub fn columns(&self) -> Vec<String> {
        let dimensions = self.dimensions.iter().map(|d| d.path.to_owned());
        let times = self.buckets().map(|time| time.key.clone());
        let measures = self.measures.iter().map(|m| m.path.to_owned());
        dimensions.chain(times).chain(measures).collect()
    }

    /// Time dimensions that are columns.
    pub fn buckets(&self) -> impl Iterator<Item = &SelectedTime<'a>> {
        self.times.iter().filter(|time| time.granularity.is_some())
    }
}

/// Finds every name of `query`.
///
/// # Errors
/// `Invalid`, with Cube's wording where Cube has one: unknown or hidden members, too many of something, a funnel with other cubes.
pub fn resolve<'a>(model: &'a Model, query: &'a Query) -> Result<Resolved<'a>> {
    bounds(query)?;
    let mut cubes = Cubes {
        model,
        found: Vec::new(),
    };
    let mut dimensions: Vec<SelectedDimension<'a>> = Vec::new();
    for path in &query.dimensions {
        let (cube, dimension) = cubes.dimension(path, true)?;
        if !dimensions.iter().any(|d| d.path == path) {
            dimensions.push(SelectedDimension { path, cube, dimension });
        }
    }
    let mut times: Vec<SelectedTime<'a>> = Vec::new();
    for time in &query.time_dimensions {
        let (cube, dimension) = cubes.dimension(&time.dimension, time.granularity.is_some())?;
        let selected = selected_time(time, cube, dimension)?;
        let repeated = times
            .iter_mut()
            .find(|t| t.key == selected.key && t.range == selected.range);
        if repeated.is_none() {
            times.push(selected);
        }
    }
    drop_repeated_columns(&mut times);
    let mut measures: Vec<SelectedMeasure<'a>> = Vec::new();
    for path in &query.measures {
        let (cube, measure) = cubes.measure(path, true)?;
        if !measures.iter().any(|m| m.path == path) {
            measures.push(SelectedMeasure { path, cube, measure });
        }
    }
    let segments: Result<Vec<SelectedSegment<'a>>> = query.segments.iter().map(|path| cubes.segment(path)).collect();
    let (segments, mut rows, mut groups) = (segments?, Vec::new(), Vec::new());
    for filter in &query.filters {
        split(filter, &mut cubes, &mut rows, &mut groups)?;
    }
    Ok(Resolved {
        query,
        cube: cubes.first()?,
        dimensions,
        times,
        measures,
        segments,
        rows,
        groups,
    })
}

/// The same bucket with two ranges is one column; the second only filters.
fn drop_repeated_columns(times: &mut [SelectedTime<'_>]) {
    for at in 1..times.len() {
        let (before, rest) = times.split_at_mut(at);
        if let Some(time) = rest.first_mut()
            && before.iter().any(|t| t.key == time.key && t.granularity.is_some())
        {
            time.granularity = None;
        }
    }
}

fn selected_time<'a>(
    time: &'a super::QueryTimeDimension,
    cube: &'a Arc<Cube>,
    dimension: &'a Dimension,
) -> Result<SelectedTime<'a>> {
    let granularity = match &time.granularity {
        Some(name) => Some(granularity(&time.dimension, dimension, name)?),
        None => None,
    };
    let key = match &time.granularity {
        Some(name) => format!("{}.{name}", time.dimension),
        None => time.dimension.clone(),
    };
    Ok(SelectedTime {
        path: &time.dimension,
        cube,
        dimension,
        granularity,
        key,
        range: time.date_range,
    })
}

/// `Cube.member` of the owner: what a member of a view shows has one name however it is reached.
pub fn owner_path(cube: &Cube, member: &str) -> String {
    match cube.member(member).as_ref().and_then(Member::origin) {
        Some(origin) => origin.path(),
        None => format!("{}.{member}", cube.name),
    }
}

/// The granularity of this name: the dimension's own, else a predefined one.
///
/// # Errors
/// `Invalid` when there is none.
pub fn granularity(path: &str, dimension: &Dimension, name: &str) -> Result<Granularity> {
    if let Some(own) = dimension.granularities.iter().find(|g| g.name == name) {
        if own.sql.is_some() {
            return Err(Error::invalid(format!(
                "granularity \"{name}\" of {path} has SQL of its own, which is not answered yet"
            )));
        }
        return Ok(own.clone());
    }
    match TimeUnit::from_name(name) {
        Some(unit) => natural(unit),
        None => Err(Error::invalid(format!(
            "Granularity \"{name}\" does not exist in dimension {path}"
        ))),
    }
}

/// A predefined granularity.
///
/// # Errors
/// None for a [`TimeUnit`]; the signature is that of [`Granularity::new`].
pub fn natural(unit: TimeUnit) -> Result<Granularity> {
    let interval = format!("1 {}", unit.name());
    Granularity::new(unit.name(), Some(unit.name().to_owned()), &interval, None, None).map_err(Error::internal)
}

/// The cubes that a query's names lead to.
struct Cubes<'a> {
    model: &'a Model,
    found: Vec<&'a Arc<Cube>>,
}

/// A member of a kind that a query may select.
fn check_selectable(path: &str, cube: &Cube, public: bool, unsupported: Option<&str>, selected: bool) -> Result<()> {
    answered(path, unsupported)?;
    visible(path, !selected || (public && cube.public))
}

impl<'a> Cubes<'a> {
    /// The member of this name and its owner: a view's member is the member that it shows. `seen` says what of the named
    /// member and its cube counts, such as whether it may be seen.
    fn member(
        &mut self,
        path: &'a str,
        seen: impl FnOnce(&Cube, Member<'a>) -> Result<()>,
    ) -> Result<(&'a Arc<Cube>, Member<'a>)> {
        let (mut cube, mut member) = self.model.member(path)?;
        seen(cube, member)?;
        // Views do not show views' members, so that one step leads to the owner.
        if let Some(origin) = member.origin() {
            cube = self.model.cube(origin.cube(), path)?;
            member = cube.member(&origin.member).ok_or_else(|| not_found(path))?;
        }
        if !self.found.iter().any(|found| found.name == cube.name) {
            self.found.push(cube);
        }
        Ok((cube, member))
    }

    fn dimension(&mut self, path: &'a str, selected: bool) -> Result<(&'a Arc<Cube>, &'a Dimension)> {
        let found = self.member(path, |cube, member| match member {
            Member::Dimension(d) => check_selectable(path, cube, d.public, d.unsupported.as_deref(), selected),
            _ => Err(not_found(path)),
        });
        match found? {
            (cube, Member::Dimension(dimension)) => {
                answered(path, dimension.unsupported.as_deref())?;
                Ok((cube, dimension))
            }
            _ => Err(not_found(path)),
        }
    }

    fn measure(&mut self, path: &'a str, selected: bool) -> Result<(&'a Arc<Cube>, &'a Measure)> {
        let found = self.member(path, |cube, member| match member {
            Member::Measure(m) => check_selectable(path, cube, m.public, m.unsupported.as_deref(), selected),
            _ => Err(not_found(path)),
        });
        match found? {
            (cube, Member::Measure(measure)) => {
                answered(path, measure.unsupported.as_deref())?;
                Ok((cube, measure))
            }
            _ => Err(not_found(path)),
        }
    }

    fn segment(&mut self, path: &'a str) -> Result<SelectedSegment<'a>> {
        match self.member(path, |_, _| Ok(()))? {
            (cube, Member::Segment(segment)) => {
                answered(path, segment.unsupported.as_deref())?;
                Ok(SelectedSegment { cube, segment })
            }
            _ => Err(not_found(path)),
        }
    }

    /// The cube of the first name. A funnel has no rows that could be joined, so it stands alone.
    fn first(&self) -> Result<&'a Arc<Cube>> {
        let Some(first) = self.found.first() else {
            return Err(Error::invalid(
                "Query should contain either measures, dimensions or timeDimensions with granularities in order to be valid",
            ));
        };
        let funnel = self
            .found
            .iter()
            .find(|cube| matches!(cube.source, CubeSource::Funnel(_)));
        match funnel {
            Some(funnel) if self.found.len() > 1 => {
                let names: Vec<String> = self.found.iter().map(|cube| format!("'{}'", cube.name)).collect();
                Err(Error::invalid(format!(
                    "Can't find join path to join {}: the funnel '{}' cannot be joined with cubes, so ask it in a query of \
                     its own",
                    names.join(", "),
                    funnel.name
                )))
            }
            _ => Ok(first),
        }
    }
}

fn not_found(path: &str) -> Error {
    let name = path.split_once('.').map_or(path, |(_, name)| name);
    Error::invalid(format!("'{name}' not found for path '{path}'"))
}

fn answered(path: &str, unsupported: Option<&str>) -> Result<()> {
    match unsupported {
        Some(key) => Err(Error::invalid(format!("'{path}' is not answered yet: it uses `{key}`"))),
        None => Ok(()),
    }
}

fn visible(path: &str, public: bool) -> Result<()> {
    if public {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "You requested hidden member: '{path}'. Please make it visible using `public: true`. Please note primaryKey \
         fields are `public: false` by default: {HIDDEN_DOCS}."
    )))
}

/// Refuses what could exhaust the planner before anything is planned.
fn bounds(query: &Query) -> Result<()> {
    let members = query.measures.len() + query.dimensions.len() + query.time_dimensions.len() + query.segments.len();
    let too_many = |what: &str, got: usize, most: usize| {
        Err(Error::invalid(format!(
            "the query has {got} {what}; at most {most} are allowed"
        )))
    };
    if members > limits::QUERY_MEMBERS_MAX {
        return too_many("members", members, limits::QUERY_MEMBERS_MAX);
    }
    let mut leaves = 0;
    let mut open: Vec<(&Filter, usize)> = query.filters.iter().map(|filter| (filter, 0)).collect();
    while let Some((filter, depth)) = open.pop() {
        if depth > limits::QUERY_FILTER_DEPTH_MAX {
            return too_many("levels of `and` and `or`", depth, limits::QUERY_FILTER_DEPTH_MAX);
        }
        match filter {
            Filter::And(inner) | Filter::Or(inner) => open.extend(inner.iter().map(|filter| (filter, depth + 1))),
            Filter::Member { values, .. } => {
                leaves += 1;
                if values.len() > limits::QUERY_FILTER_VALUES_MAX {
                    return too_many("values in one filter", values.len(), limits::QUERY_FILTER_VALUES_MAX);
                }
                let longest = values
                    .iter()
                    .map(|value| value.as_ref().map_or(0, |text| text.len()))
                    .max();
                if longest.is_some_and(|bytes| bytes > limits::QUERY_FILTER_VALUE_BYTES_MAX) {
                    let bytes = longest.unwrap_or_default();
                    return too_many("bytes in one value", bytes, limits::QUERY_FILTER_VALUE_BYTES_MAX);
                }
            }
        }
        if leaves > limits::QUERY_FILTERS_MAX {
            return too_many("filters", leaves, limits::QUERY_FILTERS_MAX);
        }
    }
    Ok(())
}

/// Sorts one condition of the top level into rows or groups.
fn split<'a>(
    filter: &'a Filter,
    cubes: &mut Cubes<'a>,
    rows: &mut Vec<Condition<'a>>,
    groups: &mut Vec<Condition<'a>>,
) -> Result<()> {
    let mut kinds = Kinds::default();
    let condition = condition(filter, cubes, &mut kinds)?;
    if kinds.rows && kinds.groups {
        return Err(Error::invalid(format!(
            "You cannot use dimension and measure in same condition: {}",
            json(filter)
        )));
    }
    if kinds.groups {
        groups.push(condition);
    } else {
        rows.push(condition);
    }
    Ok(())
}

/// Which kinds of members a condition has.
#[derive(Default)]
struct Kinds {
    rows: bool,
    groups: bool,
}

/// Recursion is bounded by [`bounds`].
fn condition<'a>(filter: &'a Filter, cubes: &mut Cubes<'a>, kinds: &mut Kinds) -> Result<Condition<'a>> {
    let (member, operator, values) = match filter {
        Filter::And(inner) => {
            let inner: Result<_> = inner.iter().map(|filter| condition(filter, cubes, kinds)).collect();
            return Ok(Condition::And(inner?));
        }
        Filter::Or(inner) => {
            let inner: Result<_> = inner.iter().map(|filter| condition(filter, cubes, kinds)).collect();
            return Ok(Condition::Or(inner?));
        }
        Filter::Member {
            member,
            operator,
            values,
        } => (member, *operator, values),
    };
    let (cube, found) = cubes.member(member, |_, _| Ok(()))?;
    if operator.needs_values() && values.is_empty() {
        return Err(Error::invalid(format!("Values required for filter: {}", json(filter))));
    }
    match found {
        Member::Measure(measure) => {
            answered(member, measure.unsupported.as_deref())?;
            if operator.row().comparison == Comparison::Drill {
                kinds.rows = true;
            } else {
                kinds.groups = true;
            }
        }
        Member::Dimension(dimension) => {
            answered(member, dimension.unsupported.as_deref())?;
            if operator.row().comparison == Comparison::Drill {
                return Err(Error::invalid(format!(
                    "`measureFilter` needs a measure, '{member}' is a dimension"
                )));
            }
            kinds.rows = true;
        }
        Member::Segment(_) => {
            return Err(Error::invalid(format!(
                "'{member}' is a segment: name it in `segments`, not in `filters`"
            )));
        }
    }
    Ok(Condition::Member {
        path: member,
        cube,
        member: found,
        operator,
        values,
    })
}

/// A filter as the client wrote it, for messages.
fn json(filter: &Filter) -> serde_json::Value {
    match filter {
        Filter::And(inner) => serde_json::json!({ "and": inner.iter().map(json).collect::<Vec<_>>() }),
        Filter::Or(inner) => serde_json::json!({ "or": inner.iter().map(json).collect::<Vec<_>>() }),
        Filter::Member {
            member,
            operator,
            values,
        } if values.is_empty() => {
            serde_json::json!({ "member": member, "operator": operator.name() })
        }
        Filter::Member {
            member,
            operator,
            values,
        } => {
            serde_json::json!({ "member": member, "operator": operator.name(), "values": values })
        }
    }
}

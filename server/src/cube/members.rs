//! The members of a query found in the model, with Cube's errors for those that do not exist.

use super::batch::Batch;
use super::error::{ApiError, ApiResult};
use super::normalize::Normalized;
use axum::http::StatusCode;
use engine::model::{Asker, Cube, Dimension, DimensionType, Measure, Member, Model, Segment, TimeUnit, policy};
use engine::query::{Filter, QueryTimeDimension, join};
use std::sync::Arc;

/// A member with its full name and its cube.
#[derive(Debug, Clone, Copy)]
pub struct Found<'m, T> {
    /// `Cube.member` as the client wrote it.
    pub path: &'m str,
    /// The cube.
    pub cube: &'m Cube,
    /// The member.
    pub member: &'m T,
}

/// All members of a query.
#[derive(Debug)]
pub struct Members<'m> {
    /// Measures.
    pub measures: Vec<Found<'m, Measure>>,
    /// Dimensions.
    pub dimensions: Vec<Found<'m, Dimension>>,
    /// Time dimensions with what is asked of them.
    pub times: Vec<(Found<'m, Dimension>, &'m QueryTimeDimension)>,
    /// Segments.
    pub segments: Vec<Found<'m, Segment>>,
    /// How their cubes are joined, when there are several.
    pub tree: Option<join::Tree>,
}

impl<'m> Members<'m> {
    /// Finds all members of `query`.
    ///
    /// # Errors
    /// 400 with Cube's text when one does not exist or is of another kind.
    pub fn find(model: &'m Model, query: &'m Normalized) -> ApiResult<Self> {
        let measures = query.measures.as_deref().unwrap_or_default().iter();
        let segments = query.segments.as_deref().unwrap_or_default().iter();
        let mut all = Self {
            measures: measures.map(|path| measure(model, path)).collect::<ApiResult<_>>()?,
            dimensions: query
                .dimensions
                .iter()
                .map(|path| dimension(model, path))
                .collect::<ApiResult<_>>()?,
            segments: segments.map(|path| segment(model, path)).collect::<ApiResult<_>>()?,
            times: query
                .time_dimensions
                .iter()
                .map(|t| time(model, t))
                .collect::<ApiResult<_>>()?,
            tree: None,
        };
        all.tree = all.joined(model, query)?;
        Ok(all)
    }

    /// Some cube of the query must reach all others by joins.
    fn joined(&self, model: &Model, query: &Normalized) -> ApiResult<Option<join::Tree>> {
        let measures = self.measures.iter().map(|f| f.path);
        let dimensions = self.dimensions.iter().map(|f| f.path);
        let segments = self.segments.iter().map(|f| f.path);
        let times = self.times.iter().map(|(f, _)| f.path);
        let filters = filtered(&query.typed_filters);
        let members = measures.chain(dimensions).chain(segments).chain(filters).chain(times);
        let mut hints = query.join_hints.clone().unwrap_or_default();
        for path in members {
            // A filter on a member that does not exist is for the engine to tell.
            hints.extend(join::hints(model, path).unwrap_or_default());
        }
        let hints = join::distinct(hints);
        match hints.len() {
            0 => Ok(None),
            1 if hints.iter().all(|way| way.len() < 2) => Ok(None),
            _ => Ok(Some(join::Graph::new(model).tree(&hints)?)),
        }
    }

    /// Whether the model hides none of the selected members.
    pub fn are_visible(&self) -> bool {
        self.check_visible().is_ok()
    }

    /// Refuses queries that select a member the model hides.
    ///
    /// # Errors
    /// 500 with Cube's text, for that is how Cube answers: it notices only while writing the rows.
    pub fn check_visible(&self) -> ApiResult<()> {
        let measures = self.measures.iter().map(|f| (f.path, f.cube.public && f.member.public));
        let dimensions = self
            .dimensions
            .iter()
            .map(|f| (f.path, f.cube.public && f.member.public));
        let times = self.times.iter().filter(|(_, t)| t.granularity.is_some());
        let times = times.map(|(f, _)| (f.path, f.cube.public && f.member.public));
        match measures.chain(dimensions).chain(times).find(|(_, visible)| !visible) {
            Some((path, _)) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, hidden(path))),
            None => Ok(()),
        }
    }
}

impl Members<'_> {
    /// The members that access policies let `asker` know of: the others are in no annotation.
    #[must_use]
    pub fn granted(mut self, asker: &Asker<'_>) -> Self {
        let granted = |cube: &Cube, name: &str| policy::visible(cube, name, asker);
        self.measures.retain(|f| granted(f.cube, &f.member.name));
        self.dimensions.retain(|f| granted(f.cube, &f.member.name));
        self.times.retain(|(f, _)| granted(f.cube, &f.member.name));
        self.segments.retain(|f| granted(f.cube, &f.member.name));
        self
    }

    /// The first member, in the order of the answer, that access policies hide from `asker`.
    pub fn denied(&self, asker: &Asker<'_>) -> Option<String> {
        let denied = |cube: &Cube, name: &str| !policy::visible(cube, name, asker);
        let dimensions = self
            .dimensions
            .iter()
            .filter(|f| denied(f.cube, &f.member.name))
            .map(|f| f.path);
        let times = self
            .times
            .iter()
            .filter(|(f, t)| t.granularity.is_some() && denied(f.cube, &f.member.name));
        let measures = self
            .measures
            .iter()
            .filter(|f| denied(f.cube, &f.member.name))
            .map(|f| f.path);
        let mut all = dimensions.chain(times.map(|(f, _)| f.path)).chain(measures);
        all.next().map(str::to_owned)
    }
}

/// The answer to a query that shows rows of a hidden member.
pub fn hidden_member(path: &str) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, hidden(path))
}

/// The members that filters name.
fn filtered(filters: &[Filter]) -> impl Iterator<Item = &str> {
    let mut open: Vec<&Filter> = filters.iter().rev().collect();
    std::iter::from_fn(move || {
        loop {
            match open.pop()? {
                Filter::And(inner) | Filter::Or(inner) => open.extend(inner.iter().rev()),
                Filter::Member { member, .. } => return Some(member.as_str()),
            }
        }
    })
}

fn hidden(path: &str) -> String {
    format!(
        "Error: You requested hidden member: '{path}'. Please make it visible using `public: true`. Please note \
         primaryKey fields are `public: false` by default: \
         https://cube.dev/docs/schema/reference/joins#setting-a-primary-key."
    )
}

fn find<'m>(model: &'m Model, path: &'m str) -> ApiResult<(&'m Arc<Cube>, Member<'m>)> {
    model.member(path).map_err(ApiError::from)
}

fn wrong_kind(path: &str) -> ApiError {
    let name = path.split('.').nth(1).unwrap_or(path);
    ApiError::planner(format!("'{name}' not found for path '{path}'"))
}

/// The measure `path`.
///
/// # Errors
/// 400 when there is none.
pub fn measure<'m>(model: &'m Model, path: &'m str) -> ApiResult<Found<'m, Measure>> {
    match find(model, path)? {
        (cube, Member::Measure(member)) => Ok(Found { path, cube, member }),
        _ => Err(wrong_kind(path)),
    }
}

/// The dimension `path`.
///
/// # Errors
/// 400 when there is none.
pub fn dimension<'m>(model: &'m Model, path: &'m str) -> ApiResult<Found<'m, Dimension>> {
    match find(model, path)? {
        (cube, Member::Dimension(member)) => Ok(Found { path, cube, member }),
        _ => Err(wrong_kind(path)),
    }
}

fn segment<'m>(model: &'m Model, path: &'m str) -> ApiResult<Found<'m, Segment>> {
    match find(model, path)? {
        (cube, Member::Segment(member)) => Ok(Found { path, cube, member }),
        _ => Err(wrong_kind(path)),
    }
}

fn time<'m>(
    model: &'m Model,
    time: &'m QueryTimeDimension,
) -> ApiResult<(Found<'m, Dimension>, &'m QueryTimeDimension)> {
    let found = dimension(model, &time.dimension)?;
    if let Some(granularity) = &time.granularity {
        let own = found.member.granularities.iter().any(|g| g.name == *granularity);
        if !own && TimeUnit::from_name(granularity).is_none() {
            return Err(ApiError::planner(format!(
                "Granularity \"{granularity}\" does not exist in dimension {}",
                found.path
            )));
        }
    }
    if found.member.kind != DimensionType::Time {
        return Err(no_time(&found, time));
    }
    Ok((found, time))
}

/// A time dimension that is no time. With a date range PostgreSQL under Cube says what it cannot compare.
fn no_time(found: &Found<'_, Dimension>, time: &QueryTimeDimension) -> ApiError {
    let kind = match found.member.kind {
        DimensionType::Boolean => "boolean",
        DimensionType::Number => "numeric",
        _ => "text",
    };
    ApiError::bad_request(match time.date_range {
        Some(_) => format!("Error: operator does not exist: {kind} >= timestamp with time zone"),
        None => format!(
            "Error: '{}' is of type {}; a time dimension is needed",
            found.path,
            found.member.kind.name()
        ),
    })
}

/// The members of every query, found: what `/v1/sql` and `/v1/dry-run` check without running anything.
///
/// # Errors
/// 400 when a member does not exist.
pub fn find_all<'m>(model: &'m Model, batch: &'m Batch) -> ApiResult<Vec<Members<'m>>> {
    batch.queries.iter().map(|query| Members::find(model, query)).collect()
}

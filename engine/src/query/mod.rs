//! From a typed query to rows: resolve names, restrict to the tenant, plan, check, answer.
//!
//! The wire's JSON is parsed at the edge; here everything is typed and a client's value is always a literal, never text
//! of a plan.

pub mod answer;
pub mod check;
pub mod compile;
pub mod date_range;
pub mod filter;
pub mod funnel;
pub mod join;
pub mod measure;
pub mod order;
pub mod params;
pub mod plan;
pub mod policy;
pub mod resolve;
pub mod restrict;
pub mod shown;
pub mod sql;
pub mod sql_api;
pub mod tables;
pub mod views;

use crate::clock::Micros;
use chrono::NaiveDateTime;
use chrono_tz::Tz;
use std::sync::Arc;

/// A comparison of a filter. The one table of operators is in `filter.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "the names are Cube's own; their meaning stands in the operator table"
)]
pub enum Operator {
    Equals,
    NotEquals,
    Contains,
    NotContains,
    StartsWith,
    NotStartsWith,
    EndsWith,
    NotEndsWith,
    Gt,
    Gte,
    Lt,
    Lte,
    Set,
    NotSet,
    InDateRange,
    NotInDateRange,
    OnTheDate,
    BeforeDate,
    BeforeOrOnDate,
    AfterDate,
    AfterOrOnDate,
    MeasureFilter,
}

/// A condition on members. Conditions on dimensions select rows; conditions on measures select groups.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All hold.
    And(Vec<Filter>),
    /// At least one holds.
    Or(Vec<Filter>),
    /// A comparison of one member.
    Member {
        /// `Cube.member`.
        member: String,
        /// The comparison.
        operator: Operator,
        /// Values as the client sent them, made text; `None` is null. Values of date operators are already resolved to
        /// local wall-clock instants `YYYY-MM-DDTHH:mm:ss.SSS` by the edge (one for before/after, two for ranges).
        values: Vec<Option<String>>,
    },
}

/// A closed range on the wall clock of the query's time zone. `to` is usually `…T23:59:59.999` and stands for the whole
/// of its last millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateRange {
    /// First instant.
    pub from: NaiveDateTime,
    /// Last instant, its millisecond included.
    pub to: NaiveDateTime,
}

/// A time dimension of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryTimeDimension {
    /// `Cube.dimension`.
    pub dimension: String,
    /// Granularity name, predefined or the dimension's own; `None` only filters.
    pub granularity: Option<String>,
    /// Range, if any.
    pub date_range: Option<DateRange>,
}

/// An element of `order`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    /// `Cube.member` or `Cube.member.granularity`, or a name that is not selected, which is ignored as Cube does.
    pub id: String,
    /// Descending.
    pub desc: bool,
}

/// Which state of the data a query asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The last one that was committed at this instant or before, microseconds.
    Instant(Micros),
    /// The one of this version of the events' table.
    Version(u64),
}

/// A typed query: one object of the Cube query language after validation and normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// `Cube.measure` names.
    pub measures: Vec<String>,
    /// `Cube.dimension` names.
    pub dimensions: Vec<String>,
    /// Time dimensions.
    pub time_dimensions: Vec<QueryTimeDimension>,
    /// `Cube.segment` names.
    pub segments: Vec<String>,
    /// Conditions, all of which must hold.
    pub filters: Vec<Filter>,
    /// `None`: Cube's default order. Empty: no order.
    pub order: Option<Vec<OrderBy>>,
    /// Rows at the most.
    pub limit: u64,
    /// Rows to leave out first.
    pub offset: u64,
    /// Whether to count all rows of the answer without limit and offset.
    pub total: bool,
    /// No grouping.
    pub ungrouped: bool,
    /// Whether an ungrouped query may leave out the primary keys, as queries in SQL do.
    pub ungrouped_without_primary_key: bool,
    /// Whether buckets without rows are added to the answer; `None` adds none, as Cube.
    pub fill: Option<Fill>,
    /// Ways through the joins that the query must take, each a list of cubes' names.
    pub join_hints: Vec<Vec<String>>,
    /// Claims of the verified token: what `SECURITY_CONTEXT` and access policies see. An object, or null without a token.
    pub security_context: Arc<serde_json::Value>,
    /// Groups that the asker belongs to, for access policies.
    pub groups: Arc<[String]>,
    /// Roles that the asker has, for access policies.
    pub roles: Arc<[String]>,
    /// The instant that relative dates of the model are counted from. The engine sets it when it answers.
    pub now: Micros,
    /// An earlier state of the data to ask; `None` asks all that is acknowledged.
    pub as_of: Option<AsOf>,
    /// Time zone of ranges and buckets.
    pub timezone: Tz,
}

impl Default for Query {
    /// A query that asks nothing: no members, in UTC, with Cube's default limit.
    fn default() -> Self {
        Self {
            measures: Vec::new(),
            dimensions: Vec::new(),
            time_dimensions: Vec::new(),
            segments: Vec::new(),
            filters: Vec::new(),
            order: None,
            limit: 10_000,
            offset: 0,
            total: false,
            ungrouped: false,
            ungrouped_without_primary_key: false,
            fill: None,
            join_hints: Vec::new(),
            security_context: Arc::new(serde_json::Value::Null),
            groups: Arc::new([]),
            roles: Arc::new([]),
            now: 0,
            as_of: None,
            timezone: Tz::UTC,
        }
    }
}

/// How missing buckets are filled: with rows for every bucket of the date range, for each combination of dimension values
/// that the answer has. Time dimensions with a granularity and without a date range stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Counts and sums are 0, other measures null.
    Zero,
    /// All measures are null.
    Null,
}

/// A cell of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// SQL null.
    Null,
    /// True or false.
    Bool(bool),
    /// A number in its shortest exact decimal text (`5`, `30.56`, `1e+21`), as JavaScript prints it.
    Number(String),
    /// Text.
    Text(String),
    /// A wall-clock or UTC instant as `YYYY-MM-DDTHH:mm:ss.SSS`.
    Time(String),
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Keys of the columns: dimensions, time dimensions (`Cube.dimension.granularity`) in query order, measures.
    pub columns: Vec<String>,
    /// Rows of cells, one cell a column.
    pub rows: Vec<Vec<Cell>>,
    /// Rows without limit and offset, when asked.
    pub total: Option<u64>,
    /// The instant whose data the answer shows, microseconds since the epoch.
    pub as_of: Micros,
    /// Whether the same query over the same rows may be answered otherwise a moment later: the model's SQL reads the
    /// clock (`now()`, `current_date`) or chance (`random()`).
    pub reads_clock: bool,
}

#[cfg(test)]
pub(crate) mod tests;

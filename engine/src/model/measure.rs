//! Measures: what is counted, summed and averaged.

use super::title::titleize;
use super::{Location, Mask, MultiStage, Origin, RollingWindow, SqlTemplate};

/// The type of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeasureType {
    /// Rows.
    Count,
    /// Distinct values, exact.
    CountDistinct,
    /// Distinct values, estimated by a sketch.
    CountDistinctApprox,
    /// Sum.
    Sum,
    /// Mean.
    Avg,
    /// Least value.
    Min,
    /// Greatest value.
    Max,
    /// A number computed from other measures or by the author's own aggregate.
    Number,
    /// A text computed by the author's own aggregate.
    String,
    /// A truth value computed by the author's own aggregate.
    Boolean,
    /// An instant computed by the author's own aggregate.
    Time,
    /// A sum that runs on over time.
    RunningTotal,
    /// The place of a row in an order, in multi-stage measures.
    Rank,
    /// The author's own aggregate of the inner stage, in multi-stage measures.
    NumberAgg,
    /// Visitors of a funnel; only in funnel cubes.
    Funnel,
}

/// One row of the table of measure types.
#[derive(Debug, Clone, Copy)]
pub struct MeasureTypeRow {
    /// The type.
    pub kind: MeasureType,
    /// Name in YAML, snake case.
    pub yaml: &'static str,
    /// `type` in meta and annotations.
    pub wire: &'static str,
    /// `aggType` in meta.
    pub agg_type: &'static str,
    /// Whether `sql` must be given.
    pub needs_sql: bool,
    /// Whether the author's SQL is itself an aggregate and is never wrapped.
    pub calculated: bool,
}

/// All measure types. Adding one: a row here and a lowering in `query/measure.rs`.
pub const MEASURE_TYPES: &[MeasureTypeRow] = &[
    row(MeasureType::Count, "count", "number", "count", false, false),
    row(MeasureType::Number, "number", "number", "number", true, true),
    row(MeasureType::String, "string", "string", "string", true, true),
    row(MeasureType::Boolean, "boolean", "boolean", "boolean", true, true),
    row(MeasureType::Time, "time", "time", "time", true, true),
    row(MeasureType::Sum, "sum", "number", "sum", true, false),
    row(MeasureType::Avg, "avg", "number", "avg", true, false),
    row(MeasureType::Min, "min", "number", "min", true, false),
    row(MeasureType::Max, "max", "number", "max", true, false),
    row(
        MeasureType::CountDistinct,
        "count_distinct",
        "number",
        "countDistinct",
        true,
        false,
    ),
    row(
        MeasureType::CountDistinctApprox,
        "count_distinct_approx",
        "number",
        "countDistinctApprox",
        true,
        false,
    ),
    row(
        MeasureType::RunningTotal,
        "running_total",
        "number",
        "runningTotal",
        true,
        false,
    ),
    row(MeasureType::Rank, "rank", "number", "rank", false, false),
    row(MeasureType::NumberAgg, "number_agg", "number", "numberAgg", true, false),
    row(MeasureType::Funnel, "funnel", "number", "number", false, true),
];

const fn row(
    kind: MeasureType,
    yaml: &'static str,
    wire: &'static str,
    agg_type: &'static str,
    needs_sql: bool,
    calculated: bool,
) -> MeasureTypeRow {
    MeasureTypeRow {
        kind,
        yaml,
        wire,
        agg_type,
        needs_sql,
        calculated,
    }
}

impl MeasureType {
    /// The type of this name in a model file, in snake case. [`MeasureType::Funnel`] cannot be written.
    pub fn from_yaml(name: &str) -> Option<MeasureType> {
        let row = MEASURE_TYPES.iter().find(|row| row.yaml == name);
        row.map(|row| row.kind).filter(|kind| *kind != MeasureType::Funnel)
    }

    /// This type's row of the table.
    pub fn row(self) -> &'static MeasureTypeRow {
        let found = MEASURE_TYPES.iter().find(|row| row.kind == self);
        found.expect("every measure type has a row, asserted by a test")
    }
}

/// A measure.
#[derive(Debug, Clone)]
pub struct Measure {
    /// Name within the cube.
    pub name: String,
    /// Title without the cube's; made from the name when the author gave none.
    pub short_title: String,
    /// Whether the author gave the title; a view that shows the member by another name makes a new one otherwise.
    pub titled: bool,
    /// Description.
    pub description: Option<String>,
    /// Type.
    pub kind: MeasureType,
    /// The aggregated expression; absent for a plain count.
    pub sql: Option<SqlTemplate>,
    /// Conditions that a row must meet to be counted, all of them.
    pub filters: Vec<SqlTemplate>,
    /// Full names of the members shown when drilling down.
    pub drill_members: Vec<String>,
    /// Whether clients see it.
    pub public: bool,
    /// Whether it runs on over time (`running_total`, `rolling_window` unbounded), for meta.
    pub cumulative: bool,
    /// Display format, as written.
    pub format: Option<serde_json::Value>,
    /// ISO 4217 code for the currency format.
    pub currency: Option<String>,
    /// Free-form `meta`.
    pub meta: Option<serde_json::Value>,
    /// The window of time it is computed over.
    pub rolling_window: Option<RollingWindow>,
    /// The stages it is computed in.
    pub multi_stage: Option<MultiStage>,
    /// What is shown in its place when a policy grants it masked; null when absent.
    pub mask: Option<Mask>,
    /// The member that this one shows, in views.
    pub origin: Option<Origin>,
    /// A key that is valid in Cube but not answered yet, such as `rolling_window`; querying the member says so.
    pub unsupported: Option<String>,
    /// Where it was written.
    pub location: Location,
}

impl Measure {
    /// A public measure of this name and type with nothing else said of it.
    pub fn new(name: impl Into<String>, kind: MeasureType, location: Location) -> Self {
        let name = name.into();
        Self {
            short_title: titleize(&name),
            titled: false,
            name,
            description: None,
            kind,
            sql: None,
            filters: Vec::new(),
            drill_members: Vec::new(),
            public: true,
            cumulative: false,
            format: None,
            currency: None,
            meta: None,
            rolling_window: None,
            multi_stage: None,
            mask: None,
            origin: None,
            unsupported: None,
            location,
        }
    }
}

//! `pre_aggregations`: what the author wants to be stored in advance. They are checked, kept and shown in extended meta;
//! no answer depends on them.

use super::{Location, RefreshKey, SqlTemplate, TimeUnit};

/// What a pre-aggregation stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RollupKind {
    /// Measures by dimensions.
    Rollup,
    /// The rows of the cube's SQL.
    OriginalSql,
    /// The join of rollups.
    RollupJoin,
    /// A rollup with the newest rows from another or from the source.
    RollupLambda,
    /// Rollups that are chosen by themselves.
    AutoRollup,
}

/// One row of the table of kinds.
#[derive(Debug, Clone, Copy)]
pub struct RollupKindRow {
    /// The kind.
    pub kind: RollupKind,
    /// Name in YAML, snake case.
    pub yaml: &'static str,
    /// Name in extended meta.
    pub wire: &'static str,
    /// Keys beyond those of all kinds.
    pub(super) keys: &'static [&'static str],
    /// Whether the keys of all kinds are allowed.
    pub(super) base: bool,
}

/// Keys of every kind but the lambda.
pub(super) const BASE_KEYS: &[&str] = &[
    "refresh_key",
    "sql_alias",
    "use_original_sql_pre_aggregations",
    "external",
    "scheduled_refresh",
    "indexes",
    "refresh_range_start",
    "refresh_range_end",
    "build_range_start",
    "build_range_end",
    "read_only",
    "stream_offset",
    "output_column_types",
    "partition_granularity",
];

/// All kinds.
pub const ROLLUP_KINDS: &[RollupKindRow] = &[
    RollupKindRow {
        kind: RollupKind::AutoRollup,
        yaml: "auto_rollup",
        wire: "autoRollup",
        keys: &["max_pre_aggregations"],
        base: true,
    },
    RollupKindRow {
        kind: RollupKind::OriginalSql,
        yaml: "original_sql",
        wire: "originalSql",
        keys: &[
            "unique_key_columns",
            "time_dimension",
            "allow_non_strict_date_range_match",
        ],
        base: true,
    },
    RollupKindRow {
        kind: RollupKind::RollupJoin,
        yaml: "rollup_join",
        wire: "rollupJoin",
        keys: &[
            "rollups",
            "measures",
            "dimensions",
            "segments",
            "time_dimension",
            "granularity",
            "allow_non_strict_date_range_match",
        ],
        base: true,
    },
    RollupKindRow {
        kind: RollupKind::Rollup,
        yaml: "rollup",
        wire: "rollup",
        keys: &[
            "measures",
            "dimensions",
            "segments",
            "time_dimension",
            "time_dimensions",
            "granularity",
            "unique_key_columns",
            "allow_non_strict_date_range_match",
        ],
        base: true,
    },
    RollupKindRow {
        kind: RollupKind::RollupLambda,
        yaml: "rollup_lambda",
        wire: "rollupLambda",
        keys: &[
            "rollups",
            "measures",
            "dimensions",
            "segments",
            "time_dimension",
            "granularity",
            "union_with_source_data",
        ],
        base: false,
    },
];

impl RollupKind {
    /// This kind's row of the table.
    pub fn row(self) -> &'static RollupKindRow {
        let found = ROLLUP_KINDS.iter().find(|row| row.kind == self);
        found.expect("every kind has a row in the table")
    }
}

/// A time dimension of a rollup.
#[derive(Debug, Clone, PartialEq)]
pub struct RollupTime {
    /// Full name of the dimension.
    pub dimension: String,
    /// Its granularity; absent for `original_sql`.
    pub granularity: Option<String>,
}

/// An index of the stored rows.
#[derive(Debug, Clone, PartialEq)]
pub struct RollupIndex {
    /// Name.
    pub name: String,
    /// Names of its columns, as written.
    pub columns: Vec<String>,
    /// Whether it is stored aggregated.
    pub aggregate: bool,
}

/// A pre-aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct PreAggregation {
    /// Name within the cube.
    pub name: String,
    /// What it stores.
    pub kind: RollupKind,
    /// Full names of its measures.
    pub measures: Vec<String>,
    /// Full names of its dimensions.
    pub dimensions: Vec<String>,
    /// Full names of its segments.
    pub segments: Vec<String>,
    /// Its time dimensions.
    pub times: Vec<RollupTime>,
    /// `Cube.rollup` of those it is made of.
    pub rollups: Vec<String>,
    /// How it is cut into pieces.
    pub partition_granularity: Option<TimeUnit>,
    /// When it is made anew; every hour when nothing is said.
    pub refresh_key: Option<RefreshKey>,
    /// First instant that is stored.
    pub build_range_start: Option<SqlTemplate>,
    /// Last instant that is stored.
    pub build_range_end: Option<SqlTemplate>,
    /// Indexes.
    pub indexes: Vec<RollupIndex>,
    /// Full names of members with the types of their columns.
    pub output_column_types: Vec<(String, String)>,
    /// Columns that tell rows apart.
    pub unique_key_columns: Vec<String>,
    /// Whether it is made anew without being asked.
    pub scheduled_refresh: bool,
    /// Whether a lambda adds the newest rows of the source.
    pub union_with_source_data: bool,
    /// The other keys in the form of extended meta.
    pub shown: serde_json::Map<String, serde_json::Value>,
    /// Where it was written.
    pub location: Location,
}

impl PreAggregation {
    /// Every list of full names that it has.
    pub(super) fn references(&mut self) -> impl Iterator<Item = &mut String> {
        let times = self.times.iter_mut().map(|time| &mut time.dimension);
        let columns = self.output_column_types.iter_mut().map(|(member, _)| member);
        let members = self.measures.iter_mut().chain(&mut self.dimensions);
        members.chain(&mut self.segments).chain(times).chain(columns)
    }
}

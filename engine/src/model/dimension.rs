//! Dimensions: what rows are grouped and filtered by.

use super::title::titleize;
use super::{Granularity, Location, Mask, Origin, SqlTemplate};

/// The type of a dimension's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DimensionType {
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// An instant.
    Time,
    /// A pair of coordinates.
    Geo,
}

impl DimensionType {
    /// All types.
    pub const ALL: &'static [DimensionType] = &[
        DimensionType::String,
        DimensionType::Number,
        DimensionType::Boolean,
        DimensionType::Time,
        DimensionType::Geo,
    ];

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<DimensionType> {
        DimensionType::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The name in YAML and in meta.
    pub fn name(self) -> &'static str {
        match self {
            DimensionType::String => "string",
            DimensionType::Number => "number",
            DimensionType::Boolean => "boolean",
            DimensionType::Time => "time",
            DimensionType::Geo => "geo",
        }
    }
}

/// A label of a `case`: a constant or SQL.
#[derive(Debug, Clone, PartialEq)]
pub enum CaseLabel {
    /// A constant text.
    Text(String),
    /// `label: {sql: …}`.
    Sql(SqlTemplate),
}

/// How a dimension's value is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum DimensionSql {
    /// An expression.
    Expr(SqlTemplate),
    /// `case`: the first condition that holds gives the label.
    Case {
        /// Conditions with their labels.
        when: Vec<(SqlTemplate, CaseLabel)>,
        /// The label when none holds.
        else_label: Option<CaseLabel>,
    },
    /// Coordinates; the value is `latitude,longitude`.
    Geo {
        /// Degrees north.
        latitude: SqlTemplate,
        /// Degrees east.
        longitude: SqlTemplate,
    },
    /// A column that the funnel planner makes; only in funnel cubes.
    Funnel,
}

/// A dimension.
#[derive(Debug, Clone)]
pub struct Dimension {
    /// Name within the cube.
    pub name: String,
    /// Title without the cube's; made from the name when the author gave none.
    pub short_title: String,
    /// Whether the author gave the title; a view that shows the member by another name makes a new one otherwise.
    pub titled: bool,
    /// Description.
    pub description: Option<String>,
    /// Type of the values.
    pub kind: DimensionType,
    /// How it is computed.
    pub sql: DimensionSql,
    /// Whether it identifies a row of the cube.
    pub primary_key: bool,
    /// Whether clients see it. Primary keys are hidden unless said otherwise.
    pub public: bool,
    /// Whether the user interface may offer its values.
    pub suggest_filter_values: bool,
    /// Display format, as written.
    pub format: Option<serde_json::Value>,
    /// ISO 4217 code for the currency format.
    pub currency: Option<String>,
    /// Free-form `meta`.
    pub meta: Option<serde_json::Value>,
    /// Granularities of the author's own.
    pub granularities: Vec<Granularity>,
    /// Whether its SQL is a measure of a joined cube, computed for each row of this cube.
    pub sub_query: bool,
    /// Whether the query's filters hold inside that computation too.
    pub propagate_filters_to_sub_query: bool,
    /// What is shown in its place when a policy grants it masked; null when absent.
    pub mask: Option<Mask>,
    /// The member that this one shows, in views.
    pub origin: Option<Origin>,
    /// A key that is valid in Cube but not answered yet, such as `sub_query`; querying the member says so.
    pub unsupported: Option<String>,
    /// Where it was written.
    pub location: Location,
}

impl Dimension {
    /// A public dimension of this name, type and computation with nothing else said of it.
    pub fn new(name: impl Into<String>, kind: DimensionType, sql: DimensionSql, location: Location) -> Self {
        let name = name.into();
        Self {
            short_title: titleize(&name),
            titled: false,
            name,
            description: None,
            kind,
            sql,
            primary_key: false,
            public: true,
            suggest_filter_values: true,
            format: None,
            currency: None,
            meta: None,
            granularities: Vec::new(),
            sub_query: false,
            propagate_filters_to_sub_query: false,
            mask: None,
            origin: None,
            unsupported: None,
            location,
        }
    }
}

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
    /// One of a fixed list of values that no row has; members choose their SQL by it.
    Switch,
}

impl DimensionType {
    /// All types.
    pub const ALL: &'static [DimensionType] = &[
        DimensionType::String,
        DimensionType::Number,
        DimensionType::Boolean,
        DimensionType::Time,
        DimensionType::Geo,
        DimensionType::Switch,
    ];

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<DimensionType> {
        DimensionType::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The name in meta and annotations.
    pub fn wire(self) -> &'static str {
        match self {
            DimensionType::Switch => "string",
            kind => kind.name(),
        }
    }

    /// The name in YAML.
    pub fn name(self) -> &'static str {
        match self {
            DimensionType::String => "string",
            DimensionType::Number => "number",
            DimensionType::Boolean => "boolean",
            DimensionType::Time => "time",
            DimensionType::Geo => "geo",
            DimensionType::Switch => "switch",
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

impl CaseLabel {
    /// Its SQL, when it is not a constant.
    fn sql(&self) -> Option<&SqlTemplate> {
        match self {
            CaseLabel::Sql(sql) => Some(sql),
            CaseLabel::Text(_) => None,
        }
    }
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
    /// `type: switch`: these values; no row has one.
    Switch(Vec<String>),
    /// A column that the funnel planner makes; only in funnel cubes.
    Funnel,
}

/// Which way the values of a dimension are ordered, for user interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// Least first.
    Asc,
    /// Greatest first.
    Desc,
}

impl SortOrder {
    /// The name in YAML and in meta.
    pub fn name(self) -> &'static str {
        match self {
            SortOrder::Asc => "asc",
            SortOrder::Desc => "desc",
        }
    }
}

/// Where a [`Link`] leads.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkTarget {
    /// SQL that makes an address.
    Url(SqlTemplate),
    /// The id of a dashboard.
    Dashboard(String),
}

/// A link from a dimension's values, for user interfaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// What is shown.
    pub label: String,
    /// Where it leads.
    pub target: Option<LinkTarget>,
    /// Name of an icon.
    pub icon: Option<String>,
    /// `blank` or `self`: the window it opens in.
    pub window: Option<String>,
    /// Whether it is the one to follow by default.
    pub primary: bool,
    /// Names of the parameters that are added to the address.
    pub params: Vec<String>,
}

impl DimensionSql {
    /// Every SQL in it, in the order of the file.
    pub(crate) fn templates(&self) -> Vec<&SqlTemplate> {
        match self {
            DimensionSql::Expr(sql) => vec![sql],
            DimensionSql::Case { when, else_label } => {
                let whens = when
                    .iter()
                    .flat_map(|(condition, label)| [Some(condition), label.sql()]);
                whens
                    .chain([else_label.as_ref().and_then(CaseLabel::sql)])
                    .flatten()
                    .collect()
            }
            DimensionSql::Geo { latitude, longitude } => vec![latitude, longitude],
            DimensionSql::Funnel | DimensionSql::Switch(_) => Vec::new(),
        }
    }
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
    /// Order of its values in user interfaces.
    pub order: Option<SortOrder>,
    /// Full name of the dimension that identifies what this one names.
    pub key: Option<String>,
    /// Links from its values.
    pub links: Vec<Link>,
    /// The values of `case: {switch: …}`, in the order of its branches.
    pub switch_values: Vec<String>,
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
            order: None,
            key: None,
            links: Vec::new(),
            switch_values: Vec::new(),
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

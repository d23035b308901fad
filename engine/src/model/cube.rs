//! A cube: a relation and the members that can be asked of it.

use super::title::titleize;
use super::{
    AccessPolicy, Dimension, Funnel, Hierarchy, Join, Measure, Member, PreAggregation, RefreshKey, Segment,
    SqlTemplate, View,
};
use std::fmt;
use std::sync::Arc;

/// Where something was written: a file and a line, for error messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// The file's path as the user would type it; `builtin/…` for the cubes that ship with Tally.
    pub file: Arc<str>,
    /// One-based line.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a cube's rows are.
#[derive(Debug, Clone, PartialEq)]
pub enum CubeSource {
    /// `sql_table`: a table of the project (`events`, `rejected`), a schema prefix like `public.` allowed.
    Table(String),
    /// `sql`: a query written by the model's author.
    Sql(SqlTemplate),
    /// A funnel file.
    Funnel(Arc<Funnel>),
    /// None of its own: every member of a view comes from a cube.
    View(Arc<View>),
}

/// The SQL that a cube is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL's grammar and functions.
    PostgreSql,
    /// ClickHouse's.
    ClickHouse,
}

impl Dialect {
    /// The dialect that an author calls `name`, as `dialect` and as the name of a `data_source`.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "clickhouse" => Some(Self::ClickHouse),
            "postgres" | "postgresql" => Some(Self::PostgreSql),
            _ => None,
        }
    }
}

/// A cube.
#[derive(Debug, Clone)]
pub struct Cube {
    /// Name, as used in `Cube.member`.
    pub name: String,
    /// Title; made from the name when the author gave none.
    pub title: String,
    /// Description.
    pub description: Option<String>,
    /// Whether clients see it in meta and may query it.
    pub public: bool,
    /// The rows.
    pub source: CubeSource,
    /// The SQL it is written in, when the author says so; else its SQL shows it.
    pub dialect: Option<Dialect>,
    /// Measures in the order of the file.
    pub measures: Vec<Measure>,
    /// Dimensions in the order of the file.
    pub dimensions: Vec<Dimension>,
    /// Segments in the order of the file.
    pub segments: Vec<Segment>,
    /// Joins to other cubes, in the order of the file.
    pub joins: Vec<Join>,
    /// Hierarchies in the order of the file.
    pub hierarchies: Vec<Hierarchy>,
    /// Who may see what of it; without any everybody sees everything.
    pub access_policy: Vec<AccessPolicy>,
    /// What the author wants stored in advance; no answer depends on it.
    pub pre_aggregations: Vec<PreAggregation>,
    /// When Cube would ask the database anew; answers here are always fresh.
    pub refresh_key: Option<RefreshKey>,
    /// Name of the cube in generated SQL.
    pub sql_alias: Option<String>,
    /// Name of Cube's data source; here there is one.
    pub data_source: Option<String>,
    /// Whether it is a calendar of its own granularities.
    pub calendar: bool,
    /// The cube or view that this one extends.
    pub extends: Option<String>,
    /// Free-form `meta`.
    pub meta: Option<serde_json::Value>,
    /// Set on a cube that exists only as another name of a cube; such cubes answer queries but are not in meta.
    pub alias_of: Option<String>,
    /// Keys that are valid in Cube but not answered yet (`joins`, `pre_aggregations`, …), as written.
    pub unsupported: Vec<(String, Location)>,
    /// Where the cube begins.
    pub location: Location,
}

impl Cube {
    /// A public cube of this name and these rows without members.
    pub fn new(name: impl Into<String>, source: CubeSource, location: Location) -> Self {
        let name = name.into();
        Self {
            title: titleize(&name),
            name,
            description: None,
            public: true,
            source,
            dialect: None,
            measures: Vec::new(),
            dimensions: Vec::new(),
            segments: Vec::new(),
            joins: Vec::new(),
            hierarchies: Vec::new(),
            access_policy: Vec::new(),
            pre_aggregations: Vec::new(),
            refresh_key: None,
            sql_alias: None,
            data_source: None,
            calendar: false,
            extends: None,
            meta: None,
            alias_of: None,
            unsupported: Vec::new(),
            location,
        }
    }

    /// What makes it a view, when it is one.
    pub fn view(&self) -> Option<&View> {
        match &self.source {
            CubeSource::View(view) => Some(view),
            _ => None,
        }
    }

    /// The measure of this name.
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|m| m.name == name)
    }

    /// The dimension of this name.
    pub fn dimension(&self, name: &str) -> Option<&Dimension> {
        self.dimensions.iter().find(|d| d.name == name)
    }

    /// The segment of this name.
    pub fn segment(&self, name: &str) -> Option<&Segment> {
        self.segments.iter().find(|s| s.name == name)
    }

    /// The member of this name, whatever it is. Names are unique in a cube.
    pub fn member(&self, name: &str) -> Option<Member<'_>> {
        (self.measure(name).map(Member::Measure))
            .or_else(|| self.dimension(name).map(Member::Dimension))
            .or_else(|| self.segment(name).map(Member::Segment))
    }
}

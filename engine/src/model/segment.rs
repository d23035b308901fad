//! Segments: named conditions.

use super::{Location, Origin, SqlTemplate};

/// A segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Name within the cube.
    pub name: String,
    /// Title without the cube's.
    pub short_title: String,
    /// Whether the author gave the title; a view that shows the member by another name makes a new one otherwise.
    pub titled: bool,
    /// Description.
    pub description: Option<String>,
    /// The condition.
    pub sql: SqlTemplate,
    /// Whether clients see it.
    pub public: bool,
    /// Free-form `meta`.
    pub meta: Option<serde_json::Value>,
    /// The member that this one shows, in views.
    pub origin: Option<Origin>,
    /// A key that is valid in Cube but not answered yet; querying the segment says so.
    pub unsupported: Option<String>,
    /// Where it was written.
    pub location: Location,
}

//! Hierarchies: dimensions in the order in which one drills from one to the next, for user interfaces.

use super::Location;

/// A hierarchy of a cube or a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Hierarchy {
    /// Name within the cube.
    pub name: String,
    /// Title, when the author gave one.
    pub title: Option<String>,
    /// Whether clients see it.
    pub public: bool,
    /// Full names of its dimensions, the widest first.
    pub levels: Vec<String>,
    /// `Cube.hierarchy` of the owner, in views.
    pub alias_member: Option<String>,
    /// Where it was written.
    pub location: Location,
}

//! Joins between cubes. How they are used stands in `query/join.rs`.

use super::{Location, SqlTemplate};

/// How many rows of the target one row of the cube meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relationship {
    /// Many rows here meet one row there (`many_to_one`, `belongs_to`).
    ManyToOne,
    /// One row here meets many rows there (`one_to_many`, `has_many`).
    OneToMany,
    /// One row here meets one row there (`one_to_one`, `has_one`).
    OneToOne,
}

impl Relationship {
    /// All relationships: both names in YAML, in snake case, and the name in meta.
    pub const ALL: &'static [(Relationship, [&'static str; 2], &'static str)] = &[
        (Relationship::ManyToOne, ["many_to_one", "belongs_to"], "belongsTo"),
        (Relationship::OneToMany, ["one_to_many", "has_many"], "hasMany"),
        (Relationship::OneToOne, ["one_to_one", "has_one"], "hasOne"),
    ];

    /// The relationship of this name, in any of its forms.
    pub fn from_name(name: &str) -> Option<Relationship> {
        let snake = super::yaml::snake_case(name);
        let row = Relationship::ALL
            .iter()
            .find(|(_, names, _)| names.contains(&snake.as_str()));
        row.map(|(relationship, _, _)| *relationship)
    }

    /// The name in meta.
    pub fn wire(self) -> &'static str {
        let row = Relationship::ALL
            .iter()
            .find(|(relationship, _, _)| *relationship == self);
        row.map_or("belongsTo", |(_, _, wire)| wire)
    }
}

/// A join of one cube to another.
#[derive(Debug, Clone)]
pub struct Join {
    /// Name of the target cube.
    pub target: String,
    /// The relationship.
    pub relationship: Relationship,
    /// The condition.
    pub sql: SqlTemplate,
    /// Where it was written.
    pub location: Location,
}

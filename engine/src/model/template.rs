//! SQL written by a model's author, split at its references.

use super::Location;

/// A part of an [`SqlTemplate`].
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Text to be taken as it is.
    Text(String),
    /// `{CUBE}` or the cube's own name in braces: the cube's relation.
    Cube,
    /// `{member}` or `{CUBE.member}`: a member of the same cube.
    Member(String),
    /// `{Other.member}`.
    OtherMember(String, String),
    /// `{Other}`.
    OtherCube(String),
    /// `{FILTER_PARAMS.…}`, `{SECURITY_CONTEXT.…}` and the like, as written, without the braces.
    Context(String),
}

/// A fragment of SQL with references. It comes from a model file, never from a client.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlTemplate {
    /// The text as written.
    pub source: String,
    /// The text split at its references.
    pub pieces: Vec<Piece>,
    /// Where it was written.
    pub location: Location,
}

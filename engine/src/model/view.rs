//! Views: a chosen set of members of joined cubes under one name. A view is a [`super::Cube`] without rows of its own:
//! each of its members is a copy of the member it shows, with an [`Origin`] that says where the rows come from.

use super::Location;

/// Where a view's member comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Names of the cubes from the view's root to the owner of the member, both included; each is joined to the next.
    pub join_path: Vec<String>,
    /// Name of the member in the last of them.
    pub member: String,
}

impl Origin {
    /// The cube that owns the member.
    pub fn cube(&self) -> &str {
        self.join_path.last().map_or("", String::as_str)
    }

    /// `Cube.member` of the owner.
    pub fn path(&self) -> String {
        format!("{}.{}", self.cube(), self.member)
    }
}

/// A group of a view's members, for user interfaces. Folders may hold folders.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Name.
    pub name: String,
    /// Its members and folders, in the order of the file.
    pub items: Vec<FolderItem>,
}

/// What a [`Folder`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum FolderItem {
    /// Name of a member of the view.
    Member(String),
    /// A folder in the folder.
    Folder(Folder),
}

/// A condition that holds for every query of a view unless the query says something of certain members itself.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultFilter {
    /// Name of a member of the view.
    pub member: String,
    /// Name of the operator, as in a query.
    pub operator: String,
    /// Values, as in a query; null is `None`.
    pub values: Vec<Option<String>>,
    /// Names of members of the view: when the query names one of them in a filter, the default does not apply.
    pub unless: Vec<String>,
    /// Where it was written.
    pub location: Location,
}

/// Views under a common heading, for user interfaces. Groups may hold groups.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewGroup {
    /// Name, unique among all groups.
    pub name: String,
    /// Title, when the author gave one.
    pub title: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Its views and groups in the order of the file, then the views that attach themselves.
    pub items: Vec<ViewGroupItem>,
    /// Where it was written.
    pub location: Location,
}

/// What a [`ViewGroup`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum ViewGroupItem {
    /// Name of a view.
    View(String),
    /// A group in the group.
    Group(ViewGroup),
}

/// What makes a cube a view.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// The `join_path`s it was made of, each from its root.
    pub join_paths: Vec<Vec<String>>,
    /// Folders.
    pub folders: Vec<Folder>,
    /// Conditions that hold by default.
    pub default_filters: Vec<DefaultFilter>,
    /// Names of the view groups it belongs to.
    pub groups: Vec<String>,
}

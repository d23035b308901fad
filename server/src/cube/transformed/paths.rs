//! Where a query's members live among its joins, as Cube writes it: the cubes from the root to the owner, then the member.

use engine::model::{Model, Origin};
use engine::query::join::Tree;
use serde_json::{Map, Value, json};

/// Names members by the way that leads to them.
pub struct Paths<'m> {
    model: &'m Model,
    tree: Option<&'m Tree>,
}

impl<'m> Paths<'m> {
    /// Names for the members of a query that is joined by `tree`; `None` when it asks one cube.
    pub fn new(model: &'m Model, tree: Option<&'m Tree>) -> Self {
        Self { model, tree }
    }

    /// The view's member that `path` names, when it names one.
    fn origin(&self, path: &str) -> Option<&'m Origin> {
        self.model.member(path).ok()?.1.origin()
    }

    /// The cubes from the root to `cube`.
    fn way(&self, cube: &str) -> String {
        let mut way = vec![cube];
        let edges = self.tree.map(|tree| tree.edges.as_slice()).unwrap_or_default();
        while let Some(edge) = edges.iter().find(|edge| Some(&edge.to.as_str()) == way.last()) {
            way.push(&edge.from);
        }
        way.reverse();
        way.join(".")
    }

    /// A member as it was asked: a view's by its name, a cube's by its way.
    pub fn asked(&self, path: &str) -> String {
        match self.origin(path) {
            Some(_) => path.to_owned(),
            None => self.owned(path),
        }
    }

    /// A member where it is defined, by its way.
    pub fn owned(&self, path: &str) -> String {
        let owner = self.origin(path).map(Origin::path);
        let path = owner.as_deref().unwrap_or(path);
        match path.split_once('.') {
            Some((cube, member)) => format!("{}.{member}", self.way(cube)),
            None => path.to_owned(),
        }
    }

    /// Whether the joins multiply the rows of the cube that owns the member.
    pub fn is_multiplied(&self, path: &str) -> bool {
        let owner = self.origin(path).map(Origin::path);
        let cube = owner.as_deref().unwrap_or(path).split('.').next().unwrap_or_default();
        self.tree.is_some_and(|tree| tree.multiplies(cube))
    }

    /// From where a view's members are defined back to the names they were asked by.
    pub fn back<'p>(&self, asked: impl Iterator<Item = &'p str>) -> Map<String, Value> {
        let of_views = asked.filter(|path| self.origin(path).is_some());
        of_views.map(|path| (self.owned(path), json!(path))).collect()
    }
}

//! How the cubes of a query are joined: which cube is the root, which way leads to the others, and whose rows are
//! multiplied on the way.
//!
//! The rules are Cube's: an edge leads from the cube that declares a join to its target; every cube of the query, in the
//! order of the query, may be the root; the way to each other cube is the shortest; the root with the fewest joins wins,
//! the first of several. A list of cubes (a view's `join_path`, `joinHints` of a query) forces the way through them.

mod references;

pub(crate) use references::of_templates;
pub use references::{hints, path_reference};

use crate::error::{Error, Result};
use crate::model::{Model, Relationship};
use std::collections::{HashMap, VecDeque};

/// A cube that must be joined, or the way to it: names of cubes, the wanted one last.
pub type JoinPath = Vec<String>;

/// A join of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The cube that declares the join.
    pub from: String,
    /// Its target.
    pub to: String,
    /// How many rows meet how many.
    pub relationship: Relationship,
}

/// The joins of a query: `root LEFT JOIN … LEFT JOIN …`, each edge after those that lead to its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The cube all rows of which are kept.
    pub root: String,
    /// The joins in their order. No two have the same target.
    pub edges: Vec<Edge>,
}

impl Tree {
    /// Names of all cubes, the root first.
    pub fn cubes(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.root.as_str()).chain(self.edges.iter().map(|edge| edge.to.as_str()))
    }

    /// Whether a row of `cube` can meet several rows of the whole.
    pub fn multiplies(&self, cube: &str) -> bool {
        self.walk(cube, |_| true)
    }

    /// Whether a row of `cube` can meet several rows of `other`.
    pub fn multiplies_towards(&self, cube: &str, other: &str) -> bool {
        let to_root = |name: &str| {
            let mut way = vec![name.to_owned()];
            while let Some(edge) = self.edges.iter().find(|edge| Some(&edge.to) == way.last()) {
                way.push(edge.from.clone());
            }
            way
        };
        let (one, two) = (to_root(cube), to_root(other));
        let meeting = one.iter().find(|name| two.contains(name));
        let until = |way: &[String]| -> Vec<String> {
            let inner = way.iter().take_while(|name| Some(*name) != meeting);
            inner.cloned().collect()
        };
        let mut way = until(&one);
        way.extend(until(&two));
        way.extend(meeting.cloned());
        self.walk(cube, |name| way.iter().any(|on_way| on_way == name))
    }

    /// Whether some join multiplies `start`'s rows, going from it through the cubes that are `wanted`.
    fn walk(&self, start: &str, wanted: impl Fn(&str) -> bool) -> bool {
        let mut visited = vec![start];
        let mut next = 0;
        while let Some(here) = visited.get(next).copied() {
            next += 1;
            for edge in &self.edges {
                let (there, many) = if edge.from == here {
                    (edge.to.as_str(), edge.relationship == Relationship::OneToMany)
                } else if edge.to == here {
                    (edge.from.as_str(), edge.relationship == Relationship::ManyToOne)
                } else {
                    continue;
                };
                if visited.contains(&there) || !wanted(there) {
                    continue;
                }
                if many {
                    return true;
                }
                visited.push(there);
            }
        }
        false
    }
}

/// The joins that a model declares.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    edges: HashMap<String, Vec<(String, Relationship)>>,
}

impl Graph {
    /// The joins of `model`. A join to a cube that does not exist is none.
    pub fn new(model: &Model) -> Self {
        let of_cube = |cube: &crate::model::Cube| {
            let mut targets: Vec<(String, Relationship)> = Vec::new();
            for join in cube.joins.iter().filter(|join| model.cubes.contains_key(&join.target)) {
                // The last of several joins to one cube counts, in the place of the first.
                match targets.iter_mut().find(|(target, _)| *target == join.target) {
                    Some(known) => known.1 = join.relationship,
                    None => targets.push((join.target.clone(), join.relationship)),
                }
            }
            targets
        };
        let with_joins = model.cubes.iter().filter(|(_, cube)| !cube.joins.is_empty());
        Self {
            edges: with_joins.map(|(name, cube)| (name.clone(), of_cube(cube))).collect(),
        }
    }

    /// The tree that joins all cubes of `hints`.
    ///
    /// # Errors
    /// `Invalid`, with Cube's wording where it has one, when there is none.
    pub fn tree(&self, hints: &[JoinPath]) -> Result<Tree> {
        if let [first] = hints
            && let [cube] = first.as_slice()
        {
            return Ok(Tree {
                root: cube.clone(),
                edges: Vec::new(),
            });
        }
        let mut best: Option<Tree> = None;
        let mut conflict = None;
        for (at, root) in hints.iter().enumerate() {
            match self.rooted(at, root, hints) {
                Ok(Some(tree)) if best.as_ref().is_none_or(|best| tree.edges.len() < best.edges.len()) => {
                    best = Some(tree);
                }
                Ok(_) => {}
                Err(error) => drop(conflict.get_or_insert(error)),
            }
        }
        match (best, conflict) {
            (Some(tree), _) => Ok(tree),
            (None, Some(conflict)) => Err(conflict),
            (None, None) => {
                let names: Vec<String> = hints.iter().map(|hint| format!("'{}'", hint.join(","))).collect();
                Err(Error::invalid(format!(
                    "Can't find join path to join {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// The tree with the beginning of one hint as its root; `None` when some cube cannot be reached from there.
    fn rooted(&self, at: usize, root: &JoinPath, hints: &[JoinPath]) -> Result<Option<Tree>> {
        let Some((root_cube, rest)) = root.split_first() else {
            return Ok(None);
        };
        let mut tree = Tree {
            root: root_cube.clone(),
            edges: Vec::new(),
        };
        let others = hints.iter().enumerate().filter(|(other, _)| *other != at);
        let own = (rest, true);
        for (way, from_hint) in std::iter::once(own).chain(others.map(|(_, hint)| (hint.as_slice(), false))) {
            let mut here = root_cube;
            // Whether the way that leads to `here` is said and not found.
            let mut said = from_hint;
            for cube in way {
                if cube != here && !self.extend(&mut tree, here, cube, said)? {
                    return Ok(None);
                }
                (here, said) = (cube, true);
            }
        }
        Ok(Some(tree))
    }

    /// Adds the way from `here` to `cube`, as far as it is not there yet; false when there is none. `said` tells that the
    /// query wants `cube` to be joined from `here`.
    fn extend(&self, tree: &mut Tree, here: &str, cube: &str, said: bool) -> Result<bool> {
        if let Some(edge) = tree.edges.iter().find(|edge| edge.to == cube) {
            if said && edge.from != here && self.edge(here, cube).is_some() {
                return Err(Error::invalid(format!(
                    "The query joins '{cube}' by way of '{}' and by way of '{here}': a cube can be joined by one way only",
                    edge.from
                )));
            }
            return Ok(true);
        }
        if cube == tree.root {
            return Ok(true);
        }
        let Some(way) = self.shortest(here, cube) else {
            return Ok(false);
        };
        // Cubes that are joined already stay where they are.
        let joined = |name: &String| *name == tree.root || tree.edges.iter().any(|edge| edge.to == *name);
        let start = way.iter().rposition(joined).unwrap_or(0);
        for pair in way.get(start..).unwrap_or_default().windows(2) {
            if let [from, to] = pair
                && let Some(relationship) = self.edge(from, to)
            {
                tree.edges.push(Edge {
                    from: from.clone(),
                    to: to.clone(),
                    relationship,
                });
            }
        }
        Ok(true)
    }

    fn edge(&self, from: &str, to: &str) -> Option<Relationship> {
        let targets = self.edges.get(from)?;
        targets
            .iter()
            .find(|(target, _)| target == to)
            .map(|(_, relationship)| *relationship)
    }

    /// The shortest way, both ends included; of several the one whose joins are declared first.
    fn shortest(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut before: HashMap<&str, &str> = HashMap::new();
        let mut open: VecDeque<&str> = VecDeque::from([from]);
        while let Some(here) = open.pop_front() {
            if here == to {
                let mut way = vec![to.to_owned()];
                let mut last = to;
                while let Some(previous) = before.get(last) {
                    way.push((*previous).to_owned());
                    last = previous;
                }
                way.reverse();
                return Some(way);
            }
            for (target, _) in self.edges.get(here).map(Vec::as_slice).unwrap_or_default() {
                if target != from && !before.contains_key(target.as_str()) {
                    before.insert(target, here);
                    open.push_back(target);
                }
            }
        }
        None
    }
}

/// `hints` without repetitions, in their order.
pub fn distinct(hints: impl IntoIterator<Item = JoinPath>) -> Vec<JoinPath> {
    let mut all: Vec<JoinPath> = Vec::new();
    for hint in hints {
        if !hint.is_empty() && !all.contains(&hint) {
            all.push(hint);
        }
    }
    all
}

#[cfg(test)]
mod tests;

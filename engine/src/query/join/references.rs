//! Which cubes a member's SQL refers to, in the order in which Cube meets them.

use super::JoinPath;
use crate::error::Result;
use crate::model::{Cube, Member, Model, Piece, SqlTemplate};
use std::collections::HashSet;

/// Levels of references that are followed. The compiler refuses deeper ones.
const DEPTH_MAX: usize = 64;

/// The cubes that the member `path` needs: its own, or the way to it for a view's member, and those its SQL refers to.
/// The SQL of a sub-query dimension is computed apart, so it adds none.
///
/// # Errors
/// `Invalid` when there is no such member.
pub fn hints(model: &Model, path: &str) -> Result<Vec<JoinPath>> {
    let (cube, member) = model.member(path)?;
    let mut found = Found {
        model,
        hints: Vec::new(),
        seen: HashSet::new(),
    };
    found.member(cube, member, DEPTH_MAX);
    Ok(found.hints)
}

/// The cubes that `templates`, written in `cube`, refer to, `cube` first.
pub(crate) fn of_templates(model: &Model, cube: &Cube, templates: &[&SqlTemplate]) -> Vec<JoinPath> {
    let mut found = Found {
        model,
        hints: vec![vec![cube.name.clone()]],
        seen: HashSet::new(),
    };
    for template in templates {
        found.template(cube, template, DEPTH_MAX);
    }
    found.hints
}

/// Splits `a.b.member`, a reference that names the way; `None` for anything else.
pub fn path_reference(reference: &str) -> Option<(Vec<&str>, &str)> {
    let mut names: Vec<&str> = reference.split('.').map(str::trim).collect();
    let plain = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let context = ["FILTER_PARAMS", "FILTER_GROUP", "SECURITY_CONTEXT", "securityContext"];
    let context = context.iter().chain(&["COMPILE_CONTEXT", "SQL_UTILS"]);
    if names.len() < 3 || !names.iter().all(plain) || context.into_iter().any(|name| Some(name) == names.first()) {
        return None;
    }
    let member = names.pop()?;
    Some((names, member))
}

struct Found<'a> {
    model: &'a Model,
    hints: Vec<JoinPath>,
    seen: HashSet<(&'a str, &'a str)>,
}

impl<'a> Found<'a> {
    fn push(&mut self, hint: JoinPath) {
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }

    fn named(&mut self, cube: &str, member: &str, depth: usize) {
        let model = self.model;
        if let Some(cube) = model.cubes.get(cube)
            && let Some(member) = cube.member(member)
        {
            self.member(cube, member, depth);
        }
    }

    /// Recursion ends at members seen before and at `depth`.
    fn member(&mut self, cube: &'a Cube, member: Member<'a>, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        if !self.seen.insert((&cube.name, member.name())) {
            return;
        }
        if let Some(origin) = member.origin() {
            self.push(origin.join_path.clone());
            let before = self.hints.len();
            self.named(origin.cube(), &origin.member, depth);
            // The way to the owner is said; its name alone would say less.
            let owner = [origin.cube().to_owned()];
            if self.hints.get(before).is_some_and(|hint| *hint == owner) {
                self.hints.remove(before);
            }
            return;
        }
        if cube.view().is_none() {
            self.push(vec![cube.name.clone()]);
        }
        if matches!(member, Member::Dimension(dimension) if dimension.sub_query) {
            return;
        }
        for template in member.templates() {
            self.template(cube, template, depth);
        }
    }

    fn template(&mut self, cube: &Cube, template: &SqlTemplate, depth: usize) {
        for piece in &template.pieces {
            match piece {
                Piece::Text(_) | Piece::Cube => {}
                Piece::Member(name) => self.named(&cube.name, name, depth),
                Piece::OtherMember(other, name) => self.named(other, name, depth),
                Piece::OtherCube(other) => self.push(vec![other.clone()]),
                Piece::Context(reference) => {
                    if let Some((way, member)) = path_reference(reference) {
                        self.push(way.iter().map(|name| (*name).to_owned()).collect());
                        if let Some(owner) = way.last() {
                            let before = self.hints.len();
                            self.named(owner, member, depth);
                            if self.hints.get(before).is_some_and(|hint| hint.as_slice() == [*owner]) {
                                self.hints.remove(before);
                            }
                        }
                    }
                }
            }
        }
    }
}

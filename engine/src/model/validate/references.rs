//! How the members of a cube refer to one another: never in a circle, never in a chain that is too long to plan, and never
//! so that the SQL grows out of hand when references are put in.

use super::super::template::{Piece, SqlTemplate};
use super::super::{Cube, Location, Member, Problem};
use crate::limits;
use std::collections::{BTreeMap, HashMap};

/// A member whose references are not all known yet.
struct Open<'a> {
    templates: Vec<&'a SqlTemplate>,
    location: &'a Location,
}

impl<'a> Open<'a> {
    fn members(&self) -> impl Iterator<Item = &'a str> {
        self.templates.iter().flat_map(|template| template.members())
    }

    /// Bytes of its SQL with the SQL of the members in it put in.
    fn expanded_bytes(&self, known: &HashMap<&str, usize>) -> usize {
        let pieces = self.templates.iter().flat_map(|template| &template.pieces);
        let bytes = pieces.map(|piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Member(name) => known.get(name.as_str()).copied().unwrap_or(0),
            _ => 1,
        });
        bytes.fold(1, usize::saturating_add)
    }
}

/// Reports circles, chains longer than [`limits::MODEL_REFERENCE_DEPTH_MAX`] and SQL larger than
/// [`limits::MODEL_SQL_BYTES_MAX`].
pub(super) fn check(cube: &Cube, problems: &mut Vec<Problem>) {
    let mut open = members(cube);
    let mut bytes: HashMap<&str, usize> = HashMap::new();
    for _ in 0..limits::MODEL_REFERENCE_DEPTH_MAX {
        let ready = |entry: &Open<'_>| !entry.members().any(|member| open.contains_key(member));
        let done: Vec<&str> = open
            .iter()
            .filter(|(_, entry)| ready(entry))
            .map(|(name, _)| *name)
            .collect();
        if done.is_empty() {
            break;
        }
        for name in done {
            let Some(entry) = open.remove(name) else { continue };
            let expanded = entry.expanded_bytes(&bytes);
            if expanded > limits::MODEL_SQL_BYTES_MAX {
                let most = limits::MODEL_SQL_BYTES_MAX;
                let message = format!(
                    "{} cube: {name} is longer than {most} bytes with its references put in",
                    cube.name
                );
                problems.push(Problem::error(entry.location.clone(), message));
            }
            bytes.insert(name, expanded);
        }
    }
    for (name, entry) in open {
        let by: Vec<&str> = entry.members().collect();
        let message = format!(
            "{} cube: {name} refers to itself by way of {}, or through more than {} members",
            cube.name,
            by.join(", "),
            limits::MODEL_REFERENCE_DEPTH_MAX
        );
        problems.push(Problem::error(entry.location.clone(), message));
    }
}

fn members(cube: &Cube) -> BTreeMap<&str, Open<'_>> {
    let measures = cube.measures.iter().map(|m| (Member::Measure(m), &m.location));
    let dimensions = cube.dimensions.iter().map(|d| (Member::Dimension(d), &d.location));
    let segments = cube.segments.iter().map(|s| (Member::Segment(s), &s.location));
    let members = measures.chain(dimensions).chain(segments);
    let mut open = BTreeMap::new();
    for (member, location) in members {
        let templates = member.templates();
        open.insert(member.name(), Open { templates, location });
    }
    open
}

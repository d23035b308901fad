//! How the members of a cube refer to one another: never in a circle, never in a chain that is too long to plan, and never
//! so that the SQL grows out of hand when references are put in.

use super::super::template::{Piece, SqlTemplate};
use super::super::{CaseLabel, Cube, Dimension, DimensionSql, Location, Problem};
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
    let mut open = BTreeMap::new();
    for measure in &cube.measures {
        let entry = Open {
            templates: measure.templates().collect(),
            location: &measure.location,
        };
        open.insert(measure.name.as_str(), entry);
    }
    for dimension in &cube.dimensions {
        let entry = Open {
            templates: dimension_templates(dimension),
            location: &dimension.location,
        };
        open.insert(dimension.name.as_str(), entry);
    }
    for segment in &cube.segments {
        let entry = Open {
            templates: vec![&segment.sql],
            location: &segment.location,
        };
        open.insert(segment.name.as_str(), entry);
    }
    open
}

fn dimension_templates(dimension: &Dimension) -> Vec<&SqlTemplate> {
    match &dimension.sql {
        DimensionSql::Expr(sql) => vec![sql],
        DimensionSql::Case { when, else_label } => {
            let labels = when.iter().map(|(_, label)| label).chain(else_label);
            let labels = labels.filter_map(|label| match label {
                CaseLabel::Sql(sql) => Some(sql),
                CaseLabel::Text(_) => None,
            });
            when.iter().map(|(condition, _)| condition).chain(labels).collect()
        }
        DimensionSql::Geo { latitude, longitude } => vec![latitude, longitude],
        DimensionSql::Funnel | DimensionSql::Switch(_) => Vec::new(),
    }
}

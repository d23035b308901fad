//! Names in what stands beside the members of a cube: levels of hierarchies, keys of dimensions, pre-aggregations.

use super::super::read::RawCube;
use super::super::{Dimension, Hierarchy, Location, Problem};
use super::{Known, full_name};
use std::collections::HashSet;

/// Gives levels and keys their full names; says which are wrong.
pub(super) fn look_up(
    raw: &mut RawCube,
    own: &str,
    names: &HashSet<String>,
    known: &Known<'_>,
    error: &mut impl FnMut(&Location, String),
) {
    for hierarchy in &mut raw.hierarchies {
        levels(hierarchy, own, names, known, error);
    }
    let keyed: Vec<(String, Option<String>)> = raw.dimensions.iter().map(|d| (d.name.clone(), d.key.clone())).collect();
    for dimension in &mut raw.dimensions {
        if let Err(message) = key(dimension, own, &keyed) {
            error(&dimension.location, message);
        }
    }
}

/// Gives the levels of a hierarchy their full names.
fn levels(
    hierarchy: &mut Hierarchy,
    own: &str,
    names: &HashSet<String>,
    known: &Known<'_>,
    error: &mut impl FnMut(&Location, String),
) {
    for level in &mut hierarchy.levels {
        match full_name(level, own, names, known) {
            Some(full) => *level = full,
            None => error(&hierarchy.location, format!("{level} is not defined")),
        }
    }
}

/// Gives the key of a dimension its full name: another dimension of the cube that has no key itself.
fn key(dimension: &mut Dimension, own: &str, keyed: &[(String, Option<String>)]) -> Result<(), String> {
    let Some(written) = &dimension.key else { return Ok(()) };
    let (cube, name) = written.split_once('.').unwrap_or((own, written));
    let cube = if cube == "CUBE" { own } else { cube };
    let (path, full) = (format!("{own}.{}", dimension.name), format!("{cube}.{name}"));
    if cube != own {
        return Err(format!(
            "Dimension '{path}' has a key that references dimension '{full}' from a different cube. Key must reference a \
             dimension within the same cube."
        ));
    }
    match keyed.iter().find(|(other, _)| other == name) {
        None => Err(format!(
            "Dimension '{path}' references key dimension '{name}' which does not exist in cube '{own}'."
        )),
        Some((_, Some(_))) => Err(format!(
            "Dimension '{path}' references '{full}' as its key, but '{full}' already defines its own key. Nested keys are \
             not allowed."
        )),
        Some((_, None)) => {
            dimension.key = Some(full);
            Ok(())
        }
    }
}

/// Gives the names in pre-aggregations their full form. What is unknown is a warning, for no answer depends on it.
pub(super) fn rollups(raw: &mut RawCube, own: &str, names: &HashSet<String>, known: &Known<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for rollup in &mut raw.pre_aggregations {
        let (name, location) = (rollup.name.clone(), rollup.location.clone());
        for reference in rollup.references() {
            // A path of joins ends with the cube and its member.
            let parts: Vec<&str> = reference.split('.').collect();
            let last = parts.len().saturating_sub(2);
            let tail = parts.get(last..).unwrap_or_default().join(".");
            match full_name(&tail, own, names, known) {
                Some(full) => *reference = full,
                None => {
                    let message = format!("{own} cube: (preAggregations.{name}) {reference} is not defined");
                    problems.push(Problem::warning(location.clone(), message));
                }
            }
        }
        for other in rollup.rollups.iter_mut().filter(|other| !other.contains('.')) {
            *other = format!("{own}.{other}");
        }
    }
    problems
}

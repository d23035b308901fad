//! Cubes that extend cubes: the members of the parents put before the child's own.

use super::super::read::RawCube;
use super::super::template::{Piece, SqlTemplate};
use super::super::title::titleize;
use super::super::{CaseLabel, Cube, CubeSource, Dimension, DimensionSql, Location, Mask, Problem};
use super::{Named, Source};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};

/// Every raw cube with the members of the cubes it extends put before its own.
pub(super) fn merge(named: &Named<'_>, problems: &mut Vec<Problem>) -> HashMap<String, RawCube> {
    let mut merged = HashMap::new();
    for (name, (_, source)) in &named.cubes {
        let Source::Raw(raw) = source else { continue };
        match lineage(named, raw) {
            Ok(parents) => {
                let mut cube = (*raw).clone();
                for parent in parents {
                    inherit(&mut cube, &parent);
                }
                if cube.source.is_none() && raw.extends.is_some() {
                    let message = format!("{name} cube: \"value\" must contain at least one of [sql, sqlTable]");
                    problems.push(Problem::error(raw.location.clone(), message));
                }
                merged.insert(name.clone(), cube);
            }
            Err(problem) => problems.push(problem),
        }
    }
    merged
}

/// The cubes that `raw` extends, nearest first.
fn lineage(named: &Named<'_>, raw: &RawCube) -> Result<Vec<RawCube>, Problem> {
    let mut parents: Vec<RawCube> = Vec::new();
    let mut seen = HashSet::from([raw.name.clone()]);
    let mut next = raw.extends.clone();
    let mut child = raw.name.clone();
    while let Some((parent, location)) = next {
        let found = if parent == child {
            named.replaced.get(&parent)
        } else if seen.insert(parent.clone()) {
            named.cubes.get(&parent).map(|(_, source)| source)
        } else {
            let message = format!("{} cube: `extends` leads back to {parent}", raw.name);
            return Err(Problem::error(location, message));
        };
        let Some(found) = found else {
            return Err(Problem::error(
                location,
                format!("{} cube: {parent} is not defined", raw.name),
            ));
        };
        let found = match found {
            Source::Raw(raw) => (*raw).clone(),
            Source::Done(cube) => unfinished(cube),
            Source::View(view) => {
                let message = format!(
                    "{} cube: {} is a view, a cube extends cubes only",
                    raw.name, view.base.name
                );
                return Err(Problem::error(location, message));
            }
        };
        // A replaced cube that extends itself too would go round for ever.
        next = found.extends.clone().filter(|(grand, _)| *grand != found.name);
        child = found.name.clone();
        parents.push(found);
    }
    Ok(parents)
}

/// A finished cube as a parent for others.
fn unfinished(cube: &Cube) -> RawCube {
    RawCube {
        name: cube.name.clone(),
        location: cube.location.clone(),
        title: Some(cube.title.clone()).filter(|title| *title != titleize(&cube.name)),
        description: cube.description.clone(),
        public: Some(cube.public),
        source: Some(cube.source.clone()),
        dialect: cube.dialect,
        extends: None,
        aliases: Vec::new(),
        measures: cube.measures.clone(),
        dimensions: cube.dimensions.clone(),
        segments: cube.segments.clone(),
        joins: cube.joins.clone(),
        hierarchies: cube.hierarchies.clone(),
        access_policy: cube.access_policy.clone(),
        pre_aggregations: cube.pre_aggregations.clone(),
        refresh_key: cube.refresh_key.clone(),
        sql_alias: cube.sql_alias.clone(),
        data_source: cube.data_source.clone(),
        calendar: Some(cube.calendar),
        meta: cube.meta.clone(),
        unsupported: cube.unsupported.clone(),
        blocked: None,
        failed: Vec::new(),
    }
}

pub(super) fn inherit(cube: &mut RawCube, parent: &RawCube) {
    cube.source = cube.source.take().or_else(|| parent.source.clone());
    cube.dialect = cube.dialect.or(parent.dialect);
    cube.title = cube.title.take().or_else(|| parent.title.clone());
    cube.public = cube.public.or(parent.public);
    cube.refresh_key = cube.refresh_key.take().or_else(|| parent.refresh_key.clone());
    cube.sql_alias = cube.sql_alias.take().or_else(|| parent.sql_alias.clone());
    cube.data_source = cube.data_source.take().or_else(|| parent.data_source.clone());
    cube.calendar = cube.calendar.or(parent.calendar);
    // As Cube: the child's own pre-aggregations are looked at first.
    for rollup in &parent.pre_aggregations {
        if !cube.pre_aggregations.iter().any(|own| own.name == rollup.name) {
            cube.pre_aggregations.push(rollup.clone());
        }
    }
    cube.description = cube.description.take().or_else(|| parent.description.clone());
    cube.meta = cube.meta.take().or_else(|| parent.meta.clone());
    cube.blocked = cube.blocked.take().or_else(|| parent.blocked.clone());
    cube.failed.extend(parent.failed.iter().cloned());
    // A child has its parent's policies before its own.
    cube.access_policy.splice(0..0, parent.access_policy.iter().cloned());
    overlay(&mut cube.measures, &parent.measures, |m| &m.name);
    overlay(&mut cube.dimensions, &parent.dimensions, |d| &d.name);
    overlay(&mut cube.segments, &parent.segments, |s| &s.name);
    overlay(&mut cube.joins, &parent.joins, |j| &j.target);
    overlay(&mut cube.hierarchies, &parent.hierarchies, |h| &h.name);
    if parent.location.file != cube.location.file {
        // What is wrong with it in this cube is to be mended in this cube's file.
        let here = &cube.location;
        cube.measures.iter_mut().for_each(|m| relocate(&mut m.location, here));
        cube.dimensions.iter_mut().for_each(|d| relocate(&mut d.location, here));
        cube.segments.iter_mut().for_each(|s| relocate(&mut s.location, here));
        cube.joins.iter_mut().for_each(|j| relocate(&mut j.location, here));
        cube.hierarchies
            .iter_mut()
            .for_each(|h| relocate(&mut h.location, here));
        cube.pre_aggregations
            .iter_mut()
            .for_each(|p| relocate(&mut p.location, here));
    }
    // `{Parent}` and `{Parent.member}` in what is inherited stand for the child.
    rename_cube(cube, &parent.name);
}

fn relocate(location: &mut Location, here: &Location) {
    if location.file != here.file {
        location.clone_from(here);
    }
}

/// The parent's members in their order, each replaced by the child's of the same name, then the child's others.
fn overlay<T: Clone>(child: &mut Vec<T>, parent: &[T], name: impl Fn(&T) -> &String) {
    let mut all: IndexMap<String, T> = parent.iter().map(|item| (name(item).clone(), item.clone())).collect();
    for item in child.drain(..) {
        all.insert(name(&item).clone(), item);
    }
    child.extend(all.into_values());
}

/// Calls `each` for every template of the cube's members.
pub(super) fn templates(cube: &mut RawCube, mut each: impl FnMut(&mut SqlTemplate)) {
    for measure in &mut cube.measures {
        measure.templates_mut().for_each(&mut each);
    }
    for dimension in &mut cube.dimensions {
        dimension_templates(dimension, &mut each);
    }
    for segment in &mut cube.segments {
        each(&mut segment.sql);
    }
    for join in &mut cube.joins {
        each(&mut join.sql);
    }
    if let Some(CubeSource::Sql(sql)) = &mut cube.source {
        each(sql);
    }
}

pub(super) fn dimension_templates(dimension: &mut Dimension, each: &mut impl FnMut(&mut SqlTemplate)) {
    if let Some(Mask::Sql(sql)) = &mut dimension.mask {
        each(sql);
    }
    match &mut dimension.sql {
        DimensionSql::Expr(sql) => each(sql),
        DimensionSql::Case { when, else_label } => {
            for (condition, label) in when {
                each(condition);
                label_template(label, each);
            }
            if let Some(label) = else_label {
                label_template(label, each);
            }
        }
        DimensionSql::Geo { latitude, longitude } => {
            each(latitude);
            each(longitude);
        }
        DimensionSql::Funnel | DimensionSql::Switch(_) => {}
    }
}

fn label_template(label: &mut CaseLabel, each: &mut impl FnMut(&mut SqlTemplate)) {
    if let CaseLabel::Sql(sql) = label {
        each(sql);
    }
}

/// Makes every reference to the cube `old` one to the cube itself.
pub(super) fn rename_cube(cube: &mut RawCube, old: &str) {
    let name = cube.name.clone();
    let (params, renamed) = (format!("FILTER_PARAMS.{old}."), format!("FILTER_PARAMS.{name}."));
    templates(cube, |template| {
        for piece in &mut template.pieces {
            match piece {
                Piece::Member(member) if member == old => *piece = Piece::Cube,
                Piece::OtherMember(other, member) if other == old => *piece = Piece::Member(std::mem::take(member)),
                Piece::Context(text) if text.contains(&params) => *text = text.replace(&params, &renamed),
                _ => {}
            }
        }
    });
    let prefix = format!("{old}.");
    let drills = cube.measures.iter_mut().flat_map(|measure| &mut measure.drill_members);
    let levels = cube.hierarchies.iter_mut().flat_map(|hierarchy| &mut hierarchy.levels);
    let rollups = cube.pre_aggregations.iter_mut().flat_map(|rollup| rollup.references());
    let keys = cube
        .dimensions
        .iter_mut()
        .filter_map(|dimension| dimension.key.as_mut());
    for drill in drills.chain(levels).chain(rollups).chain(keys) {
        if let Some(member) = drill.strip_prefix(&prefix) {
            *drill = member.to_owned();
        }
    }
    let stages = cube
        .measures
        .iter_mut()
        .filter_map(|measure| measure.multi_stage.as_mut());
    for stage in stages {
        stage.names_mut(&mut |name| {
            if let Some(member) = name.strip_prefix(&prefix) {
                *name = member.to_owned();
            }
        });
    }
}

/// Names that an inherited member and an own one of another kind share.
pub(super) fn across_kinds(raw: &RawCube, error: &mut impl FnMut(&Location, String)) {
    if raw.extends.is_none() {
        return;
    }
    let measures: HashSet<&str> = raw.measures.iter().map(|m| m.name.as_str()).collect();
    let others = raw.dimensions.iter().map(|d| (&d.name, &d.location));
    for (name, location) in others.chain(raw.segments.iter().map(|s| (&s.name, &s.location))) {
        if measures.contains(name.as_str()) {
            error(location, format!("{name} defined more than once"));
        }
    }
}

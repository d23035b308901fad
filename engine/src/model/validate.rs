//! From the files of one project to its cubes: layers, `extends`, aliases and references. Reports every error of every
//! file; a file with an error is left out by the catalog, which keeps its last good cubes.

mod references;

use super::read::{RawCube, is_member_path};
use super::template::{Piece, SqlTemplate};
use super::title::titleize;
use super::{CaseLabel, Cube, CubeSource, Dimension, DimensionSql, Location, Measure, Problem, Segment};
use indexmap::IndexMap;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Where a file stands: a cube of a later layer takes the place of one of the same name in an earlier layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// Compiled into the program.
    Builtin,
    /// The model folder.
    Shared,
    /// The project's own folder in it.
    Project,
}

/// One file to assemble.
pub(super) enum Input<'a> {
    /// Cubes as just read.
    Fresh(Layer, &'a [RawCube]),
    /// Finished cubes of the last good version, aliases included.
    Kept(Layer, &'a [Arc<Cube>]),
}

/// The cubes of a project.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    pub cubes: IndexMap<String, Arc<Cube>>,
    /// The same cubes by their files.
    pub by_file: BTreeMap<Arc<str>, Vec<Arc<Cube>>>,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Raw(&'a RawCube),
    Done(&'a Arc<Cube>),
}

impl Source<'_> {
    fn location(&self) -> &Location {
        match self {
            Source::Raw(raw) => &raw.location,
            Source::Done(cube) => &cube.location,
        }
    }
}

/// The cubes of all inputs by name, later layers in place of earlier ones.
#[derive(Default)]
struct Named<'a> {
    cubes: IndexMap<String, (Layer, Source<'a>)>,
    /// What a later layer has replaced, so that a cube may extend the built-in one whose place it takes.
    replaced: HashMap<String, Source<'a>>,
    problems: Vec<Problem>,
}

impl<'a> Named<'a> {
    fn insert(&mut self, name: &str, layer: Layer, source: Source<'a>) {
        match self.cubes.get(name) {
            Some((earlier, other)) if *earlier == layer => {
                let message = format!(
                    "Found duplicate cube name '{name}', first defined in {}",
                    other.location()
                );
                self.problems.push(Problem::error(source.location().clone(), message));
            }
            Some((_, other)) => {
                self.replaced.insert(name.to_owned(), *other);
                self.cubes.insert(name.to_owned(), (layer, source));
            }
            None => {
                self.cubes.insert(name.to_owned(), (layer, source));
            }
        }
    }
}

/// Puts the files together. Inputs come in the order of their layers.
pub(super) fn assemble(inputs: &[Input<'_>]) -> Assembled {
    let mut named = Named::default();
    for input in inputs {
        match input {
            Input::Fresh(layer, cubes) => {
                for cube in *cubes {
                    named.insert(&cube.name, *layer, Source::Raw(cube));
                }
            }
            Input::Kept(layer, cubes) => {
                for cube in cubes.iter().filter(|cube| cube.alias_of.is_none()) {
                    named.insert(&cube.name, *layer, Source::Done(cube));
                }
            }
        }
    }
    let mut problems = std::mem::take(&mut named.problems);
    let merged = merge(&named, &mut problems);
    let mut cubes: IndexMap<String, Arc<Cube>> = IndexMap::new();
    let known = Known::new(&named, &merged);
    for (name, (_, source)) in &named.cubes {
        let cube = match (source, merged.get(name)) {
            (Source::Done(cube), _) => Arc::clone(cube),
            (Source::Raw(_), Some(raw)) => Arc::new(finish(raw, None, &known, &mut problems)),
            (Source::Raw(_), None) => continue,
        };
        cubes.insert(name.clone(), cube);
    }
    add_aliases(inputs, &merged, &known, &mut cubes, &mut problems);
    for cube in cubes.values().filter(|cube| cube.alias_of.is_none()) {
        references::check(cube, &mut problems);
    }
    let mut by_file: BTreeMap<Arc<str>, Vec<Arc<Cube>>> = BTreeMap::new();
    for cube in cubes.values() {
        by_file
            .entry(Arc::clone(&cube.location.file))
            .or_default()
            .push(Arc::clone(cube));
    }
    Assembled {
        cubes,
        by_file,
        problems,
    }
}

/// Members and cubes that references may name.
struct Known<'a> {
    members: HashMap<&'a str, HashSet<&'a str>>,
}

impl<'a> Known<'a> {
    fn new(named: &'a Named<'a>, merged: &'a HashMap<String, RawCube>) -> Self {
        let mut members: HashMap<&str, HashSet<&str>> = HashMap::new();
        for (name, (_, source)) in &named.cubes {
            let names = match (source, merged.get(name)) {
                (Source::Done(cube), _) => member_names(&cube.measures, &cube.dimensions, &cube.segments),
                (Source::Raw(raw), merged) => raw_names(merged.unwrap_or(raw)),
            };
            members.insert(name, names);
        }
        Known { members }
    }

    fn has(&self, cube: &str, member: Option<&str>) -> bool {
        let members = self.members.get(cube);
        members.is_some_and(|members| member.is_none_or(|member| members.contains(member)))
    }
}

fn member_names<'a>(measures: &'a [Measure], dimensions: &'a [Dimension], segments: &'a [Segment]) -> HashSet<&'a str> {
    let measures = measures.iter().map(|m| m.name.as_str());
    let dimensions = dimensions.iter().map(|d| d.name.as_str());
    measures
        .chain(dimensions)
        .chain(segments.iter().map(|s| s.name.as_str()))
        .collect()
}

/// Names that references may use, those of members with errors included.
fn raw_names(raw: &RawCube) -> HashSet<&str> {
    let mut names = member_names(&raw.measures, &raw.dimensions, &raw.segments);
    names.extend(raw.failed.iter().map(String::as_str));
    names
}

/// Every raw cube with the members of the cubes it extends put before its own.
fn merge(named: &Named<'_>, problems: &mut Vec<Problem>) -> HashMap<String, RawCube> {
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
        title: Some(cube.title.clone()),
        description: cube.description.clone(),
        public: Some(cube.public),
        source: Some(cube.source.clone()),
        extends: None,
        aliases: Vec::new(),
        measures: cube.measures.clone(),
        dimensions: cube.dimensions.clone(),
        segments: cube.segments.clone(),
        joins: cube.joins.clone(),
        meta: cube.meta.clone(),
        unsupported: cube.unsupported.clone(),
        blocked: None,
        failed: Vec::new(),
    }
}

fn inherit(cube: &mut RawCube, parent: &RawCube) {
    cube.source = cube.source.take().or_else(|| parent.source.clone());
    cube.description = cube.description.take().or_else(|| parent.description.clone());
    cube.meta = cube.meta.take().or_else(|| parent.meta.clone());
    cube.blocked = cube.blocked.take().or_else(|| parent.blocked.clone());
    cube.failed.extend(parent.failed.iter().cloned());
    overlay(&mut cube.measures, &parent.measures, |m| &m.name);
    overlay(&mut cube.dimensions, &parent.dimensions, |d| &d.name);
    overlay(&mut cube.segments, &parent.segments, |s| &s.name);
    overlay(&mut cube.joins, &parent.joins, |j| &j.target);
    if parent.location.file != cube.location.file {
        // What is wrong with it in this cube is to be mended in this cube's file.
        let here = &cube.location;
        cube.measures.iter_mut().for_each(|m| relocate(&mut m.location, here));
        cube.dimensions.iter_mut().for_each(|d| relocate(&mut d.location, here));
        cube.segments.iter_mut().for_each(|s| relocate(&mut s.location, here));
        cube.joins.iter_mut().for_each(|j| relocate(&mut j.location, here));
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
fn templates(cube: &mut RawCube, mut each: impl FnMut(&mut SqlTemplate)) {
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

fn dimension_templates(dimension: &mut Dimension, each: &mut impl FnMut(&mut SqlTemplate)) {
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
        DimensionSql::Funnel => {}
    }
}

fn label_template(label: &mut CaseLabel, each: &mut impl FnMut(&mut SqlTemplate)) {
    if let CaseLabel::Sql(sql) = label {
        each(sql);
    }
}

/// Makes every reference to the cube `old` one to the cube itself.
fn rename_cube(cube: &mut RawCube, old: &str) {
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
    for drill in cube.measures.iter_mut().flat_map(|measure| &mut measure.drill_members) {
        if let Some(member) = drill.strip_prefix(&prefix) {
            *drill = member.to_owned();
        }
    }
    for stage in cube
        .measures
        .iter_mut()
        .filter_map(|measure| measure.multi_stage.as_mut())
    {
        stage.names_mut(&mut |name| {
            if let Some(member) = name.strip_prefix(&prefix) {
                *name = member.to_owned();
            }
        });
    }
}

/// The finished cube: titles made, references and drill members looked up.
fn finish(raw: &RawCube, alias_of: Option<&str>, known: &Known<'_>, problems: &mut Vec<Problem>) -> Cube {
    let mut raw = raw.clone();
    let names: HashSet<String> = raw_names(&raw).into_iter().map(str::to_owned).collect();
    let (own, location) = (raw.name.clone(), raw.location.clone());
    let mut error = |location: &Location, message: String| {
        problems.push(Problem::error(location.clone(), format!("{own} cube: {message}")));
    };
    across_kinds(&raw, &mut error);
    templates(&mut raw, |template| {
        let has_member = |name: &str| names.contains(name);
        if let Err(unknown) = template.resolve(&[&own], has_member, |cube, member| known.has(cube, member)) {
            // What is inherited from another file is this cube's error, not that file's.
            let here = template.location.file == location.file;
            let at = if here { &template.location } else { &location };
            error(at, format!("{unknown} is not defined"));
        }
    });
    for measure in &mut raw.measures {
        for drill in &mut measure.drill_members {
            match full_name(drill, &own, &names, known) {
                Some(full) => *drill = full,
                None => error(&measure.location, format!("{drill} is not defined")),
            }
        }
        if let Some(stage) = &mut measure.multi_stage {
            let location = stage.location.clone();
            stage.names_mut(&mut |name| match grain_name(name, &own, &names, known) {
                Some(full) => *name = full,
                None => error(&location, format!("{name} is not defined")),
            });
        }
    }
    if !raw.joins.is_empty() && !raw.dimensions.iter().any(|dimension| dimension.primary_key) {
        let message = format!(
            "primary key for '{own}' is required when join is defined in order to make aggregates work properly"
        );
        error(&raw.location, message);
    }
    for join in raw.joins.iter().filter(|join| !known.has(&join.target, None)) {
        error(&join.location, format!("Cube {} doesn't exist", join.target));
    }
    block(&mut raw);
    Cube {
        title: raw.title.unwrap_or_else(|| titleize(&raw.name)),
        name: raw.name,
        description: raw.description,
        public: raw.public.unwrap_or(true),
        source: raw.source.unwrap_or_else(|| CubeSource::Table(String::new())),
        measures: raw.measures,
        dimensions: raw.dimensions,
        segments: raw.segments,
        joins: raw.joins,
        meta: raw.meta,
        alias_of: alias_of.map(str::to_owned),
        unsupported: raw.unsupported,
        location: raw.location,
    }
}

/// Names that an inherited member and an own one of another kind share.
fn across_kinds(raw: &RawCube, error: &mut impl FnMut(&Location, String)) {
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

fn full_name(written: &str, own: &str, names: &HashSet<String>, known: &Known<'_>) -> Option<String> {
    if !is_member_path(written) {
        return None;
    }
    let (cube, member) = written.split_once('.').unwrap_or((own, written));
    let cube = if cube == "CUBE" { own } else { cube };
    let found = if cube == own {
        names.contains(member)
    } else {
        known.has(cube, Some(member))
    };
    found.then(|| format!("{cube}.{member}"))
}

/// The full name of a member of a grain, with the granularity that may follow it.
fn grain_name(written: &str, own: &str, names: &HashSet<String>, known: &Known<'_>) -> Option<String> {
    let path: Vec<&str> = written.split('.').collect();
    match path.as_slice() {
        [member, granularity] if names.contains(*member) => Some(format!("{own}.{member}.{granularity}")),
        [cube, member, granularity] => {
            let full = full_name(&format!("{cube}.{member}"), own, names, known)?;
            Some(format!("{full}.{granularity}"))
        }
        _ => full_name(written, own, names, known),
    }
}

/// Marks members that cannot be answered: those of a blocked cube and those that need a join.
fn block(raw: &mut RawCube) {
    let blocked = raw.blocked.clone();
    let needs = |join: bool, already: &mut Option<String>| {
        if already.is_none() {
            *already = blocked.clone().or_else(|| join.then(|| "joins".to_owned()));
        }
    };
    for measure in &mut raw.measures {
        let join = measure.templates().any(SqlTemplate::needs_join);
        needs(join, &mut measure.unsupported);
    }
    for dimension in &mut raw.dimensions {
        let mut join = false;
        dimension_templates(dimension, &mut |template| join |= template.needs_join());
        needs(join, &mut dimension.unsupported);
    }
    for segment in &mut raw.segments {
        needs(segment.sql.needs_join(), &mut segment.unsupported);
    }
}

/// Adds each alias as a whole cube of its own name. A cube of that name in any file goes before an alias.
fn add_aliases(
    inputs: &[Input<'_>],
    merged: &HashMap<String, RawCube>,
    known: &Known<'_>,
    cubes: &mut IndexMap<String, Arc<Cube>>,
    problems: &mut Vec<Problem>,
) {
    for input in inputs {
        match input {
            Input::Fresh(_, raws) => {
                for raw in *raws {
                    for (alias, location) in &raw.aliases {
                        let twice = cubes
                            .get(alias)
                            .filter(|other| other.location.file == raw.location.file);
                        if let Some(other) = twice {
                            let message = format!(
                                "Found duplicate cube name '{alias}', first defined in {}",
                                other.location
                            );
                            problems.push(Problem::error(location.clone(), message));
                        }
                        if cubes.contains_key(alias) {
                            continue;
                        }
                        let origin = merged.get(&raw.name).filter(|merged| merged.location == raw.location);
                        let mut clone = origin.unwrap_or(raw).clone();
                        clone.name.clone_from(alias);
                        clone.title = None;
                        rename_cube(&mut clone, &raw.name);
                        // The original has reported what is wrong with the members.
                        let cube = finish(&clone, Some(&raw.name), known, &mut Vec::new());
                        cubes.insert(alias.clone(), Arc::new(cube));
                    }
                }
            }
            Input::Kept(_, kept) => {
                for cube in kept.iter().filter(|cube| cube.alias_of.is_some()) {
                    cubes.entry(cube.name.clone()).or_insert_with(|| Arc::clone(cube));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! From the files of one project to its cubes: layers, `extends`, aliases and references. Reports every error of every
//! file; a file with an error is left out by the catalog, which keeps its last good cubes.

mod extend;
mod groups;
mod others;
mod policy;
mod references;
mod views;

use super::read::{FileContent, RawCube, RawView, is_member_path};
use super::title::titleize;
use super::view::ViewGroup;
use super::{Cube, CubeSource, Dimension, Location, Measure, MeasureType, Problem, Segment};
use extend::{across_kinds, merge, rename_cube, templates};
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
    /// A file as just read.
    Fresh(Layer, &'a FileContent),
    /// What was made of the last good version of a file.
    Kept(Layer, &'a Finished),
}

/// What one file gives the model.
#[derive(Debug, Clone, Default)]
pub(super) struct Finished {
    /// Cubes and views, aliases included.
    pub cubes: Vec<Arc<Cube>>,
    /// View groups as the file says them.
    pub groups: Vec<ViewGroup>,
}

/// The cubes of a project.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    pub cubes: IndexMap<String, Arc<Cube>>,
    /// Groups of views, complete with the views that attach themselves.
    pub view_groups: Vec<ViewGroup>,
    /// The same cubes by their files.
    pub by_file: BTreeMap<Arc<str>, Finished>,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Raw(&'a RawCube),
    View(&'a RawView),
    Done(&'a Arc<Cube>),
}

impl Source<'_> {
    fn is_view(&self) -> bool {
        match self {
            Source::Raw(_) => false,
            Source::View(_) => true,
            Source::Done(cube) => cube.view().is_some(),
        }
    }

    fn location(&self) -> &Location {
        match self {
            Source::Raw(raw) => &raw.location,
            Source::View(view) => &view.base.location,
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
                let first = other.location();
                let message = match (source.is_view(), other.is_view()) {
                    (false, false) => format!("Found duplicate cube name '{name}', first defined in {first}"),
                    (true, true) => format!("Found duplicate view name '{name}', first defined in {first}"),
                    _ => format!("Found conflicting cube and view name '{name}', first defined in {first}"),
                };
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
            Input::Fresh(layer, content) => {
                for cube in &content.cubes {
                    named.insert(&cube.name, *layer, Source::Raw(cube));
                }
                for view in &content.views {
                    named.insert(&view.base.name, *layer, Source::View(view));
                }
            }
            Input::Kept(layer, kept) => {
                for cube in kept.cubes.iter().filter(|cube| cube.alias_of.is_none()) {
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
            (Source::View(_), _) => continue,
            (Source::Raw(_), Some(raw)) => Arc::new(finish(raw, None, &known, &mut problems)),
            (Source::Raw(_), None) => continue,
        };
        cubes.insert(name.clone(), cube);
    }
    add_aliases(inputs, &merged, &known, &mut cubes, &mut problems);
    for cube in cubes
        .values()
        .filter(|cube| cube.alias_of.is_none() && cube.view().is_none())
    {
        references::check(cube, &mut problems);
    }
    let raw_groups = all_groups(inputs);
    let views = views::whole_views(&named, &mut problems);
    let groups = groups::resolve(&raw_groups, &views::group_names(&named, &views), &mut problems);
    views::build(&named, views, &groups.of_view, &mut cubes, &mut problems);
    Assembled {
        by_file: by_file(&cubes, raw_groups),
        view_groups: groups.all,
        cubes,
        problems,
    }
}

/// View groups of all files, as they are written.
fn all_groups<'a>(inputs: &[Input<'a>]) -> Vec<&'a ViewGroup> {
    let mut groups = Vec::new();
    for input in inputs {
        groups.extend(match input {
            Input::Fresh(_, content) => &content.groups,
            Input::Kept(_, kept) => &kept.groups,
        });
    }
    groups
}

fn by_file(cubes: &IndexMap<String, Arc<Cube>>, groups: Vec<&ViewGroup>) -> BTreeMap<Arc<str>, Finished> {
    let mut by_file: BTreeMap<Arc<str>, Finished> = BTreeMap::new();
    for cube in cubes.values() {
        let finished = by_file.entry(Arc::clone(&cube.location.file)).or_default();
        finished.cubes.push(Arc::clone(cube));
    }
    for group in groups {
        let finished = by_file.entry(Arc::clone(&group.location.file)).or_default();
        finished.groups.push(group.clone());
    }
    by_file
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
                (Source::View(_), _) => continue,
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
    look_up_measures(&mut raw, &own, &names, known, &mut error);
    others::look_up(&mut raw, &own, &names, known, &mut error);
    check_joins(&raw, known, &mut error);
    let hierarchies = &raw.hierarchies;
    let has_member = |name: &str| names.contains(name) || hierarchies.iter().any(|h| h.name == name);
    policy::resolve(&mut raw.access_policy, &own, has_member, &mut error);
    for measure in &raw.measures {
        policy::check_measure_mask(measure.mask.as_ref(), &measure.name, &measure.location, &mut error);
    }
    problems.extend(others::rollups(&mut raw, &own, &names, known));
    block(&mut raw);
    Cube {
        title: raw.title.unwrap_or_else(|| titleize(&raw.name)),
        name: raw.name,
        description: raw.description,
        public: raw.public.unwrap_or(true),
        source: raw.source.unwrap_or_else(|| CubeSource::Table(String::new())),
        dialect: raw.dialect,
        measures: raw.measures,
        dimensions: raw.dimensions,
        segments: raw.segments,
        joins: raw.joins,
        hierarchies: raw.hierarchies,
        access_policy: raw.access_policy,
        pre_aggregations: raw.pre_aggregations,
        refresh_key: raw.refresh_key,
        sql_alias: raw.sql_alias,
        data_source: raw.data_source,
        calendar: raw.calendar.unwrap_or(false),
        extends: raw.extends.map(|(parent, _)| parent),
        meta: raw.meta,
        alias_of: alias_of.map(str::to_owned),
        unsupported: raw.unsupported,
        location: raw.location,
    }
}

/// Gives drill members and the names of stages their full names.
fn look_up_measures(
    raw: &mut RawCube,
    own: &str,
    names: &HashSet<String>,
    known: &Known<'_>,
    error: &mut impl FnMut(&Location, String),
) {
    for measure in &mut raw.measures {
        for drill in &mut measure.drill_members {
            match full_name(drill, own, names, known) {
                Some(full) => *drill = full,
                None => error(&measure.location, format!("{drill} is not defined")),
            }
        }
        if let Some(stage) = &mut measure.multi_stage {
            let location = stage.location.clone();
            stage.names_mut(&mut |name| match grain_name(name, own, names, known) {
                Some(full) => *name = full,
                None => error(&location, format!("{name} is not defined")),
            });
        }
    }
}

fn check_joins(raw: &RawCube, known: &Known<'_>, error: &mut impl FnMut(&Location, String)) {
    let multiplied = |measure: &Measure| {
        use MeasureType::{Avg, Count, Number, Sum};
        [Count, Sum, Avg, Number].contains(&measure.kind)
    };
    let keyless = !raw.dimensions.iter().any(|dimension| dimension.primary_key);
    if !raw.joins.is_empty() && keyless && raw.measures.iter().any(multiplied) {
        let message = format!(
            "primary key for '{}' is required when join is defined in order to make aggregates work properly",
            raw.name
        );
        error(&raw.location, message);
    }
    for join in raw.joins.iter().filter(|join| !known.has(&join.target, None)) {
        error(&join.location, format!("Cube {} doesn't exist", join.target));
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

/// Marks the members of a blocked cube, which cannot be answered.
fn block(raw: &mut RawCube) {
    let Some(blocked) = &raw.blocked else { return };
    let measures = raw.measures.iter_mut().map(|measure| &mut measure.unsupported);
    let dimensions = raw.dimensions.iter_mut().map(|dimension| &mut dimension.unsupported);
    let segments = raw.segments.iter_mut().map(|segment| &mut segment.unsupported);
    for unsupported in measures.chain(dimensions).chain(segments) {
        unsupported.get_or_insert_with(|| blocked.clone());
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
            Input::Fresh(_, content) => {
                for raw in &content.cubes {
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
                for cube in kept.cubes.iter().filter(|cube| cube.alias_of.is_some()) {
                    cubes.entry(cube.name.clone()).or_insert_with(|| Arc::clone(cube));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

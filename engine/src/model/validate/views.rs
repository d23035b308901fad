//! Views from the cubes they show. A member of a view is a copy of its owner's under the view's name; where its rows come
//! from stands in its [`Origin`]. The order of members, the names that prefixes make and the texts of errors are Cube's.

mod folders;

use super::super::read::{RawInclude, RawIncluded, RawView};
use super::super::title::titleize;
use super::super::{
    Cube, CubeSource, DefaultFilter, Dimension, Hierarchy, Location, Measure, Origin, Problem, Segment, View,
};
use super::extend::inherit;
use super::policy;
use super::{Named, Source};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Every view with what it inherits of the views it extends.
pub(super) fn whole_views(named: &Named<'_>, problems: &mut Vec<Problem>) -> Vec<RawView> {
    let mut views = Vec::new();
    for (_, source) in named.cubes.values() {
        if let Source::View(view) = source {
            match whole(named, view) {
                Ok(view) => views.push(view),
                Err(problem) => problems.push(problem),
            }
        }
    }
    views
}

/// Every view with the names of the groups it attaches itself to.
pub(super) fn group_names<'a>(named: &Named<'a>, views: &'a [RawView]) -> Vec<(&'a str, &'a [(String, Location)])> {
    let fresh = views
        .iter()
        .map(|view| (view.base.name.as_str(), view.groups.as_slice()));
    let kept = named.cubes.values().filter_map(|(_, source)| match source {
        Source::Done(cube) if cube.view().is_some() => Some((cube.name.as_str(), Default::default())),
        _ => None,
    });
    fresh.chain(kept).collect()
}

/// Adds every view to `cubes`. A view that shows another view is made after it.
pub(super) fn build(
    named: &Named<'_>,
    mut open: Vec<RawView>,
    groups: &HashMap<String, Vec<String>>,
    cubes: &mut IndexMap<String, Arc<Cube>>,
    problems: &mut Vec<Problem>,
) {
    let places: HashMap<String, usize> = named
        .cubes
        .keys()
        .enumerate()
        .map(|(at, name)| (name.clone(), at))
        .collect();
    while !open.is_empty() {
        let waiting: HashSet<String> = open.iter().map(|view| view.base.name.clone()).collect();
        let (later, now): (Vec<RawView>, Vec<RawView>) = open.into_iter().partition(|view| {
            let mut shown = view.includes.iter().flat_map(|include| &include.path);
            shown.any(|name| waiting.contains(name))
        });
        if now.is_empty() {
            for view in later {
                let message = format!("{} cube: the view shows itself by way of other views", view.base.name);
                problems.push(Problem::error(view.base.location.clone(), message));
            }
            break;
        }
        for view in now {
            for cube in Builder::new(&view, cubes, problems).build(groups) {
                cubes.insert(cube.name.clone(), Arc::new(cube));
            }
        }
        open = later;
    }
    // Views that waited for others come where their file has them.
    cubes.sort_by_key(|name, _| places.get(name).copied().unwrap_or(usize::MAX));
}

/// The view with what it inherits of the views it extends.
fn whole(named: &Named<'_>, view: &RawView) -> Result<RawView, Problem> {
    let mut all = view.clone();
    let mut seen = HashSet::from([view.base.name.clone()]);
    let mut next = view.base.extends.clone();
    while let Some((parent, location)) = next {
        let error = |message: String| Problem::error(location.clone(), format!("{} cube: {message}", view.base.name));
        let found = match named.cubes.get(&parent).map(|(_, source)| source) {
            Some(Source::View(found)) if seen.insert(parent.clone()) => found,
            Some(Source::View(_)) => return Err(error(format!("`extends` leads back to {parent}"))),
            Some(Source::Raw(_)) => return Err(error(format!("{parent} is a cube, a view extends views only"))),
            Some(Source::Done(_)) => return Err(error(format!("{parent} is in a file that has errors"))),
            None => return Err(error(format!("{parent} is not defined"))),
        };
        inherit(&mut all.base, &found.base);
        all.includes.splice(0..0, found.includes.iter().cloned());
        all.folders.splice(0..0, found.folders.iter().cloned());
        all.default_filters = all.default_filters.take().or_else(|| found.default_filters.clone());
        if all.groups.is_empty() {
            all.groups.clone_from(&found.groups);
        }
        next = found.base.extends.clone();
    }
    Ok(all)
}

/// Which list of a cube a member is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Hierarchy,
    Dimension,
    Measure,
    Segment,
}

/// The order in which Cube takes members: hierarchies bring their dimensions, measures look for dimensions to drill into.
const KINDS: [Kind; 4] = [Kind::Hierarchy, Kind::Dimension, Kind::Measure, Kind::Segment];

impl Kind {
    fn has(self, cube: &Cube, name: &str) -> bool {
        match self {
            Kind::Hierarchy => cube.hierarchies.iter().any(|h| h.name == name),
            Kind::Dimension => cube.dimension(name).is_some(),
            Kind::Measure => cube.measure(name).is_some(),
            Kind::Segment => cube.segment(name).is_some(),
        }
    }

    fn names(self, cube: &Cube) -> Vec<String> {
        match self {
            Kind::Hierarchy => cube.hierarchies.iter().map(|h| h.name.clone()).collect(),
            Kind::Dimension => cube.dimensions.iter().map(|d| d.name.clone()).collect(),
            Kind::Measure => cube.measures.iter().map(|m| m.name.clone()).collect(),
            Kind::Segment => cube.segments.iter().map(|s| s.name.clone()).collect(),
        }
    }
}

/// A member that was taken.
#[derive(Debug, Clone)]
struct Taken {
    kind: Kind,
    /// Its name in the view.
    name: String,
    path: Vec<String>,
    /// Its name in its cube.
    member: String,
    /// What the view says of it.
    said: Option<RawIncluded>,
    location: Location,
}

impl Taken {
    fn cube(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    fn is(&self, full: &str) -> bool {
        full.split_once('.') == Some((self.cube(), self.member.as_str()))
    }
}

/// What an include asks for: the member, its name in the view, and what the view says of it.
type Wanted = (String, String, Option<RawIncluded>);

struct Builder<'a> {
    raw: &'a RawView,
    cubes: &'a IndexMap<String, Arc<Cube>>,
    problems: &'a mut Vec<Problem>,
    taken: Vec<Taken>,
    /// Full names of the levels of the hierarchies that were taken.
    levels: Vec<String>,
}

impl<'a> Builder<'a> {
    fn new(raw: &'a RawView, cubes: &'a IndexMap<String, Arc<Cube>>, problems: &'a mut Vec<Problem>) -> Self {
        Builder {
            raw,
            cubes,
            problems,
            taken: Vec::new(),
            levels: Vec::new(),
        }
    }

    fn error(&mut self, location: &Location, message: impl AsRef<str>) {
        let message = format!("{} cube: {}", self.raw.base.name, message.as_ref());
        self.problems.push(Problem::error(location.clone(), message));
    }

    /// The view, and a view for each cube that is split off.
    fn build(mut self, groups: &HashMap<String, Vec<String>>) -> Vec<Cube> {
        let mut includes: Vec<&RawInclude> = Vec::new();
        for include in &self.raw.includes {
            if self.path_exists(include) {
                includes.push(include);
            }
        }
        self.one_path_to_each(&includes);
        self.members_exist(&includes);
        let (split, own): (Vec<&RawInclude>, Vec<&RawInclude>) = includes.iter().partition(|include| include.split);
        let mut views = Vec::new();
        self.take(&own);
        let mut view = self.empty(&self.raw.base.name);
        self.fill(&mut view);
        self.own_members(&mut view);
        self.policies(&mut view);
        let folders = folders::resolve(&mut self, &view);
        let default_filters = self.default_filters(&view);
        view.source = CubeSource::View(Arc::new(View {
            join_paths: own.iter().map(|include| include.path.clone()).collect(),
            folders,
            default_filters,
            groups: groups.get(&view.name).cloned().unwrap_or_default(),
        }));
        views.push(view);
        let mut names: Vec<String> = split.iter().map(|include| self.split_name(include)).collect();
        names.dedup();
        for name in names {
            let here: Vec<&RawInclude> = split
                .iter()
                .copied()
                .filter(|include| self.split_name(include) == name)
                .collect();
            self.taken.clear();
            self.levels.clear();
            self.take(&here);
            let mut view = self.empty(&name);
            self.fill(&mut view);
            self.policies(&mut view);
            view.source = CubeSource::View(Arc::new(View {
                join_paths: here.iter().map(|include| include.path.clone()).collect(),
                ..View::default()
            }));
            views.push(view);
        }
        views
    }

    /// The policies of the view, which name its own members.
    fn policies(&mut self, view: &mut Cube) {
        let mut policies = self.raw.base.access_policy.clone();
        let has_member = |name: &str| view.member(name).is_some() || view.hierarchies.iter().any(|h| h.name == name);
        let (own, problems) = (&self.raw.base.name, &mut *self.problems);
        let mut error = |location: &Location, message: String| {
            problems.push(Problem::error(location.clone(), format!("{own} cube: {message}")));
        };
        policy::resolve(&mut policies, own, has_member, &mut error);
        view.access_policy = policies;
    }

    fn split_name(&self, include: &RawInclude) -> String {
        format!("{}_{}", self.raw.base.name, include_name(include))
    }

    fn empty(&self, name: &str) -> Cube {
        let base = &self.raw.base;
        let mut view = Cube::new(name, CubeSource::View(Arc::default()), base.location.clone());
        if name == base.name {
            if let Some(title) = &base.title {
                view.title.clone_from(title);
            }
            view.description.clone_from(&base.description);
            view.meta.clone_from(&base.meta);
            view.public = base.public.unwrap_or(true);
            view.unsupported.clone_from(&base.unsupported);
            view.extends = base.extends.as_ref().map(|(parent, _)| parent.clone());
        }
        view
    }

    /// Whether every name of an include's path is a cube; says which is not.
    fn path_exists(&mut self, include: &RawInclude) -> bool {
        let known = |name: &String| self.cubes.get(name);
        let Some(at) = include.path.iter().position(|name| known(name).is_none()) else {
            let views = |name: &String| known(name).is_some_and(|cube| cube.view().is_some());
            if include.path.len() > 1
                && let Some(view) = include.path.iter().find(|name| views(name))
            {
                let message = format!("{view} is a view: a path of several names may name cubes only");
                self.error(&include.location, message);
                return false;
            }
            return true;
        };
        let path = include.path.get(..=at).unwrap_or_default().join(".");
        let message = if at == 0 {
            format!("{path} is not defined")
        } else {
            format!("{path} cannot be resolved. There's no such member or cube.")
        };
        self.error(&include.location, message);
        false
    }

    /// A query of the view must be able to tell how a cube is reached.
    fn one_path_to_each(&mut self, includes: &[&RawInclude]) {
        let mut paths: IndexMap<(&str, &str), Vec<String>> = IndexMap::new();
        for include in includes {
            let Some(root) = include.path.first() else { continue };
            for (at, cube) in include.path.iter().enumerate() {
                let path = include.path.get(..=at).unwrap_or_default().join(".");
                let known = paths.entry((root, cube)).or_default();
                if !known.contains(&path) {
                    known.push(path);
                }
            }
        }
        for ((root, cube), paths) in paths.into_iter().filter(|(_, paths)| paths.len() > 1) {
            let list: Vec<String> = paths.iter().map(|path| format!("'{path}'")).collect();
            let view = &self.raw.base.name;
            let message = format!(
                "Views can't define multiple join paths to the same cube. View '{view}' has multiple paths to '{cube}' \
                 within root '{root}': {}. Use extends to create a child cube and reference it instead.",
                list.join(", ")
            );
            self.error(&self.raw.base.location, message);
        }
    }

    /// Every member that is named must be in some cube.
    fn members_exist(&mut self, includes: &[&RawInclude]) {
        let mut missing: IndexMap<String, Location> = IndexMap::new();
        let mut found: HashSet<String> = HashSet::new();
        for include in includes {
            let cube = include.path.last().and_then(|name| self.cubes.get(name));
            for wanted in include.members.iter().flatten() {
                let name = name_in_view(include, wanted.alias.as_ref().unwrap_or(&wanted.name));
                if cube.is_some_and(|cube| KINDS.iter().any(|kind| kind.has(cube, &wanted.name))) {
                    found.insert(name);
                } else {
                    missing.entry(name).or_insert_with(|| wanted.location.clone());
                }
            }
        }
        for (name, location) in missing.into_iter().filter(|(name, _)| !found.contains(name)) {
            let view = &self.raw.base.name;
            let message = format!("Member '{name}' is included in '{view}' but not defined in any cube");
            self.error(&location, message);
        }
    }

    /// Takes the members of `includes`, kind by kind.
    fn take(&mut self, includes: &[&RawInclude]) {
        for kind in KINDS {
            for include in includes {
                let Some(cube) = include.path.last().and_then(|name| self.cubes.get(name)) else {
                    continue;
                };
                for (member, name, said) in self.wanted(include, cube, kind) {
                    self.take_one(Taken {
                        kind,
                        name,
                        path: include.path.clone(),
                        member,
                        location: said.as_ref().map_or(&include.location, |said| &said.location).clone(),
                        said,
                    });
                }
            }
        }
    }

    fn wanted(&self, include: &RawInclude, cube: &Cube, kind: Kind) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = match &include.members {
            None => kind
                .names(cube)
                .into_iter()
                .map(|name| (name.clone(), name, None))
                .collect(),
            Some(members) => members
                .iter()
                .filter(|said| kind.has(cube, &said.name))
                .map(|said| {
                    (
                        said.name.clone(),
                        said.alias.clone().unwrap_or_else(|| said.name.clone()),
                        Some(said.clone()),
                    )
                })
                .collect(),
        };
        if let (Kind::Dimension, Some(members)) = (kind, &include.members) {
            for level in &self.levels {
                let own = level.split_once('.').filter(|(owner, _)| *owner == cube.name);
                if let Some((_, name)) = own
                    && !members.iter().any(|said| said.name == name)
                    && cube.dimension(name).is_some()
                {
                    wanted.push((name.to_owned(), name.to_owned(), None));
                }
            }
        }
        wanted.retain(|(member, _, _)| !include.excludes.iter().any(|(excluded, _)| excluded == member));
        for (_, name, _) in &mut wanted {
            *name = name_in_view(include, name);
        }
        wanted
    }

    fn take_one(&mut self, taken: Taken) {
        let same = |other: &Taken| other.path == taken.path && other.member == taken.member;
        let clash = self.taken.iter().find(|other| other.name == taken.name);
        if let Some(other) = clash {
            if !same(other) {
                let message = format!(
                    "Included member '{}' conflicts with existing member of '{}'. Please consider excluding this member \
                     or assigning it an alias.",
                    taken.name, self.raw.base.name
                );
                let location = taken.location.clone();
                self.error(&location, message);
            }
            return;
        }
        if taken.kind == Kind::Hierarchy
            && let Some(cube) = self.cubes.get(taken.cube())
            && let Some(hierarchy) = cube.hierarchies.iter().find(|h| h.name == taken.member)
        {
            self.levels.extend(hierarchy.levels.iter().cloned());
        }
        self.taken.push(taken);
    }

    /// Copies what was taken into the view.
    fn fill(&mut self, view: &mut Cube) {
        let all = self.taken.clone();
        for taken in &all {
            let Some(cube) = self.cubes.get(taken.cube()) else {
                continue;
            };
            match taken.kind {
                Kind::Dimension => {
                    let shown = cube.dimension(&taken.member);
                    view.dimensions
                        .extend(shown.map(|d| dimension(taken, d, &all, &view.name)));
                }
                Kind::Segment => view
                    .segments
                    .extend(cube.segment(&taken.member).map(|s| segment(taken, s))),
                Kind::Measure => {
                    if let Some(owned) = cube.measure(&taken.member) {
                        view.measures.push(measure(taken, owned, &all, &view.name));
                    }
                }
                Kind::Hierarchy => {
                    let found = cube.hierarchies.iter().find(|h| h.name == taken.member);
                    let shown = found.map(|h| hierarchy(taken, h, &all, &view.name));
                    view.hierarchies.extend(shown.filter(|h| !h.levels.is_empty()));
                }
            }
        }
        if let Some(blocked) = &self.raw.base.blocked {
            let block = |unsupported: &mut Option<String>| {
                unsupported.get_or_insert_with(|| blocked.clone());
            };
            view.measures.iter_mut().for_each(|m| block(&mut m.unsupported));
            view.dimensions.iter_mut().for_each(|d| block(&mut d.unsupported));
            view.segments.iter_mut().for_each(|s| block(&mut s.unsupported));
        }
    }

    /// Members that the view defines itself belong into a cube, as Cube says.
    fn own_members(&mut self, view: &mut Cube) {
        let base = &self.raw.base;
        let measures = base.measures.iter().map(|m| (&m.name, &m.location));
        let dimensions = base.dimensions.iter().map(|d| (&d.name, &d.location));
        let segments = base.segments.iter().map(|s| (&s.name, &s.location));
        for (name, location) in measures.chain(dimensions).chain(segments) {
            let view = &view.name;
            let message = format!(
                "View '{view}' defines own member '{view}.{name}'. Please move this member definition to one of the cubes."
            );
            self.error(location, message);
        }
    }

    fn default_filters(&mut self, view: &Cube) -> Vec<DefaultFilter> {
        let mut filters = self.raw.default_filters.clone().unwrap_or_default();
        for filter in &mut filters {
            let location = filter.location.clone();
            let mut find = |written: &str, role: &str| {
                let bare = written.strip_prefix(&format!("{}.", view.name)).unwrap_or(written);
                let found = self.taken.iter().find(|taken| taken.name == bare || taken.is(written));
                let name = found.map(|taken| taken.name.clone());
                if name.is_none() {
                    let message = format!(
                        "Member '{written}' used as {role} in default value filter is not included in view '{}'",
                        view.name
                    );
                    self.problems.push(Problem::error(location.clone(), message));
                }
                name
            };
            filter.member = find(&filter.member, "member").unwrap_or_default();
            filter.unless = filter.unless.iter().filter_map(|name| find(name, "unless")).collect();
        }
        filters
    }
}

/// The name of an include's cube in prefixes.
fn include_name(include: &RawInclude) -> &str {
    let last = include.path.last().map_or("", String::as_str);
    include.alias.as_deref().unwrap_or(last)
}

fn name_in_view(include: &RawInclude, name: &str) -> String {
    if include.prefix {
        format!("{}_{name}", include_name(include))
    } else {
        name.to_owned()
    }
}

/// The origin of a member. What a view shows of another view comes from where that has it from.
fn origin(taken: &Taken, of_owner: Option<&Origin>) -> Option<Origin> {
    let own = || Origin {
        join_path: taken.path.clone(),
        member: taken.member.clone(),
    };
    Some(of_owner.cloned().unwrap_or_else(own))
}

/// The title of a member in the view: the view's, the owner's when the author gave one, or one made of the name.
fn short_title(taken: &Taken, titled: bool, owned: &str) -> (String, bool) {
    match taken.said.as_ref().and_then(|said| said.title.clone()) {
        Some(title) => (title, true),
        None if titled => (owned.to_owned(), true),
        None => (titleize(&taken.name), false),
    }
}

fn said<T: Clone>(taken: &Taken, get: impl Fn(&RawIncluded) -> &Option<T>, owned: &Option<T>) -> Option<T> {
    let said = taken.said.as_ref().and_then(|said| get(said).clone());
    said.or_else(|| owned.clone())
}

fn dimension(taken: &Taken, owned: &Dimension, all: &[Taken], view: &str) -> Dimension {
    let (short_title, titled) = short_title(taken, owned.titled, &owned.short_title);
    Dimension {
        name: taken.name.clone(),
        short_title,
        titled,
        description: said(taken, |s| &s.description, &owned.description),
        format: said(taken, |s| &s.format, &owned.format),
        currency: said(taken, |s| &s.currency, &owned.currency),
        meta: said(taken, |s| &s.meta, &owned.meta),
        key: in_view(owned.key.as_slice(), all, view).into_iter().next(),
        order: None,
        // As Cube: what a view includes is meant to be seen, keys and hidden members too.
        public: true,
        primary_key: false,
        suggest_filter_values: true,
        origin: origin(taken, owned.origin.as_ref()),
        ..owned.clone()
    }
}

fn segment(taken: &Taken, owned: &Segment) -> Segment {
    let (short_title, titled) = short_title(taken, owned.titled, &owned.short_title);
    Segment {
        name: taken.name.clone(),
        short_title,
        titled,
        description: said(taken, |s| &s.description, &owned.description),
        meta: said(taken, |s| &s.meta, &owned.meta),
        public: true,
        origin: origin(taken, owned.origin.as_ref()),
        ..owned.clone()
    }
}

fn measure(taken: &Taken, owned: &Measure, all: &[Taken], view: &str) -> Measure {
    let (short_title, titled) = short_title(taken, owned.titled, &owned.short_title);
    Measure {
        name: taken.name.clone(),
        short_title,
        titled,
        description: said(taken, |s| &s.description, &owned.description),
        format: said(taken, |s| &s.format, &owned.format),
        currency: said(taken, |s| &s.currency, &owned.currency),
        meta: said(taken, |s| &s.meta, &owned.meta),
        public: true,
        drill_members: in_view(&owned.drill_members, all, view),
        origin: origin(taken, owned.origin.as_ref()),
        ..owned.clone()
    }
}

fn hierarchy(taken: &Taken, owned: &Hierarchy, all: &[Taken], view: &str) -> Hierarchy {
    let title = taken.said.as_ref().and_then(|said| said.title.clone());
    Hierarchy {
        name: taken.name.clone(),
        title: title.or_else(|| owned.title.clone()),
        levels: in_view(&owned.levels, all, view),
        alias_member: Some(format!("{}.{}", taken.cube(), taken.member)),
        ..owned.clone()
    }
}

/// The view's full names of those of `members` that it includes.
fn in_view(members: &[String], all: &[Taken], view: &str) -> Vec<String> {
    let found = members.iter().filter_map(|member| {
        all.iter()
            .find(|taken| taken.is(member) && taken.kind != Kind::Hierarchy)
    });
    found.map(|taken| format!("{view}.{}", taken.name)).collect()
}

//! View groups: their views looked up, and the views that attach themselves put in.

use super::super::Problem;
use super::super::view::{ViewGroup, ViewGroupItem};
use super::Location;
use std::collections::{HashMap, HashSet};

/// The groups of a model.
pub(super) struct Groups {
    /// The groups of the first level.
    pub all: Vec<ViewGroup>,
    /// Names of the groups that hold each view themselves.
    pub of_view: HashMap<String, Vec<String>>,
}

/// Completes the groups. `views` are all views with the groups they name.
pub(super) fn resolve(
    raw: &[&ViewGroup],
    views: &[(&str, &[(String, Location)])],
    problems: &mut Vec<Problem>,
) -> Groups {
    let known: HashSet<&str> = views.iter().map(|(name, _)| *name).collect();
    let mut names: HashSet<&str> = HashSet::new();
    let mut all: Vec<ViewGroup> = Vec::new();
    for group in raw {
        if names.insert(&group.name) {
            all.push((*group).clone());
        } else {
            let message = format!("Found duplicate view group name '{}'.", group.name);
            problems.push(Problem::error(group.location.clone(), message));
        }
    }
    let mut names: HashSet<String> = names.into_iter().map(str::to_owned).collect();
    for group in &mut all {
        check(group, &known, &mut names, problems);
    }
    for (view, groups) in views {
        for (name, location) in *groups {
            match all.iter_mut().find(|group| group.name == *name) {
                None => {
                    let message = format!(
                        "View \"{view}\" references view group \"{name}\" which is not defined. Define it under \
                         `view_groups`."
                    );
                    problems.push(Problem::error(location.clone(), message));
                }
                Some(group) => {
                    let item = ViewGroupItem::View((*view).to_owned());
                    if !group.items.contains(&item) {
                        group.items.push(item);
                    }
                }
            }
        }
    }
    let mut of_view = HashMap::new();
    for group in &all {
        collect(group, &mut of_view);
    }
    Groups { all, of_view }
}

/// Drops views that do not exist and groups whose name is taken. Recursion is bounded by the nesting of the YAML.
fn check(group: &mut ViewGroup, known: &HashSet<&str>, names: &mut HashSet<String>, problems: &mut Vec<Problem>) {
    let (name, location) = (group.name.clone(), group.location.clone());
    group.items.retain_mut(|item| match item {
        ViewGroupItem::View(view) if known.contains(view.as_str()) => true,
        ViewGroupItem::View(view) => {
            let message = format!("View group \"{name}\" includes \"{view}\" which is not a defined view.");
            problems.push(Problem::error(location.clone(), message));
            false
        }
        ViewGroupItem::Group(inner) => {
            let free = names.insert(inner.name.clone());
            if free {
                check(inner, known, names, problems);
            } else {
                let message = format!("View group \"{}\" already exists!", inner.name);
                problems.push(Problem::error(inner.location.clone(), message));
            }
            free
        }
    });
}

/// Recursion is bounded by the nesting of the YAML.
fn collect(group: &ViewGroup, of_view: &mut HashMap<String, Vec<String>>) {
    for item in &group.items {
        if let ViewGroupItem::View(view) = item {
            let groups = of_view.entry(view.clone()).or_default();
            if !groups.contains(&group.name) {
                groups.push(group.name.clone());
            }
        }
    }
    for item in &group.items {
        if let ViewGroupItem::Group(inner) = item {
            collect(inner, of_view);
        }
    }
}

//! Folders of a view: their names looked up among the view's members.

use super::super::super::read::{RawFolder, RawFolderItem};
use super::super::super::view::{Folder, FolderItem};
use super::{Builder, Cube, Location};
use std::collections::HashSet;

/// The folders with what they hold; says which names the view lacks.
pub(super) fn resolve(builder: &mut Builder<'_>, view: &Cube) -> Vec<Folder> {
    let raw = &builder.raw.folders;
    let mut seen: HashSet<&str> = HashSet::new();
    let mut folders = Vec::new();
    for folder in raw {
        if !seen.insert(&folder.name) {
            let message = format!(
                "Folder names must be unique within a view. Found duplicate folder '{}' in view '{}'.",
                folder.name, view.name
            );
            builder.error(&folder.location, message);
        }
        folders.push(fill(builder, view, folder));
    }
    folders
}

/// Recursion is bounded by the nesting of the YAML.
fn fill(builder: &mut Builder<'_>, view: &Cube, folder: &RawFolder) -> Folder {
    let mut items = Vec::new();
    match &folder.items {
        None => {
            let measures = view.measures.iter().map(|m| &m.name);
            let dimensions = view.dimensions.iter().map(|d| &d.name);
            let all = measures.chain(dimensions).chain(view.segments.iter().map(|s| &s.name));
            items.extend(all.map(|name| FolderItem::Member(name.clone())));
        }
        Some(raw) => {
            for item in raw {
                match item {
                    RawFolderItem::Folder(inner) => items.push(FolderItem::Folder(fill(builder, view, inner))),
                    RawFolderItem::Path(path, location) => {
                        let names = of_path(builder, view, path, &folder.name, location);
                        items.extend(names.into_iter().map(FolderItem::Member));
                    }
                    RawFolderItem::Member(name, location) => {
                        if member(builder, name, &folder.name, location) {
                            items.push(FolderItem::Member(name.clone()));
                        }
                    }
                }
            }
        }
    }
    Folder {
        name: folder.name.clone(),
        items,
    }
}

fn member(builder: &mut Builder<'_>, name: &str, folder: &str, location: &Location) -> bool {
    if name.contains('.') {
        let view = &builder.raw.base.name;
        let message = format!("Paths aren't allowed in the 'folders' but '{name}' has been provided for {view}");
        builder.error(location, message);
        return false;
    }
    let found = builder.taken.iter().any(|taken| taken.name == name);
    if !found {
        builder.error(
            location,
            format!("Member '{name}' included in folder '{folder}' not found"),
        );
    }
    found
}

/// Names of the members that came by a path.
fn of_path(builder: &mut Builder<'_>, view: &Cube, path: &[String], folder: &str, location: &Location) -> Vec<String> {
    let full = path.join(".");
    let last = path.last().map_or("", String::as_str);
    if !builder.cubes.contains_key(last) {
        let message = format!("Cube '{last}' not found for join path '{full}' in folder '{folder}'");
        builder.error(location, message);
    } else if !builder.raw.includes.iter().any(|include| include.path == path) {
        let message = format!(
            "Join path '{full}' included in folder '{folder}' not found in view '{}' cubes definition",
            view.name
        );
        builder.error(location, message);
    }
    let here = builder.taken.iter().filter(|taken| taken.cube() == last);
    here.map(|taken| taken.name.clone()).collect()
}

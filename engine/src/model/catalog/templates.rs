//! Templates of a model folder: which files a template draws on, and what it makes of them.

use super::super::jinja::{self, Rendered};
use super::files::{self, Found};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The text of a file as YAML, with the lines it was made of when it is a template.
///
/// # Errors
/// The line and a message for the user.
pub(super) fn text(
    file: &Found,
    all: &BTreeMap<Arc<str>, &Found>,
) -> Result<(String, Option<Rendered>), (u32, String)> {
    let text = files::text(file).map_err(|message| (1, message))?;
    if !jinja::is_template(&text) {
        return Ok((text, None));
    }
    let others = others(file, &text, all)?;
    let rendered = jinja::render(&file.name, &text, &others)?;
    Ok((rendered.text.clone(), Some(rendered)))
}

/// The templates that `text` names, and those that they name: name as it is written, and text. A project's file may draw
/// on the shared ones and its own.
fn others(file: &Found, text: &str, all: &BTreeMap<Arc<str>, &Found>) -> Result<Vec<(String, String)>, (u32, String)> {
    let mut others = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<(&Found, String)> = vec![(file, text.to_owned())];
    while let Some((from, text)) = open.pop() {
        for name in jinja::quoted(&text) {
            let beside = from.name.rsplit_once('/').map(|(folder, _)| format!("{folder}/{name}"));
            let found = all.get(name).or_else(|| beside.and_then(|name| all.get(name.as_str())));
            let Some(found) = found else { continue };
            let visible = found.scope.is_none() || found.scope == file.scope;
            if visible && seen.insert(name.to_owned()) {
                let text = files::text(found).map_err(|message| (1, format!("{name}: {message}")))?;
                open.push((*found, text.clone()));
                others.push((name.to_owned(), text));
            }
        }
    }
    Ok(others)
}

//! The projects and their write keys, in one small file that the server and the command line both change.
//!
//! `<data_dir>/projects.json`, mode 0600, replaced whole. Readers look at the file's time stamp now and then, so that
//! `tally project add` works on a running server; writers hold a lock file, so that two of them cannot lose each
//! other's project.

use super::secrets::{in_file, write_private};
use super::write_key;
use engine::ProjectId;
use indexmap::IndexMap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a looked-up key may be answered from memory before the file's time stamp is looked at again.
const RECHECK_AFTER: Duration = Duration::from_secs(1);

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// The tenant's id; the value of a token's project claim.
    pub id: ProjectId,
    /// What people call it.
    pub name: String,
    /// Keys that events of this project are sent with.
    pub write_keys: Vec<String>,
    /// When it was added, RFC 3339.
    pub created_at: String,
    /// How long its events are kept, where that differs from the setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// A project's own rule of how long its events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// For ever, whatever the setting says.
    Forever,
    /// This many days.
    Days(u32),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    projects: Vec<Project>,
}

/// What tells one state of the file from the next.
type Stamp = Option<(std::time::SystemTime, u64)>;

#[derive(Debug, Default)]
struct State {
    projects: IndexMap<ProjectId, Project>,
    by_write_key: HashMap<String, ProjectId>,
    stamp: Stamp,
    checked: Option<Instant>,
}

/// All projects of this server.
#[derive(Debug)]
pub struct Projects {
    path: PathBuf,
    state: RwLock<State>,
}

impl Projects {
    /// Reads `<data_dir>/projects.json`; a missing file is no projects.
    ///
    /// # Errors
    /// When the file cannot be read or is no list of projects; the message names it.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join("projects.json");
        let state = RwLock::new(read(&path)?);
        Ok(Self { path, state })
    }

    /// The project that this write key belongs to.
    pub fn by_write_key(&self, key: &str) -> Option<ProjectId> {
        if key.is_empty() || key.len() > write_key::WRITE_KEY_BYTES_MAX {
            return None;
        }
        {
            let state = self.state.read();
            let fresh = state.checked.is_some_and(|at| at.elapsed() < RECHECK_AFTER);
            if let (true, Some(project)) = (fresh, state.by_write_key.get(key)) {
                return Some(project.clone());
            }
        }
        self.reload_if_changed();
        self.state.read().by_write_key.get(key).cloned()
    }

    /// Whether this project was added here. A token may name others: they are answered as empty.
    pub fn contains(&self, id: &ProjectId) -> bool {
        self.state.read().projects.contains_key(id)
    }

    /// All projects, oldest first.
    pub fn list(&self) -> Vec<Project> {
        self.reload_if_changed();
        self.state.read().projects.values().cloned().collect()
    }

    /// Adds a project, or further write keys to one that exists. Without a key one is made for a new project.
    /// `created_at` is RFC 3339.
    ///
    /// # Errors
    /// When a key is malformed or belongs to another project, or the file cannot be written.
    pub fn add(&self, id: &ProjectId, name: &str, write_keys: &[String], created_at: &str) -> io::Result<Project> {
        let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
        let _lock = self.lock()?;
        let mut state = read(&self.path)?;
        for key in write_keys {
            write_key::check(key).map_err(invalid)?;
            if let Some(owner) = state.by_write_key.get(key).filter(|owner| *owner != id) {
                return Err(invalid(format!(
                    "write key `{key}` already belongs to project `{owner}`"
                )));
            }
        }
        let project = state.projects.entry(id.clone()).or_insert_with(|| Project {
            id: id.clone(),
            name: name.to_owned(),
            write_keys: Vec::new(),
            created_at: created_at.to_owned(),
            retention: None,
        });
        for key in write_keys {
            if !project.write_keys.contains(key) {
                project.write_keys.push(key.clone());
            }
        }
        if project.write_keys.is_empty() {
            project.write_keys.push(write_key::generate()?);
        }
        let project = project.clone();
        self.write(state)?;
        Ok(project)
    }

    /// Gives a project a rule of its own of how long its events are kept, or takes it away.
    ///
    /// # Errors
    /// When there is no such project, or the file cannot be written.
    pub fn set_retention(&self, id: &ProjectId, retention: Option<Retention>) -> io::Result<Project> {
        let _lock = self.lock()?;
        let mut state = read(&self.path)?;
        let Some(project) = state.projects.get_mut(id) else {
            let known: Vec<&str> = state.projects.keys().map(ProjectId::as_str).collect();
            let message = format!("there is no project `{id}`; there are: {}", known.join(", "));
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        };
        project.retention = retention;
        let project = project.clone();
        self.write(state)?;
        Ok(project)
    }

    fn write(&self, state: State) -> io::Result<()> {
        let file = File {
            projects: state.projects.into_values().collect(),
        };
        write_private(&self.path, &serde_json::to_vec_pretty(&file)?)?;
        *self.state.write() = read(&self.path)?;
        Ok(())
    }

    /// Reads the file again when it changed. A file that became unreadable keeps the projects known before.
    fn reload_if_changed(&self) {
        let stamp = stamp(&self.path);
        let mut state = self.state.write();
        if stamp != state.stamp {
            match read(&self.path) {
                Ok(fresh) => *state = fresh,
                Err(error) => {
                    tracing::error!(%error, "the projects file is unreadable; the projects known so far stay in use");
                    state.stamp = stamp;
                }
            }
        }
        state.checked = Some(Instant::now());
    }

    fn lock(&self) -> io::Result<std::fs::File> {
        let path = self.path.with_extension("lock");
        let open = || {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(|error| in_file(&path, &error))
    }
}

/// The projects of both files: what `local` adds to `theirs`. A write key that both gave away stays with `theirs`.
///
/// # Errors
/// When one of them is no list of projects.
pub(super) fn merged(theirs: &[u8], local: &[u8]) -> io::Result<Vec<u8>> {
    let mut all: File = serde_json::from_slice(theirs)?;
    let local: File = serde_json::from_slice(local)?;
    for mut project in local.projects {
        let is_taken = |key: &String| {
            let others = all.projects.iter().filter(|other| other.id != project.id);
            others.into_iter().any(|other| other.write_keys.contains(key))
        };
        project.write_keys.retain(|key| !is_taken(key));
        match all.projects.iter_mut().find(|known| known.id == project.id) {
            Some(known) => {
                project.write_keys.retain(|key| !known.write_keys.contains(key));
                known.write_keys.append(&mut project.write_keys);
            }
            None => all.projects.push(project),
        }
    }
    Ok(serde_json::to_vec_pretty(&all)?)
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> io::Result<State> {
    let stamp = stamp(path);
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(in_file(path, &error)),
    };
    let invalid = |message| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {message}", path.display()));
    let file: File = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    let mut state = State {
        stamp,
        checked: Some(Instant::now()),
        ..State::default()
    };
    for project in file.projects {
        for key in &project.write_keys {
            let owner = state.by_write_key.insert(key.clone(), project.id.clone());
            if let Some(owner) = owner.filter(|owner| *owner != project.id) {
                return Err(invalid(format!(
                    "write key `{key}` belongs to both `{owner}` and `{}`",
                    project.id
                )));
            }
        }
        let id = project.id.clone();
        if state.projects.insert(id.clone(), project).is_some() {
            return Err(invalid(format!("project `{id}` stands twice")));
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests;
